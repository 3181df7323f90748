"""Priors of a few hundred numbers, and codes for them, that are the same on every machine and with every NumPy."""

from itertools import pairwise

import numpy as np

from adacode_cli.codes.prior import KINDS, NEIGHBOURS, Prior

CODE_WIDTH, CODE_CONTEXT, WEIGHT_WIDTH, WEIGHT_CONTEXT, PRODUCTS = 3, 2, 4, 3, 2
HIDDEN = (6, 5)


def scattered(shape, low, high, seed=0):
    """Whole numbers from low to high-1 without a pattern: a linear generator's upper bits, mixed."""
    with np.errstate(over="ignore"):
        number = np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(seed * 1_000_003 + 1)
        number = number * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        number ^= number >> np.uint64(29)
        number *= np.uint64(0xBF58476D1CE4E5B9)
        number ^= number >> np.uint64(32)
    return (number >> np.uint64(11)).astype(np.int64).reshape(shape) % (high - low) + low


def prior_tensors(book_sizes, order, *, mixture=2, hidden=HIDDEN, largest=127, seed=0):
    """Tensors whose outputs are of the size of a real prior's."""
    tensors, count = {}, iter(range(seed * 1000, 10**9))

    def eight_bits(*shape):
        return scattered(shape, -largest, largest + 1, next(count)).astype(np.int8)

    def network(name, inputs, outputs):
        sizes = (inputs, *hidden, outputs)
        for i, (n, m) in enumerate(pairwise(sizes), start=1):
            tensors[f"{name}.{i}.weight"] = eight_bits(m, n)
            tensors[f"{name}.{i}.multiplier"] = scattered((m,), 2_000, 9_000, next(count)).astype(np.int32)
            tensors[f"{name}.{i}.bias"] = scattered((m,), -(2**26), 2**28, next(count))

    for k, size in enumerate(book_sizes):
        tensors[f"codes.embeddings.{k}"] = eight_bits(size, CODE_WIDTH)
        tensors[f"weights.embeddings.{k}"] = eight_bits(size, WEIGHT_WIDTH)
        tensors[f"weights.products.{k}"] = eight_bits(size, PRODUCTS)
    own = NEIGHBOURS * CODE_CONTEXT
    summed = WEIGHT_WIDTH + NEIGHBOURS * WEIGHT_CONTEXT + NEIGHBOURS + KINDS
    for i, k in enumerate(order):
        network(f"codes.{i}", own + KINDS + (CODE_WIDTH + own if i else 0), book_sizes[k])
        network(f"weights.{i}", summed + (1 + NEIGHBOURS) * (i + (PRODUCTS if i else 0)), 3 * mixture)
    return tensors


def made_prior(book_sizes=(300, 6), order=None, **how):
    order = tuple(reversed(range(len(book_sizes)))) if order is None else order
    return Prior(order, book_sizes, prior_tensors(book_sizes, order, **how))


def scattered_codes(book_sizes, rows, columns, seed=0, low=-130, high=200):
    """K×h×w codes and steps; some of the steps are outside the window of a prior."""
    codes = np.stack([scattered((rows, columns), 0, size, seed + k) for k, size in enumerate(book_sizes)])
    steps = scattered((len(book_sizes), rows, columns), low, high, seed + 100)
    return codes.astype(np.uint16), steps.astype(np.int16)
