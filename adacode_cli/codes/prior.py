"""A learnt prior: small networks that predict each code and each mixing weight from those that are known already.

The networks compute in whole numbers: weights of 8 bits, and after each layer one multiplication, one addition and one
shift for each output. No sum is as large as 2**53, so float64 holds it exactly, and float32 where no sum is as large
as 2**24: in whatever order a machine adds, it gets the same numbers. `prior_coding` says what the networks see.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adacode_cli.codes.image import MAX_BASES
from adacode_cli.codes.probabilities import LOWEST, NUM_STEPS, Whole

FEATURE = 32
"""A feature of 1, as a whole number: embeddings, and the inputs that say which neighbours are known."""
HIDDEN = 64
"""A hidden value of 1."""
SHIFT = 20
"""The bits that each layer drops at last."""

NEIGHBOURS = 8
KINDS = 3
"""Inputs that say which neighbours are known: the diagonal ones, the direct ones, all."""
CENTRE, STEP_FEATURE = 12, 4
"""A step s is the input (s - CENTRE) · STEP_FEATURE, whose unit is again `FEATURE`."""
PRODUCT_SHIFT, MAX_PRODUCT = 3, 1023
"""The sum of embedding times step is an input without its last 3 bits, limited to ±1023."""
MAX_HIDDEN = 4095
MAX_CODES = 4096
"""Codes of a basis: larger codebooks take too long to decode, and each code has a frequency of at least 1 of 2**22."""
DIGEST_BYTES = 16
_SMALL_PRODUCT = 1 << 18  # multiplications; OpenBLAS starts threads for more
_EXACT_32, _EXACT_64 = 1 << 24, 1 << 53

Embedding = npt.NDArray[np.int16]
Features = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Layer:
    """y = (weights·x · multiplier + bias) >> SHIFT, for n×inputs whole numbers x."""

    weights: npt.NDArray[np.floating]
    multiplier: Whole
    bias: Whole

    def __call__(self, values: npt.NDArray[np.generic]) -> Whole:
        out = _product(values.astype(self.weights.dtype, copy=False), self.weights).astype(np.float64)
        out *= self.multiplier
        out += self.bias
        out *= 2.0**-SHIFT
        return np.asarray(np.floor(out, out=out))


def _product(left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """n×k times k×m, by parts so small that a BLAS computes them in this thread. Its own threads would spin while they
    wait for one another, although the network needs the processor at the same time.
    """
    rows = max(1, _SMALL_PRODUCT // right.size)
    whole = len(left) // rows * rows
    parts = left[:whole].reshape(-1, rows, left.shape[1]) @ right
    return np.concatenate([parts.reshape(whole, right.shape[1]), left[whole:] @ right])


@dataclass(frozen=True)
class Network:
    """Three layers, with ReLU between them."""

    layers: tuple[Layer, Layer, Layer]

    def __call__(self, features: Features) -> Whole:
        first, second, last = self.layers
        hidden = np.clip(first(features), 0, MAX_HIDDEN)
        return last(np.clip(second(hidden), 0, MAX_HIDDEN))


class Prior:
    """The prior of one family's codes, K codes and mixing weights in each cell.

    order: the bases in the order in which their codes are coded; the mixing weights follow, in the order of the bases.
    tensors: as in the file that `adacode train prior` writes: docs/codes.md. Raises ValueError if they do not make a
    prior whose arithmetic is exact.
    """

    def __init__(
        self, order: Sequence[int], book_sizes: Sequence[int], tensors: Mapping[str, npt.NDArray[np.generic]]
    ) -> None:
        self.order, self.book_sizes = tuple(order), tuple(book_sizes)
        bases = range(len(self.book_sizes))
        _require(1 <= len(bases) <= MAX_BASES and sorted(self.order) == list(bases), "its order is not one of bases")
        is_small = all(1 <= size <= MAX_CODES for size in self.book_sizes)
        _require(is_small, f"a codebook is not of 1 to {MAX_CODES} codes")
        reader = _Reader(tensors)
        sizes = self.book_sizes
        self.code_embeddings = tuple(reader.embedding(f"codes.embeddings.{k}", sizes[k]) for k in bases)
        self.weight_embeddings = tuple(reader.embedding(f"weights.embeddings.{k}", sizes[k]) for k in bases)
        self.product_embeddings = tuple(reader.embedding(f"weights.products.{k}", sizes[k]) for k in bases)
        self.code_context = reader.context("codes.0.1.weight", KINDS)
        self.weight_context = reader.context("weights.0.1.weight", self.weight_width + NEIGHBOURS + KINDS)
        for width, context in ((self.code_width, self.code_context), (self.weight_width, self.weight_context)):
            _require(1 <= context <= width, "its neighbours have more features than a cell")
        self.code_networks = tuple(
            reader.network(f"codes.{i}", _ranges_of_codes(self, i), sizes[k]) for i, k in enumerate(self.order)
        )
        self.weight_networks = tuple(
            reader.network(f"weights.{i}", _ranges_of_weights(self, i), reader.mixture(f"weights.{i}.3.weight"))
            for i in bases
        )
        reader.require_all_read()
        self.digest = _digest(self.order, self.book_sizes, tensors)

    @property
    def code_width(self) -> int:
        """Features of a cell's codes, for the networks of codes."""
        return int(self.code_embeddings[0].shape[1])

    @property
    def weight_width(self) -> int:
        """Features of a cell's codes, for the networks of mixing weights."""
        return int(self.weight_embeddings[0].shape[1])

    @property
    def product_width(self) -> int:
        """Features of a cell's codes, each times the mixing weight of its code."""
        return int(self.product_embeddings[0].shape[1])


def _ranges_of_codes(prior: Prior, i: int) -> list[int]:
    """The largest absolute value of each input of the i-th network of codes."""
    size = 128
    summed = [i * size] * (prior.code_width + NEIGHBOURS * prior.code_context) if i else []
    return [*summed, *[size] * (NEIGHBOURS * prior.code_context), *[FEATURE] * KINDS]


def _ranges_of_weights(prior: Prior, i: int) -> list[int]:
    bases, step = len(prior.book_sizes), max(CENTRE - LOWEST, LOWEST + NUM_STEPS - 1 - CENTRE) * STEP_FEATURE
    summed = [bases * 128] * (prior.weight_width + NEIGHBOURS * prior.weight_context)
    steps = [step] * ((1 + NEIGHBOURS) * i + NEIGHBOURS)
    products = [MAX_PRODUCT] * ((1 + NEIGHBOURS) * prior.product_width) if i else []
    return [*summed, *steps, *[FEATURE] * KINDS, *products]


class _Reader:
    """Takes tensors by their names and checks them. Raises ValueError."""

    def __init__(self, tensors: Mapping[str, npt.NDArray[np.generic]]) -> None:
        self._tensors, self._widths = tensors, dict[str, int]()
        self._read = set[str]()

    def embedding(self, name: str, size: int) -> Embedding:
        """size×width, of the same width in all bases."""
        values = self._take(name, np.int8, 2)
        width = self._widths.setdefault(name.rsplit(".", 1)[0], values.shape[1])
        _require(values.shape == (size, width) and width > 0, f"{name} has the shape {values.shape}")
        return values.astype(np.int16)

    def context(self, name: str, others: int) -> int:
        """The features of one neighbour, if a layer has so many other inputs."""
        return (int(self._take(name, np.int8, 2).shape[1]) - others) // NEIGHBOURS

    def mixture(self, name: str) -> int:
        """The outputs of a layer that describes a mixture."""
        outputs = self._take(name, np.int8, 2).shape[0]
        _require(outputs > 0 and outputs % 3 == 0, f"{name} does not describe a mixture")
        return int(outputs)

    def network(self, name: str, ranges: list[int], outputs: int) -> Network:
        first = self._layer(f"{name}.1", np.array(ranges, np.int64))
        second = self._layer(f"{name}.2", np.full(len(first.bias), MAX_HIDDEN))
        last = self._layer(f"{name}.3", np.full(len(second.bias), MAX_HIDDEN))
        _require(len(last.bias) == outputs, f"{name} has {len(last.bias)} outputs and needs {outputs}")
        return Network((first, second, last))

    def _layer(self, name: str, ranges: npt.NDArray[np.int64]) -> Layer:
        weights = self._take(f"{name}.weight", np.int8, 2).astype(np.int64)
        multiplier, bias = self._take(f"{name}.multiplier", np.int32, 1), self._take(f"{name}.bias", np.int64, 1)
        outputs = len(weights)
        is_fitting = weights.shape[1] == len(ranges) and (len(multiplier), len(bias)) == (outputs, outputs)
        _require(is_fitting, f"{name} has weights of the shape {weights.shape} for {len(ranges)} inputs")
        sums = np.abs(weights) @ ranges
        # In Python's integers: 64 bits would not hold the products of a hostile file.
        largest = (int(s) * abs(int(m)) + abs(int(b)) for s, m, b in zip(sums, multiplier, bias, strict=True))
        _require(max(largest, default=_EXACT_64) < _EXACT_64, f"{name} has values that are too large")
        # Whole numbers of these sizes are exact in both types, in any order of the sums.
        kind = np.float32 if sums.max() < _EXACT_32 else np.float64
        transposed: npt.NDArray[np.floating] = np.ascontiguousarray(weights.T).astype(kind)
        return Layer(transposed, multiplier.astype(np.float64), bias.astype(np.float64))

    def _take(self, name: str, kind: type[np.generic], dimensions: int) -> npt.NDArray[np.generic]:
        if name not in self._tensors:
            raise ValueError(f"{name} is missing")
        values = self._tensors[name]
        self._read.add(name)
        _require(values.dtype == kind and values.ndim == dimensions, f"{name} is of {values.dtype} {values.shape}")
        return values

    def require_all_read(self) -> None:
        if unknown := sorted(self._tensors.keys() - self._read):
            raise ValueError(f"unknown tensors: {', '.join(unknown[:8])}")


def _require(condition: object, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _digest(
    order: tuple[int, ...], book_sizes: tuple[int, ...], tensors: Mapping[str, npt.NDArray[np.generic]]
) -> bytes:
    """16 bytes that identify a prior by its values, whatever file they come from."""
    digest = hashlib.sha256(json.dumps([list(order), list(book_sizes)]).encode())
    for name, values in sorted(tensors.items()):
        digest.update(f"{name} {list(values.shape)}".encode())
        digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
    return digest.digest()[:DIGEST_BYTES]
