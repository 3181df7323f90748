"""Texture for wide holes, copied from the known part of the same image.

A small network fills a wide hole with the right colours and hardly any texture, because nothing predicts it. The image
itself mostly has that texture elsewhere. So the hole is divided into cells, and each cell takes its pixels from one
known place: the one whose surroundings look like those of the cell in the network's filling, that meets the known
pixels at the border of the hole, and that fits what the neighbouring cells take (a shift map: Pritch et al. 2009,
ICCV). The result is the mean of the filling and of the copy: the filling keeps colours right where nothing fits.

Holes are processed in groups, with their surroundings only: time depends on the holes, and memory has a bound. All
choices are made on whole numbers, or in an order that does not depend on threads: the same image and the same filling
always give the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from adacode_cli.engine.images import TOPS, Pixels

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

WIDE_PX = 13
"""Narrower holes are left to the network, which sees both sides of them at once."""
CELL_PX = 16
"""Side of a cell."""
# Neighbouring cells are blended over this many pixels on each side of their seam.
_FEATHER_PX = 2
# Pixels around the middle of a source that must be known; the seams beyond may be only partly known.
_SOURCE_PX = CELL_PX // 2
# Holes in neighbouring squares of this side are processed together, in blocks; a source lies at most that far away.
_GROUP_PX, _BLOCK_PX, _REACH_PX = 32, 1024, 256
# Sources lie on a grid of this distance; a cell compares that many of them with its neighbours' ones.
_SOURCE_STEP, _CHOICES = 4, 6
# A place is described by its surroundings: blurred colours and the strength of detail, at 7×7 points.
_BLUR, _POINTS, _POINT_STEP = 2.0, 7, 6
_POINTS_SPREAD = 0.8 * _POINT_STEP * (_POINTS // 2)  # standard deviation of their weights
_KNOWN_POINT = 8  # weight of a known point beside one in the hole
_DETAIL = 4 * 20**0.5  # of the square root of the strength of detail, beside a colour of 0 to 255
# Costs in squared levels: of a pixel of distance², of border pixels that differ, of seams between cells.
_FAR, _BORDER, _SEAM = 0.01, 6.0, 0.3
_SWEEPS = 4
# Whole numbers that a level, and the weights of all points together, are divided into.
_LEVEL_STEPS, _WEIGHT_STEPS = 16, 4096
_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))


def with_exemplars(image: Pixels, filled: Pixels, hole: Mask, usable: Mask | None = None) -> Pixels:
    """`filled` with texture in its wide holes; elsewhere it is unchanged, also where the image has nothing to copy.

    image: H×W or H×W×3 uint8, uint16 or float32. filled: of the same shape and dtype, with the network's pixels in the
    holes. hole: H×W bool. usable: H×W bool, where pixels may be copied from; None: everywhere outside the hole.
    """
    assert image.shape == filled.shape, "the filling has the size of the image"
    wanted = _wide(hole)
    if not wanted.any():
        return filled
    visible = np.ones_like(hole) if usable is None else usable
    # What is finished is a known border for what comes later, and no source: it is half invented.
    settled, sources = visible & ~hole, visible & ~hole
    whole = image.copy()
    whole[hole] = filled[hole]
    for window, inside in _windows(wanted):
        part = _Part(_levels(whole[window]), hole[window], settled[window], sources[window])
        copied = part.copied(inside)
        if copied is not None:
            place = whole[window]
            place[inside] = _mean(place[inside], copied[inside])
            settled[window] |= inside
    result = filled.copy()
    result[wanted] = whole[wanted]
    return result


def _windows(wanted: Mask) -> Iterator[tuple[tuple[slice, slice], Mask]]:
    """Parts of the image that are processed one after the other, and in each of them the pixels to be filled.

    A part is a group of holes that are near one another, at most a block of them, with its surroundings.
    """
    height, width = wanted.shape
    padded = np.pad(wanted, ((0, -height % _GROUP_PX), (0, -width % _GROUP_PX)))
    touched = padded.reshape(padded.shape[0] // _GROUP_PX, _GROUP_PX, -1, _GROUP_PX).any((1, 3))
    num, labels, boxes, _ = cv2.connectedComponentsWithStats(np.asarray(touched, np.uint8), connectivity=8)
    for label in range(1, num):
        left, top, columns, rows = (int(v) * _GROUP_PX for v in boxes[label][:4])
        reach = min(_REACH_PX, _GROUP_PX * (2 + max(rows, columns) // _GROUP_PX))
        for y, x in product(range(top, top + rows, _BLOCK_PX), range(left, left + columns, _BLOCK_PX)):
            bottom, right = min(y + _BLOCK_PX, top + rows, height), min(x + _BLOCK_PX, left + columns, width)
            window = slice(max(0, y - reach), bottom + reach), slice(max(0, x - reach), right + reach)
            own = labels[y // _GROUP_PX : -(-bottom // _GROUP_PX), x // _GROUP_PX : -(-right // _GROUP_PX)] == label
            own = own.repeat(_GROUP_PX, 0).repeat(_GROUP_PX, 1)[: bottom - y, : right - x]
            inside = np.zeros_like(wanted[window])
            place = inside[y - window[0].start :, x - window[1].start :][: bottom - y, : right - x]
            place[:] = wanted[y:bottom, x:right] & own
            if inside.any():
                yield window, inside


def _wide(hole: Mask) -> Mask:
    """The parts of a hole that are at least WIDE_PX wide, with a pixel or two where they become narrower."""
    disk, square = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (WIDE_PX,) * 2), np.ones((WIDE_PX + 2,) * 2, np.uint8)
    core = cv2.erode(hole.astype(np.uint8), disk, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return (cv2.dilate(core, square) > 0) & hole


def _levels(pixels: Pixels) -> Floats:
    """H×W×3 float32 from 0 to 255."""
    scaled = pixels.astype(np.float32) * np.float32(255 / TOPS[pixels.dtype])
    return scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, 2)


def _mean(filled: Pixels, copied: Floats) -> Pixels:
    """The mean of N filled pixels and N×3 copied levels, in the layout and dtype of the filled ones."""
    top = TOPS[filled.dtype]
    levels = copied if filled.ndim == 2 else copied[:, 0]
    mean = (filled.astype(np.float32) + levels * np.float32(top / 255)) / 2
    return np.asarray(mean if filled.dtype == np.float32 else np.rint(mean).clip(0, top), filled.dtype)


@dataclass(frozen=True)
class _Cells:
    """N cells to be filled. y, x: their middles; neighbours: N×4 numbers of the cells at their sides, -1 for none."""

    y: Ints
    x: Ints
    neighbours: Ints
    even: Mask

    @classmethod
    def of(cls, wanted: Mask) -> _Cells:
        """The cells with wanted pixels, and those beside them that are blended with these."""
        height, width = wanted.shape
        grown = cv2.dilate(wanted.astype(np.uint8), np.ones((3, 3), np.uint8))
        padded = np.pad(grown, ((0, -height % CELL_PX), (0, -width % CELL_PX)))
        grid = padded.reshape(padded.shape[0] // CELL_PX, CELL_PX, -1, CELL_PX).max((1, 3)) > 0
        rows, columns = np.nonzero(grid)
        numbers = np.full((grid.shape[0] + 2, grid.shape[1] + 2), -1)
        numbers[1:-1, 1:-1][grid] = np.arange(len(rows))
        beside = np.stack([numbers[rows + 1 + dy, columns + 1 + dx] for dy, dx in _SIDES], 1)
        middle = CELL_PX // 2
        return cls(rows * CELL_PX + middle, columns * CELL_PX + middle, beside, (rows + columns) % 2 == 0)


@dataclass(frozen=True)
class _Surroundings:
    """What N cells are found by. described: N×points×4 whole numbers, as `_Part.around` gives them. weights: N×points,
    whole numbers that sum to about _WEIGHT_STEPS for each cell.
    """

    described: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]


def _square(reach: int, step: int) -> tuple[Ints, Ints]:
    """Offsets (dy, dx) of the points of a square, `reach` pixels to each side."""
    line = np.arange(-reach, reach + 1, step)
    dy, dx = np.meshgrid(line, line, indexing="ij")
    return dy.ravel(), dx.ravel()


def _blurred(image: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _detail(levels: Floats, hole: Mask) -> Floats:
    """H×W: the mean strength of detail around each pixel, in a hole that of the nearest known surroundings."""
    grey = levels.mean(2)
    strength, known = np.abs(grey - _blurred(grey, 2)), (~hole).astype(np.float32)
    result, found = np.zeros_like(grey), np.zeros(grey.shape, bool)
    for sigma in (4, 8, 16, 32, 64):
        share, total = (_blurred_widely(part, sigma) for part in (known, known * strength))
        here = (share > 0.15) & ~found
        result[here] = total[here] / share[here]
        found |= here
    return _blurred(result, 2)


def _blurred_widely(image: Floats, sigma: int) -> Floats:
    if sigma < 16:
        return _blurred(image, sigma)
    size = image.shape[1], image.shape[0]
    quarter = max(1, round(size[0] / 4)), max(1, round(size[1] / 4))
    small = cv2.resize(image, quarter, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(_blurred(np.asarray(small, np.float32), sigma / 4), size), np.float32)


class _Part:
    """A part of an image that is processed at once. settled: known, or finished; sources: may be copied."""

    def __init__(self, levels: Floats, hole: Mask, settled: Mask, sources: Mask) -> None:
        self.levels, self.settled = levels, settled
        self.fine = _blurred(levels, 0.7)  # without the noise of single pixels, for the fit of seams
        detail = _DETAIL * np.sqrt(_detail(levels, hole))
        described = np.dstack((_blurred(levels, _BLUR), detail))
        # float64 that holds whole numbers: sums of their products are exact, in whatever order threads add them.
        self.described = np.rint(described * _LEVEL_STEPS)
        whole = np.ones((2 * _SOURCE_PX + 1,) * 2, np.uint8)
        eroded = cv2.erode(sources.astype(np.uint8), whole, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
        self.sources, self._usable = eroded, sources
        self._dy, self._dx = _square(_POINT_STEP * (_POINTS // 2), _POINT_STEP)

    def copied(self, wanted: Mask) -> Floats | None:
        """H×W×3 levels with the copied ones where they are wanted; None if there is nothing to copy from."""
        rows, columns = np.nonzero(self.sources[::_SOURCE_STEP, ::_SOURCE_STEP])
        if not len(rows):
            return None
        cells = _Cells.of(wanted)
        surroundings = self._surroundings(cells)
        places = np.stack((rows, columns), 1) * _SOURCE_STEP
        choices = self._choices(cells, places, surroundings)
        shifts = _Shifts(self, cells, surroundings, choices)
        for sweep in range(_SWEEPS):
            for half in (cells.even, ~cells.even):
                shifts.improve(np.nonzero(half)[0], fresh=sweep % 2 == 0)
        return self._drawn(cells, shifts.shift)

    def at(self, values: npt.NDArray[Any], y: Ints, x: Ints) -> npt.NDArray[Any]:
        """Values at positions; those outside the part are taken from its edge."""
        return values[np.clip(y, 0, values.shape[0] - 1), np.clip(x, 0, values.shape[1] - 1)]

    def around(self, y: Ints, x: Ints) -> npt.NDArray[np.float64]:
        """…×points×4: the description of the surroundings of places."""
        return self.at(self.described, y[..., None] + self._dy, x[..., None] + self._dx)

    def _surroundings(self, cells: _Cells) -> _Surroundings:
        known = self.at(self.settled, cells.y[:, None] + self._dy, cells.x[:, None] + self._dx)
        near = np.exp(-(self._dy**2 + self._dx**2) / (2 * _POINTS_SPREAD**2))
        weights = near * np.where(known, _KNOWN_POINT, 1)
        weights = np.rint(_WEIGHT_STEPS * weights / weights.sum(1, keepdims=True))
        return _Surroundings(self.around(cells.y, cells.x), weights)

    def _choices(self, cells: _Cells, places: Ints, surroundings: _Surroundings) -> Ints:
        """N×K×2: the shifts to the most similar places, the best first."""
        far = round(_FAR * _WEIGHT_STEPS * _LEVEL_STEPS**2)
        middles = np.stack((cells.y, cells.x), 1).astype(np.float64)
        # Σ weight · (theirs − own)² + far · distance², without what is the same for all places of a cell.
        weights = surroundings.weights
        weighted = (weights[..., None] * surroundings.described).reshape(len(cells.y), -1)
        factors = np.concatenate((-2 * weighted, weights, -2 * far * middles, np.full_like(middles[:, :1], far)), 1)
        best_cost = np.full((len(cells.y), _CHOICES), np.inf)
        best = np.zeros((len(cells.y), _CHOICES), np.int64)
        for first in range(0, len(places), 4096):
            some = places[first : first + 4096]
            theirs = self.around(some[:, 0], some[:, 1])
            squares = np.square(theirs).sum(2), some, np.square(some).sum(1, keepdims=True)
            values = np.concatenate((theirs.reshape(len(some), -1), *squares), 1).T
            for rows in np.array_split(np.arange(len(factors)), -(-len(factors) // 512)):
                cost, few = factors[rows] @ values, min(_CHOICES, len(some))
                leading = np.sort(np.argpartition(cost, few - 1, 1)[:, :few], 1)
                costs = np.concatenate((best_cost[rows], np.take_along_axis(cost, leading, 1)), 1)
                numbers = np.concatenate((best[rows], first + leading), 1)
                order = np.argsort(costs, 1, kind="stable")[:, :_CHOICES]
                best_cost[rows] = np.take_along_axis(costs, order, 1)
                best[rows] = np.take_along_axis(numbers, order, 1)
        return np.asarray(places[best] - np.stack((cells.y, cells.x), 1)[:, None], np.int64)

    def _drawn(self, cells: _Cells, shift: Ints) -> Floats:
        """H×W×3: each cell with the pixels that its shift leads to, blended with its neighbours at their seams."""
        height, width, margin = *self.settled.shape, 2 * CELL_PX
        line = np.arange(-CELL_PX // 2 - _FEATHER_PX, CELL_PX // 2 + _FEATHER_PX)
        ramp = np.clip((CELL_PX / 2 + _FEATHER_PX - np.abs(line + 0.5)) / (2 * _FEATHER_PX), 0, 1)
        dy, dx = (offset.ravel() for offset in np.meshgrid(line, line, indexing="ij"))
        weights = np.broadcast_to(np.outer(ramp, ramp).ravel(), (len(cells.y), len(dy))).ravel()
        y, x = cells.y[:, None] + dy, cells.x[:, None] + dx
        source = y + shift[:, :1], x + shift[:, 1:]
        colours = self.at(self.levels, *source).reshape(-1, 3)
        weights = weights * self.at(self._usable, *source).ravel()
        row = width + 2 * margin
        index = ((y + margin) * row + x + margin).ravel()
        size = (height + 2 * margin) * row
        share = np.maximum(np.bincount(index, weights, size), 1e-9)
        sums = np.stack([np.bincount(index, weights * channel, size) for channel in colours.T], 1)
        drawn = (sums / share[:, None]).reshape(-1, row, 3)
        return np.asarray(drawn[margin : margin + height, margin : margin + width], np.float32)


class _Shifts:
    """The shift of each cell so far, N×2 (dy, dx), and what another one would cost."""

    def __init__(self, part: _Part, cells: _Cells, surroundings: _Surroundings, choices: Ints) -> None:
        self._part, self._cells, self._choices = part, cells, choices
        self.shift = choices[:, 0].copy()
        weights = surroundings.weights
        self._described = (surroundings.described / _LEVEL_STEPS).astype(np.float32)
        self._weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
        self._dy, self._dx = _square(CELL_PX + 2, 2)
        y, x = cells.y[:, None] + self._dy, cells.x[:, None] + self._dx
        inside = (y >= 0) & (y < part.settled.shape[0]) & (x >= 0) & (x < part.settled.shape[1])
        self._border = part.at(part.settled, y, x) & inside
        self._beside = part.at(part.fine, y, x)

    def improve(self, numbers: Ints, *, fresh: bool) -> None:
        """Each of these cells, no two of them neighbours, takes the best of its shift, of those of its neighbours, and
        of its own choices (`fresh`) or of places one pixel beside its own.
        """
        for some in np.array_split(numbers, -(-len(numbers) // 256)) if len(numbers) else ():
            neighbours = self._cells.neighbours[some]
            theirs = self.shift[np.where(neighbours >= 0, neighbours, some[:, None])]
            own = self.shift[some, None]
            more = self._choices[some] if fresh else own + np.array(_SIDES)
            candidates = np.concatenate((own, theirs, more), 1)
            cost = self._own_cost(some, candidates) + np.float32(_SEAM) * self._seams(some, candidates)
            self.shift[some] = np.take_along_axis(candidates, cost.argmin(1)[:, None, None], 1)[:, 0]

    def _own_cost(self, some: Ints, shifts: Ints) -> Floats:
        """n×k: how much places differ from what surrounds the cells, and from the known pixels at their border."""
        part, cells = self._part, self._cells
        y, x = cells.y[some, None] + shifts[..., 0], cells.x[some, None] + shifts[..., 1]
        height, width = part.sources.shape
        outside = (y < 0) | (y >= height) | (x < 0) | (x >= width) | ~part.at(part.sources, y, x)
        described = (part.around(y, x) / _LEVEL_STEPS).astype(np.float32)
        cost = np.square(described - self._described[some, None]).sum(-1)
        cost = (cost * self._weights[some, None]).sum(-1) + np.float32(_FAR) * np.square(shifts).sum(-1)
        meets = self._border[some].any(1)
        near = part.at(part.fine, y[meets][..., None] + self._dy, x[meets][..., None] + self._dx)
        border = np.square(near - self._beside[some[meets], None]).sum(-1) * self._border[some[meets], None]
        cost[meets] += np.float32(_BORDER * 2 / len(self._dy)) * border.sum(-1)  # a mean where half of it is known
        return np.asarray(np.where(outside, np.float32(1e9), cost), np.float32)

    def _seams(self, some: Ints, shifts: Ints) -> Floats:
        """n×k: how much places differ from what the neighbours take, along the common sides."""
        part, cells = self._part, self._cells
        cost = np.zeros(shifts.shape[:2], np.float32)
        for side, (down, right) in enumerate(_SIDES):
            other = cells.neighbours[some, side]
            has = np.nonzero(other >= 0)[0]
            if not len(has):
                continue
            along, across = np.arange(-CELL_PX // 2, CELL_PX // 2 + 1, 2), np.array([-2, 0, 2])
            dy, dx = np.meshgrid(across if down else along, along if down else across, indexing="ij")
            y = cells.y[some[has], None] + dy.ravel() + down * CELL_PX // 2
            x = cells.x[some[has], None] + dx.ravel() + right * CELL_PX // 2
            mine = part.at(part.fine, y[:, None] + shifts[has][..., 0, None], x[:, None] + shifts[has][..., 1, None])
            beside = self.shift[other[has]]
            theirs = part.at(part.fine, y + beside[:, :1], x + beside[:, 1:])
            cost[has] += np.square(mine - theirs[:, None]).sum(-1).mean(-1)
        return cost
