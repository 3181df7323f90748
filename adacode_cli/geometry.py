"""Boxes and tiles that cover an image without gaps or overlaps; holes and their edges.

Positions of boxes are integers on one grid, so that a tile of an image is aligned with the grid of the whole image.
Masks are grown and feathered by Euclidean distance, so "pixels more than N pixels away do not change" holds exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from adacode_cli.errors import UsageError

# Distances are square roots of integers in float32; below 500 px they differ by more than this.
_EQUAL_PX = 1e-3
# A mask with fewer pixels is probably a mistake; a mark of this size is hardly seen in an image.
_FEW_PIXELS, _SMALL_SHARE = 1000, 1e-4


def extent_of(cells: Sequence[int], cell_px: int, size: Sequence[int]) -> tuple[float, float]:
    """Height and width of cells from the corner of an image on, in shares of the image's; more than 1 where the last
    cells reach beyond its edge.

    cells: (rows, columns). cell_px: the side of a cell in pixels of the image. size: (height, width) of the image.
    """
    (rows, columns), (height, width) = cells, size
    return rows * cell_px / height, columns * cell_px / width


@dataclass(frozen=True)
class Box:
    """Half-open rectangle: rows top … bottom-1, columns left … right-1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def area(self) -> int:
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in an array whose last two axes are rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def scaled(self, multiply: int, divide: int = 1) -> Box:
        """The box on a grid that is `multiply/divide` times as fine; its coordinates there must be integers."""
        values = [self.top * multiply, self.left * multiply, self.bottom * multiply, self.right * multiply]
        assert all(v % divide == 0 for v in values), f"{self} does not lie on the coarser grid"
        return Box(*(v // divide for v in values))

    def grown(self, by: int, height: int, width: int) -> Box:
        """The box enlarged by `by` on each side, clipped to height × width."""
        return Box(
            max(0, self.top - by), max(0, self.left - by), min(height, self.bottom + by), min(width, self.right + by)
        )

    def halves(self, step: int) -> tuple[Box, Box] | None:
        """The two halves of the box, divided along its longer side at a multiple of `step`; None if it is too small."""
        tall = self.height >= self.width
        middle = (self.height if tall else self.width) // 2 // step * step
        if middle == 0:
            return None
        if tall:
            cut = self.top + middle
            return Box(self.top, self.left, cut, self.right), Box(cut, self.left, self.bottom, self.right)
        cut = self.left + middle
        return Box(self.top, self.left, self.bottom, cut), Box(self.top, cut, self.bottom, self.right)


def tiles(height: int, width: int, max_rows: int, max_columns: int) -> Iterator[Box]:
    """Boxes of at most max_rows × max_columns, in row order, that together cover height × width exactly once."""
    for top in range(0, height, max_rows):
        for left in range(0, width, max_columns):
            yield Box(top, left, min(top + max_rows, height), min(left + max_columns, width))


@dataclass(frozen=True, eq=False)
class Hole:
    """A hole of one image and its edge. Derived masks are computed once, when they are first used.

    mask: bool H×W, True in the hole before it is grown.
    grow_px: the number of pixels by which the filled hole is larger on every side.
    feather_px: the number of pixels beyond it over which the filling is blended with the image.
    opaque: the hole is the transparent part of the image, and its filling is opaque.
    exemplars: wide parts of the hole get texture from known parts of the image.
    note: for the user, on how the mask was found.

    One value is made for each image, and engine, guard and colour fix share it:

        hole = Hole(mask, grow_px=2, feather_px=4)
        restorer.restore("inpaint", pixels, mask=hole)
        weight[hole.touched] = 0  # weight of the pixels that must look like the input

    Raises UsageError for negative numbers of pixels.
    """

    mask: npt.NDArray[np.bool_]
    grow_px: int = 0
    feather_px: int = 0
    opaque: bool = False
    exemplars: bool = True
    note: str = ""

    def __post_init__(self) -> None:
        _check_px(self.grow_px, "grow")
        _check_px(self.feather_px, "feather")

    @cached_property
    def num_pixels(self) -> int:
        """The number of pixels of the mask."""
        return int(np.count_nonzero(self.mask))

    @property
    def is_nearly_empty(self) -> bool:
        """Whether the mask has no pixel or so few that it is probably a mistake."""
        return self.num_pixels < min(_FEW_PIXELS, _SMALL_SHARE * self.mask.size)

    @cached_property
    def grown(self) -> npt.NDArray[np.bool_]:
        """bool H×W: the pixels that are filled."""
        return grow_mask(self.mask, self.grow_px)

    @cached_property
    def weights(self) -> npt.NDArray[np.float32]:
        """float32 H×W in [0, 1]: the share of the filling in each pixel, 1 in the grown hole and 0 beyond its edge."""
        return feather_mask(self.grown, self.feather_px)

    @cached_property
    def touched(self) -> npt.NDArray[np.bool_]:
        """bool H×W: the pixels that filling may change; all others keep their exact values."""
        return self.weights > 0


def grow_mask(mask: npt.NDArray[np.bool_], px: int) -> npt.NDArray[np.bool_]:
    """The mask dilated by a disk of radius `px`: bool H×W. Raises UsageError for px < 0."""
    _check_px(px, "grow")
    return mask.copy() if px == 0 else _distance(mask) <= px + _EQUAL_PX


def feather_mask(mask: npt.NDArray[np.bool_], px: int) -> npt.NDArray[np.float32]:
    """float32 H×W in [0, 1]: exactly 1 in the mask, falling smoothly with distance, exactly 0 beyond `px` pixels.

    `px` 0 is the hard mask. Raises UsageError for px < 0.
    """
    _check_px(px, "feather")
    if px == 0:
        return mask.astype(np.float32)
    distance = _distance(mask)
    # The ramp ends at px + 1, so that a pixel at distance px still has a weight above 0.
    height = np.clip(1.0 - distance / np.float32(px + 1), 0.0, 1.0)
    weight = height * height * (3.0 - 2.0 * height)
    weight[distance > px + _EQUAL_PX] = 0.0
    weight[mask] = 1.0
    return np.asarray(weight, np.float32)


def _check_px(px: int, what: str) -> None:
    if px < 0:
        raise UsageError(f"cannot {what} a mask by {px} pixels", hint="Choose 0 or more.")


def _distance(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    outside = np.ascontiguousarray(~mask).view(np.uint8)
    return np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)
