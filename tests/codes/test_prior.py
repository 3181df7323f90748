"""The networks of a prior are what a plain program with Python's integers computes, and nothing is rounded."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_priors import made_prior, prior_tensors, scattered, scattered_codes

from adacode_cli.checkpoints.catalogue_file import weights_folder
from adacode_cli.checkpoints.priors import read_prior
from adacode_cli.codes import prior_coding, probabilities
from adacode_cli.codes.prior import Prior
from adacode_cli.codes.probabilities import LOWEST, NUM_STEPS
from adacode_cli.codes.rans import TOTAL

AROUND = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
SHARES = [round(65536 * math.exp(-d / 64)) for d in range(1025)]
SIGMOIDS = [round(2**22 / (1 + math.exp(-a / 128))) for a in range(-2048, 2049)]
INVERSES = [round(4096 * math.exp(-s / 32)) for s in range(-96, 161)]


def shares_of(logits, total):
    parts = [SHARES[min(max(logits) - z, 1024)] for z in logits]
    return [part * total // sum(parts) for part in parts]


def code_frequencies(logits):
    found = [f + 1 for f in shares_of(logits, TOTAL - len(logits))]
    found[logits.index(max(logits))] += TOTAL - sum(found)
    return found


def step_frequencies(parameters):
    num = len(parameters) // 3
    shares = shares_of(parameters[2 * num :], 65536)
    shares[0] += 65536 - sum(shares)
    sums = [0]
    for i in range(1, NUM_STEPS):
        bound, total = (i + LOWEST) * 16 - 8, 0
        for mean, scale, share in zip(parameters[:num], parameters[num : 2 * num], shares, strict=True):
            argument = (bound - min(max(mean, -(2**15)), 2**15)) * INVERSES[min(max(scale, -96), 160) + 96] // 512
            total += SIGMOIDS[min(max(argument, -2048), 2048) + 2048] * share
        sums.append((total // 256) * (TOTAL - NUM_STEPS) // 2**30 + i)
    return np.diff([*sums, TOTAL]).tolist()


class Reference:
    """A prior cell by cell, in Python's integers."""

    def __init__(self, order, tensors, codes, steps):
        self.order, self.tensors = order, {name: values.tolist() for name, values in tensors.items()}
        self.codes, self.steps = codes.tolist(), np.clip(steps, LOWEST, LOWEST + NUM_STEPS - 1).tolist()
        self.rows, self.columns = codes.shape[1:]

    def network(self, name, values):
        for layer in (1, 2, 3):
            weight, multiplier, bias = (
                self.tensors[f"{name}.{layer}.{part}"] for part in ("weight", "multiplier", "bias")
            )
            sums = [sum(w * x for w, x in zip(row, values, strict=True)) for row in weight]
            values = [(s * m + b) >> 20 for s, m, b in zip(sums, multiplier, bias, strict=True)]
            values = values if layer == 3 else [min(max(v, 0), 4095) for v in values]
        return values

    def around(self, y, x, feature, width):
        """The features of the neighbours, 0 beyond the border."""
        found = []
        for dy, dx in AROUND:
            inside = 0 <= y + dy < self.rows and 0 <= x + dx < self.columns
            found += feature(y + dy, x + dx) if inside else [0] * width
        return found

    def summed(self, kind, bases, width, y, x):
        rows = [self.tensors[f"{kind}.{k}"][self.codes[k][y][x]][:width] for k in bases]
        return [sum(values) for values in zip(*rows, strict=True)]

    def walk(self):
        """(start, frequency) of every symbol, in the order of coding."""
        for plane in range(2 * len(self.order)):
            for number, (y0, x0) in enumerate([(0, 0), (1, 1), (0, 1), (1, 0)]):
                for y in range(y0, self.rows, 2):
                    for x in range(x0, self.columns, 2):
                        yield self.symbol(plane, number, y, x)

    def symbol(self, plane, number, y, x):
        i, num = plane % len(self.order), len(self.order)
        kinds = [32 * (number == kind) for kind in (1, 2, 3)]
        if plane < num:
            k, done = self.order[i], self.order[:i]
            values = self.summed("codes.embeddings", done, 3, y, x) if i else []
            values += self.around(y, x, lambda *at: self.summed("codes.embeddings", done, 2, *at), 2) if i else []
            values += self.around(
                y, x, self.if_known(y, x, lambda *at: self.summed("codes.embeddings", [k], 2, *at)), 2
            )
            frequencies = code_frequencies(self.network(f"codes.{i}", values + kinds))
            symbol = self.codes[k][y][x]
        else:
            values = self.summed("weights.embeddings", range(num), 4, y, x)
            values += self.around(y, x, lambda *at: self.summed("weights.embeddings", range(num), 3, *at), 3)
            values += [self.unit(j, y, x) for j in range(i)]
            values += self.around(y, x, lambda *at: [self.unit(j, *at) for j in range(i)], i)
            values += self.around(y, x, self.if_known(y, x, lambda *at: [self.unit(i, *at)]), 1) + kinds
            values += self.products(i, y, x) + self.around(y, x, lambda *at: self.products(i, *at), 2) if i else []
            frequencies = step_frequencies(self.network(f"weights.{i}", values))
            symbol = self.steps[i][y][x] - LOWEST
        return sum(frequencies[:symbol]), frequencies[symbol]

    def if_known(self, y, x, feature):
        order = {(0, 0): 0, (1, 1): 1, (0, 1): 2, (1, 0): 3}

        def found(row, column):
            values = feature(row, column)
            known = order[row % 2, column % 2] < order[y % 2, x % 2]
            return values if known else [0] * len(values)

        return found

    def unit(self, j, y, x):
        return (self.steps[j][y][x] - 12) * 4

    def products(self, i, y, x):
        rows = [
            [v * (self.steps[j][y][x] - 12) for v in self.tensors[f"weights.products.{j}"][self.codes[j][y][x]]]
            for j in range(i)
        ]
        return [min(max(sum(values) >> 3, -1023), 1023) for values in zip(*rows, strict=True)]


@pytest.mark.parametrize(("rows", "columns", "order"), [(3, 5, (1, 2, 0)), (1, 1, (0, 1, 2)), (4, 2, (2, 0, 1))])
def test_probabilities_are_those_of_plain_integers(monkeypatch, rows, columns, order):
    books = (9, 300, 4)
    tensors = prior_tensors(books, order, seed=rows)
    codes, steps = scattered_codes(books, rows, columns)
    seen = []
    monkeypatch.setattr(prior_coding.rans, "encode", lambda blocks, lanes: seen.extend(blocks) or bytes(64))
    prior_coding.pack(Prior(order, books, tensors), codes, steps)
    starts, frequencies = (np.concatenate(parts).tolist() for parts in zip(*seen, strict=True))
    assert list(zip(starts, frequencies, strict=True)) == list(Reference(order, tensors, codes, steps).walk())


@given(st.integers(0, 10**6), st.integers(1, 700), st.sampled_from([1, 30, 3000, 2**31]))
@settings(max_examples=60, deadline=None)
def test_frequencies_of_codes_sum_to_the_total(seed, size, reach):
    logits = scattered((7, size), -reach, reach + 1, seed).astype(np.float64)
    sums = probabilities.of_logits(logits)
    assert (sums[:, 0] == 0).all()
    assert (sums[:, -1] == TOTAL).all()
    frequencies = np.diff(sums.astype(np.int64), axis=1)
    assert frequencies.min() >= 1
    assert frequencies[0].tolist() == code_frequencies(logits[0].astype(int).tolist())


@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([1, 90, 3000, 2**31]))
@settings(max_examples=40, deadline=None)
def test_frequencies_of_steps_sum_to_the_total(seed, mixture, reach):
    parameters = scattered((5, 3 * mixture), -reach, reach + 1, seed).astype(np.float64)
    sums = probabilities.of_mixture(parameters)
    assert (sums[:, 0] == 0).all()
    assert (sums[:, -1] == TOTAL).all()
    frequencies = np.diff(sums.astype(np.int64), axis=1)
    assert frequencies.min() >= 1
    assert frequencies[0].tolist() == step_frequencies(parameters[0].astype(int).tolist())
    for symbol in (0, 1, 100, NUM_STEPS - 1):
        starts, own = probabilities.of_steps(parameters, np.full(5, symbol))
        np.testing.assert_array_equal(starts, sums[:, symbol])
        np.testing.assert_array_equal(own, frequencies[:, symbol])


@pytest.mark.parametrize("hidden", [(6, 5), (80, 70)])
def test_sums_are_exact_in_any_order(hidden):
    """Wide layers are computed in float64, because their sums can be beyond float32's whole numbers."""
    books, order = (20, 30), (0, 1)
    tensors = prior_tensors(books, order, hidden=hidden)
    for layer in (2, 3):  # All sums are as large as they can be.
        for name in ("codes.1", "weights.1"):
            tensors[f"{name}.{layer}.weight"][:] = 127
    prior = Prior(order, books, tensors)
    kinds = {layer.weights.dtype for net in prior.code_networks for layer in net.layers}
    assert kinds == ({np.dtype(np.float32)} if hidden == (6, 5) else {np.dtype(np.float32), np.dtype(np.float64)})
    rng = np.random.default_rng(0)
    for network in (prior.code_networks[1], prior.weight_networks[1]):
        for layer in network.layers[1:]:
            values = rng.integers(4000, 4096, (300, len(layer.weights)))
            whole = values @ layer.weights.astype(np.int64)
            wanted = (whole * layer.multiplier.astype(np.int64) + layer.bias.astype(np.int64)) >> 20
            np.testing.assert_array_equal(layer(values), wanted)


def replaced(tensors, **changes):
    return tensors | {name.replace("__", "."): values for name, values in changes.items()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes__0__1__bias": None}, "is missing"),
        ({"codes__0__1__bias": np.zeros(6, np.int32)}, "is of int32"),
        ({"codes__0__1__bias": np.full(6, 2**62)}, "too large"),
        ({"codes__0__1__bias": np.full(6, -(2**63))}, "too large"),
        ({"codes__0__1__multiplier": np.zeros(5, np.int32)}, "for 19 inputs"),
        ({"codes__0__3__weight": np.zeros((7, 5), np.int8)}, "inputs"),
        ({"codes__embeddings__1": np.zeros((9, 3), np.int8)}, "has the shape"),
        ({"codes__embeddings__1": np.zeros((30, 2), np.int8)}, "has the shape"),
        ({"weights__0__3__weight": np.zeros((4, 5), np.int8)}, "mixture"),
        ({"weights__0__1__weight": np.zeros((6, 300), np.int8)}, "more features"),
        ({"something": np.zeros(1, np.int8)}, "unknown tensors: something"),
    ],
    ids=str,
)
def test_tensors_that_make_no_exact_prior_are_refused(changes, message):
    tensors = replaced(prior_tensors((20, 30), (0, 1)), **changes)
    tensors = {name: values for name, values in tensors.items() if values is not None}
    with pytest.raises(ValueError, match=message):
        Prior((0, 1), (20, 30), tensors)


@pytest.mark.parametrize(("order", "books"), [((0, 0), (20, 30)), ((0,), (20, 30)), ((), ()), ((0, 1), (20, 65536))])
def test_an_impossible_order_or_codebook_is_refused(order, books):
    with pytest.raises(ValueError, match=r"order|codebook"):
        Prior(order, books, prior_tensors((20, 30), (0, 1)))


def test_a_digest_depends_on_every_value():
    one = prior_tensors((20, 30), (0, 1))
    digests = {Prior((0, 1), (20, 30), one).digest}
    for name in one:
        changed = one | {name: one[name].copy()}
        changed[name].reshape(-1)[-1] += 1 if changed[name].reshape(-1)[-1] < 127 else -1
        digests.add(Prior((0, 1), (20, 30), changed).digest)
    assert len(digests) == len(one) + 1


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.sampled_from([1, 2, 255, 256, 257, 512]), min_size=1, max_size=6),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_any_codes_come_back(rows, columns, books, seed):
    prior = made_prior(tuple(books), seed=seed % 3)
    codes, steps = scattered_codes(books, rows, columns, seed, *((-40, 90) if seed % 2 else (-(2**15), 2**15)))
    packed = prior_coding.pack(prior, codes, steps)
    assert packed is not None
    again = prior_coding.unpack(prior, *packed, rows, columns)
    np.testing.assert_array_equal(again[0], codes)
    np.testing.assert_array_equal(again[1], steps)
    assert (again[0].dtype, again[1].dtype) == (np.uint16, np.int16)


def test_a_mixing_weight_at_and_beyond_the_ends_of_the_window_comes_back():
    prior, limits = made_prior((5,)), np.iinfo(np.int16)
    ends = [LOWEST, LOWEST + NUM_STEPS - 1]
    steps = np.array([[[limits.min, limits.max, *(end + d for end in ends for d in (-1, 0, 1))]]], np.int16)
    codes = np.zeros_like(steps, np.uint16)
    data, beyond = prior_coding.pack(prior, codes, steps)
    np.testing.assert_array_equal(prior_coding.unpack(prior, data, beyond, 1, 8)[1], steps)
    inside = np.clip(steps, ends[0] + 1, ends[1] - 1)
    assert prior_coding.pack(prior, codes, inside)[1] == b""


def test_memory_is_a_small_multiple_of_the_arrays():
    prior = made_prior((64, 64))
    codes, steps = scattered_codes((64, 64), 300, 300, low=-40, high=90)
    data, beyond = prior_coding.pack(prior, codes, steps)
    tracemalloc.start()
    try:
        prior_coding.unpack(prior, data, beyond, 300, 300)
        assert tracemalloc.get_traced_memory()[1] < (4 << 20) + 60 * codes.size
    finally:
        tracemalloc.stop()


def test_the_bundled_prior_needs_no_float64():
    stored = read_prior(weights_folder() / "compact-prior.safetensors")
    prior = Prior(stored.order, stored.book_sizes, stored.tensors)
    networks = (*prior.code_networks, *prior.weight_networks)
    assert {layer.weights.dtype for network in networks for layer in network.layers} == {np.dtype(np.float32)}
