"""Codes and mixing weights ↔ bytes, with the probabilities of a prior.

The planes of codes come first, in the prior's order, then the planes of mixing weights. Each plane is coded in four
passes over its cells, by whether row and column are odd: so a network knows none, four or all eight neighbours of a
cell in the same plane, and the cells of a pass do not depend on one another.

A mixing weight outside the prior's window of steps is coded as the first or last step of the window. For all cells
with these two symbols a second section has how far they are beyond.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from adacode_cli.codes import packing, probabilities, rans
from adacode_cli.codes.prior import (
    CENTRE,
    FEATURE,
    KINDS,
    MAX_PRODUCT,
    PRODUCT_SHIFT,
    STEP_FEATURE,
    Features,
    Prior,
)
from adacode_cli.codes.probabilities import LOWEST, NUM_STEPS, Whole

OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Neighbours of a cell, (rows, columns), in the order of the inputs."""
PASSES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""First row and column of each pass, which has every second one."""

_BLOCK_CELLS = 512  # larger arrays would leave the processor's cache
_HIGHEST = LOWEST + NUM_STEPS - 1
_INT16 = np.iinfo(np.int16)
# A coded array of codes and mixing weights has 2 bytes for each.
_BYTES_OF_BOTH = 4

Symbols = npt.NDArray[np.int64]
Block = tuple[rans.Numbers, rans.Numbers]


def pack(
    prior: Prior, codes_KHW: npt.NDArray[np.uint16], steps_KHW: npt.NDArray[np.int16]
) -> tuple[bytes, bytes] | None:
    """K×h×w codes and mixing weights → the coded data, and what is outside the window.

    None where a reader would refuse the data, because they are too short for so many cells. Raises ValueError for codes
    that their basis does not have.
    """
    if (codes_KHW.reshape(len(codes_KHW), -1).max(1, initial=0) >= np.array(prior.book_sizes)).any():
        raise ValueError("a code is beyond its codebook")
    codes, steps = _encoded(prior, codes_KHW, steps_KHW)
    data = rans.encode([*codes, *steps], rans.num_lanes(codes_KHW[0].size))
    try:
        check_size(data, codes_KHW.shape)
    except packing.PackingError:
        return None
    beyond = _beyond(steps_KHW)
    return data, packing.pack_planes(beyond) if len(beyond) else b""


def information(
    prior: Prior, codes_KHW: npt.NDArray[np.uint16], steps_KHW: npt.NDArray[np.int16]
) -> tuple[float, float]:
    """Bits of all codes and of all mixing weights, as the prior predicts them; `pack` needs a few more."""
    parts = _encoded(prior, codes_KHW, steps_KHW)
    codes, steps = (-sum(float(np.log2(own / rans.TOTAL).sum()) for _, own in part) for part in parts)
    return codes, steps


def _encoded(
    prior: Prior, codes_KHW: npt.NDArray[np.uint16], steps_KHW: npt.NDArray[np.int16]
) -> tuple[list[Block], list[Block]]:
    """What the entropy coder needs of all codes, and of all mixing weights."""
    num, rows, columns = codes_KHW.shape
    grid = _Grid(rows, columns)
    coder = _Encoder(prior, *(part.reshape(num, -1).astype(np.int64) for part in (codes_KHW, steps_KHW)))
    codes = _walk_codes(prior, grid, coder)
    num_blocks = len(coder.blocks)
    _walk_weights(prior, grid, codes, coder)
    return coder.blocks[:num_blocks], coder.blocks[num_blocks:]


def check_size(data: bytes, shape: tuple[int, ...]) -> None:
    """Raises PackingError where coded data are too short for K×h×w codes: `packing.check_ratio`."""
    packing.check_ratio(data, int(np.prod(shape)) * _BYTES_OF_BOTH)


def unpack(
    prior: Prior, data: bytes, beyond: bytes, rows: int, columns: int
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int16]]:
    """Inverse of `pack`, after `check_size`. Raises PackingError."""
    grid, source = _Grid(rows, columns), rans.Decoder(data, rans.num_lanes(rows * columns))
    decoder = _Decoder(source)
    codes = _walk_codes(prior, grid, decoder)
    steps = _walk_weights(prior, grid, codes, decoder)
    source.finish()
    shape = (len(codes), rows, columns)
    return codes.reshape(shape).astype(np.uint16), _with_beyond(steps.reshape(shape).astype(np.int16), beyond)


def _beyond(steps_KHW: npt.NDArray[np.int16]) -> npt.NDArray[np.uint16]:
    """For each mixing weight that is not inside the window, in order: how far it is from the window's end."""
    wide = steps_KHW.astype(np.int32)
    at_ends = (wide <= LOWEST) | (wide >= _HIGHEST)
    ends = wide[at_ends]
    return np.where(ends <= LOWEST, LOWEST - ends, ends - _HIGHEST).astype(np.uint16)


def _with_beyond(steps_KHW: npt.NDArray[np.int16], data: bytes) -> npt.NDArray[np.int16]:
    at_ends = (steps_KHW == LOWEST) | (steps_KHW == _HIGHEST)
    count = int(at_ends.sum())
    if bool(count) != bool(data):
        raise packing.PackingError("the mixing weights outside the window do not match the others")
    if count:
        packing.check_ratio(data, count * np.dtype(np.uint16).itemsize)
        distances = packing.unpack_planes(data, (count,), np.uint16).astype(np.int32)
        ends = steps_KHW[at_ends].astype(np.int32)
        values = np.where(ends == LOWEST, ends - distances, ends + distances)
        if values.min() < _INT16.min or values.max() > _INT16.max:
            raise packing.PackingError("a mixing weight is out of range")
        steps_KHW[at_ends] = values
    return steps_KHW


class _Grid:
    """A grid of h×w cells with a border of one cell, as a flat list of (h+2)·(w+2) places."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns, self.cells = rows, columns, rows * columns
        self.lanes = rans.num_lanes(self.cells)
        self.inside = self._places(self._cells(0, 0, 1))
        self._neighbours = np.array([dy * (columns + 2) + dx for dy, dx in OFFSETS])

    def plane(self, width: int) -> Features:
        """Features of each place, all 0."""
        return np.zeros(((self.rows + 2) * (self.columns + 2), width), np.int16)

    def passes(self) -> Iterator[tuple[Features, list[tuple[Symbols, Symbols]]]]:
        """For each pass the inputs that say which neighbours are known, and its blocks: cells and their places."""
        for number, (y, x) in enumerate(PASSES):
            known = np.zeros((1, KINDS), np.int16)
            known[0, :number][-1:] = FEATURE
            cells, size = self._cells(y, x, 2), self.lanes * max(1, _BLOCK_CELLS // self.lanes)
            blocks = [cells[at : at + size] for at in range(0, len(cells), size)]
            yield known, [(block, self._places(block)) for block in blocks]

    def around(self, plane: Features, places: Symbols) -> Features:
        """The features of the eight neighbours of n places: n × 8·width."""
        found: Features = plane.take(places[:, None] + self._neighbours, axis=0)
        return found.reshape(len(places), -1)

    def _cells(self, y: int, x: int, step: int) -> Symbols:
        """The cells of every `step`-th row and column from (y, x) on, in row order."""
        return (np.arange(y, self.rows, step)[:, None] * self.columns + np.arange(x, self.columns, step)).reshape(-1)

    def _places(self, cells: Symbols) -> Symbols:
        return (cells // self.columns + 1) * (self.columns + 2) + cells % self.columns + 1


class _Encoder:
    """Knows all symbols, and keeps what the entropy coder needs of each."""

    def __init__(self, prior: Prior, codes_KN: Symbols, steps_KN: Symbols) -> None:
        self._codes_in_order, self._steps = codes_KN[list(prior.order)], np.clip(steps_KN, LOWEST, _HIGHEST) - LOWEST
        self.blocks: list[Block] = []

    def code(self, i: int, cells: Symbols, logits: Whole) -> Symbols:
        """The codes of n cells in the i-th plane; n×M logits."""
        symbols: Symbols = self._codes_in_order[i, cells]
        sums = probabilities.of_logits(logits)
        each = np.arange(len(cells))
        starts = sums[each, symbols]
        self.blocks.append((starts, sums[each, symbols + 1] - starts))
        return symbols

    def step(self, i: int, cells: Symbols, parameters: Whole) -> Symbols:
        """As `code`, for the symbols of mixing weights; n×3R parameters of a mixture."""
        symbols: Symbols = self._steps[i, cells]
        self.blocks.append(probabilities.of_steps(parameters, symbols))
        return symbols


class _Decoder:
    """Reads the symbols."""

    def __init__(self, source: rans.Decoder) -> None:
        self._source = source

    def code(self, i: int, cells: Symbols, logits: Whole) -> Symbols:
        """As in `_Encoder`."""
        del i, cells
        return self._source.take(probabilities.of_logits(logits))

    def step(self, i: int, cells: Symbols, parameters: Whole) -> Symbols:
        """As in `_Encoder`."""
        del i, cells
        return self._source.take(probabilities.of_mixture(parameters))


def _walk_codes(prior: Prior, grid: _Grid, coder: _Encoder | _Decoder) -> Symbols:
    """Codes the planes of codes; returns them, K×n."""
    codes = np.zeros((len(prior.order), grid.cells), np.int64)
    summed = grid.plane(prior.code_width)
    for i, k in enumerate(prior.order):
        embedding, own = prior.code_embeddings[k], grid.plane(prior.code_context)
        near = np.ascontiguousarray(summed[:, : prior.code_context])
        for known, blocks in grid.passes():
            for cells, places in blocks:
                parts = [summed[places], grid.around(near, places)] if i else []
                parts += [grid.around(own, places), known.repeat(len(cells), axis=0)]
                codes[k, cells] = coder.code(i, cells, prior.code_networks[i](np.concatenate(parts, axis=1)))
            for cells, places in blocks:
                own[places] = embedding[codes[k, cells], : prior.code_context]
        summed[grid.inside] += embedding[codes[k]]
    return codes


def _walk_weights(prior: Prior, grid: _Grid, codes_KN: Symbols, coder: _Encoder | _Decoder) -> Symbols:
    """Codes the planes of mixing weights; returns their steps, K×n, each within the window."""
    steps = np.zeros_like(codes_KN)
    summed, before, products = (grid.plane(n) for n in (prior.weight_width, len(steps), prior.product_width))
    for embedding, plane in zip(prior.weight_embeddings, codes_KN, strict=True):
        summed[grid.inside] += embedding[plane]
    near, total = np.ascontiguousarray(summed[:, : prior.weight_context]), np.int32(0)
    for i in range(len(steps)):
        own, earlier = grid.plane(1), np.ascontiguousarray(before[:, :i])
        for known, blocks in grid.passes():
            for cells, places in blocks:
                parts = [summed[places], grid.around(near, places)]
                parts += [earlier[places], grid.around(earlier, places)] if i else []
                parts += [grid.around(own, places), known.repeat(len(cells), axis=0)]
                parts += [products[places], grid.around(products, places)] if i else []
                found = coder.step(i, cells, prior.weight_networks[i](np.concatenate(parts, axis=1)))
                steps[i, cells] = found + LOWEST
            for cells, places in blocks:
                own[places, 0] = (steps[i, cells] - CENTRE) * STEP_FEATURE
        before[:, i] = own[:, 0]
        total = total + prior.product_embeddings[i][codes_KN[i]] * (steps[i] - CENTRE).astype(np.int32)[:, None]
        products[grid.inside] = np.clip(total >> PRODUCT_SHIFT, -MAX_PRODUCT, MAX_PRODUCT)
    return steps
