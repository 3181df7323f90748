"""The entropy coder gives back every symbol, costs what the frequencies say, and never misreads a damaged stream."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adacode_cli.codes import rans
from adacode_cli.codes.packing import PackingError
from adacode_cli.codes.rans import TOTAL, Decoder, encode, num_lanes


def made_pass(rng, count, size, sharpness=0.1):
    """Sums of frequencies of `count` distributions over `size` symbols, and a symbol of each."""
    shares = rng.dirichlet(np.full(size, sharpness), count)
    frequencies = 1 + (shares * (TOTAL - size)).astype(np.int64)
    frequencies[:, 0] += TOTAL - frequencies.sum(1)
    sums = np.concatenate([np.zeros((count, 1), np.int64), frequencies.cumsum(1)], 1).astype(np.uint32)
    symbols = (sums[:, 1:] <= rng.integers(TOTAL, size=count)[:, None]).sum(1)
    return sums, symbols


def blocks_of(passes):
    found = []
    for sums, symbols in passes:
        each = np.arange(len(symbols))
        found.append((sums[each, symbols], sums[each, symbols + 1] - sums[each, symbols]))
    return found


def decoded(data, lanes, passes):
    decoder = Decoder(data, lanes)
    symbols = [decoder.take(sums) for sums, _ in passes]
    decoder.finish()
    return symbols


@given(st.integers(0, 10**6), st.lists(st.integers(1, 90), max_size=5), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_every_symbol_comes_back(seed, counts, lanes):
    rng = np.random.default_rng(seed)
    passes = [made_pass(rng, count, int(rng.integers(1, 300))) for count in counts]
    data = encode(blocks_of(passes), lanes)
    for found, (_, symbols) in zip(decoded(data, lanes, passes), passes, strict=True):
        np.testing.assert_array_equal(found, symbols)


def test_blocks_at_multiples_of_the_lanes_change_nothing():
    rng = np.random.default_rng(0)
    sums, symbols = made_pass(rng, 100, 50)
    whole = encode(blocks_of([(sums, symbols)]), 7)
    parts = [(sums[at : at + 21], symbols[at : at + 21]) for at in range(0, 100, 21)]
    assert encode(blocks_of(parts), 7) == whole
    np.testing.assert_array_equal(np.concatenate(decoded(whole, 7, parts)), symbols)


def test_a_stream_is_as_long_as_its_frequencies_say():
    rng = np.random.default_rng(1)
    passes = [made_pass(rng, count, size) for count, size in ((3000, 512), (1003, 256), (5, 16))]
    blocks = blocks_of(passes)
    entropy = -sum(np.log2(frequencies / TOTAL).sum() for _, frequencies in blocks)
    data = encode(blocks, 16)
    assert entropy < len(data) * 8 < entropy + 16 * 64


def test_symbols_of_the_least_and_of_the_full_frequency():
    certain = np.array([[0, TOTAL]] * 9, np.uint32)
    rare = np.array([[0, 1, TOTAL - 1, TOTAL]] * 9, np.uint32)
    passes = [(certain, np.zeros(9, int)), (rare, np.array([0, 2, 0, 2, 1, 0, 2, 0, 0])), (certain, np.zeros(9, int))]
    data = encode(blocks_of(passes), 2)
    for found, (_, symbols) in zip(decoded(data, 2, passes), passes, strict=True):
        np.testing.assert_array_equal(found, symbols)
    assert len(encode(blocks_of([(certain, np.zeros(9, int))]), 2)) == 16


def test_truncated_changed_and_longer_streams_are_refused():
    rng = np.random.default_rng(2)
    passes = [made_pass(rng, 60, 40), made_pass(rng, 13, 5)]
    data = encode(blocks_of(passes), 3)
    for length in range(len(data)):
        with pytest.raises(PackingError):
            decoded(data[:length], 3, passes)
    for more in (b"\0", b"\0\0\0\0"):
        with pytest.raises(PackingError):
            decoded(data + more, 3, passes)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(PackingError):
            decoded(bytes(damaged), 3, passes)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_other_bytes_are_refused(data):
    passes = [made_pass(np.random.default_rng(3), 50, 20)]
    with pytest.raises(PackingError):
        decoded(data, 2, passes)


def test_lanes_follow_the_number_of_cells():
    assert [num_lanes(cells) for cells in (1, 255, 512, 1000, 10**7)] == [1, 1, 2, 3, 256]
    assert rans.TOTAL == 2**22
