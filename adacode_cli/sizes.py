"""How large results are: the size that was asked for, what happens to larger images, and the runs of the network.

All sizes are (height, width) in pixels of an upright image. Sides are computed in whole numbers, so the side that was
asked for is met exactly, and the other one differs from the exact ratio by at most half a pixel.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, combinations_with_replacement
from typing import Literal

from adacode_cli.errors import InputError

Size = tuple[int, int]
Kind = Literal["scale", "width", "height", "long-edge", "short-edge", "megapixels"]

MAX_SCALE = 16
"""The largest ratio of output side to input side."""
_ONE_RUN_SCALE = 4
_MAX_RUNS = 4


class Fate(StrEnum):
    """What happens to an image."""

    RESTORED = "restored"
    COPIED = "copied"
    SHRUNK = "shrunk"
    LEFT_OUT = "left out"


AS_LARGE = (Fate.COPIED, Fate.SHRUNK, Fate.LEFT_OUT)
"""The fates of images that are as large already as was asked for."""
AS_LARGE_ALREADY = "as large already as was asked for"


def enlarged(side: int, scale: float) -> int:
    """The side of an enlarged image in pixels: `scale` times `side`, rounded half up, at least 1."""
    return max(1, math.floor(side * scale + 0.5))


@dataclass(frozen=True)
class Sizing:
    """The size of results, for images of any size; the ratio of the sides is kept.

    kind: what `amount` is: a factor from 1 to 16, the pixels of one side, or the millions of pixels of the whole image.
    as_large: the fate of images that are at least as large already; a factor knows no such images. One that has exactly
        the size is copied in place of SHRUNK.
    """

    kind: Kind = "scale"
    amount: float = 1.0
    as_large: Fate = Fate.COPIED

    @property
    def label(self) -> str:
        """For names of folders: "x4", "width-3840", "megapixels-12.5"."""
        return f"x{self.amount:g}" if self.kind == "scale" else f"{self.kind}-{_plain(self.amount)}"

    @property
    def depends_on_turn(self) -> bool:
        """Whether an image that is turned by a quarter gets a result of another size."""
        return self.kind in ("width", "height")

    @property
    def most_growth(self) -> int:
        """An upper bound for pixels of a result per pixel of its image."""
        factor = max(self.amount, _ONE_RUN_SCALE) if self.kind == "scale" else MAX_SCALE
        return math.ceil(factor**2)

    def asked(self, height: int, width: int) -> Size:
        """The size that was asked for. Raises InputError if it is more than 16 times as large."""
        size = self._asked(height, width)
        ratio = max(after / before for after, before in zip(size, (height, width), strict=True))
        if self.kind != "scale" and ratio > MAX_SCALE:
            raise InputError(
                f"{width}×{height} pixels are too few for --{self.kind} {_plain(self.amount)}: "
                f"at most ×{MAX_SCALE} is possible, which is {MAX_SCALE * width}×{MAX_SCALE * height} pixels",
                hint="Choose a smaller size for this image, or leave it out with --exclude.",
            )
        return size

    def fate(self, height: int, width: int) -> Fate:
        """What happens to an image of this size. Raises InputError as `asked` does."""
        if self.kind == "scale":
            return Fate.RESTORED
        rows, columns = self.asked(height, width)
        if rows > height or columns > width:
            return Fate.RESTORED
        is_exact = (rows, columns) == (height, width)
        return Fate.COPIED if is_exact and self.as_large is Fate.SHRUNK else self.as_large

    def size(self, height: int, width: int) -> Size:
        """The size of the result. Raises InputError as `asked` does."""
        keeps = self.fate(height, width) in (Fate.COPIED, Fate.LEFT_OUT)
        return (height, width) if keeps else self.asked(height, width)

    def runs(self, height: int, width: int, factors: Sequence[int]) -> tuple[int, ...]:
        """The factors of the runs by which an image reaches its size: the smallest product, with as few runs as
        possible, the cheap small factor first.

        factors: for which there are networks. Raises InputError as `asked` does.
        """
        rows, columns = self.asked(height, width)

        def reaches(product: int) -> bool:
            by_scale = self.kind == "scale" and product >= self.amount
            return by_scale or (self.kind != "scale" and product * height >= rows and product * width >= columns)

        lengths = range(1, _MAX_RUNS + 1)
        chains = [chain for length in lengths for chain in combinations_with_replacement(sorted(factors), length)]
        return min((chain for chain in chains if reaches(math.prod(chain))), key=math.prod)

    def run_pixels(self, height: int, width: int, factors: Sequence[int]) -> list[int]:
        """The pixels that each of the `runs` gets; empty if the image is copied, left out or made smaller.

        Raises InputError as `asked` does.
        """
        if self.fate(height, width) is not Fate.RESTORED:
            return []
        return [height * width * growth**2 for growth in growths(self.runs(height, width, factors))]

    def possible_factors(self, factors: Sequence[int]) -> tuple[int, ...]:
        """Of the factors for which there are networks, those that an image of some size may need."""
        used = self.runs(1, 1, factors) if self.kind == "scale" else factors
        return tuple(sorted(set(used)))

    def _asked(self, height: int, width: int) -> Size:
        match self.kind:
            case "scale":
                return enlarged(height, self.amount), enlarged(width, self.amount)
            case "megapixels":
                ratio = math.sqrt(self.amount * 1e6 / (height * width))
                return enlarged(height, ratio), enlarged(width, ratio)
            case "width":
                edge = width
            case "height":
                edge = height
            case "long-edge":
                edge = max(height, width)
            case "short-edge":
                edge = min(height, width)
        wanted = int(self.amount)
        return _in_ratio(height, wanted, edge), _in_ratio(width, wanted, edge)


DEFAULT_SIZING = Sizing("scale", 4.0)


def _in_ratio(side: int, wanted: int, edge: int) -> int:
    """`side` · `wanted` / `edge`, rounded half up, at least 1."""
    return max(1, (2 * side * wanted + edge) // (2 * edge))


def _plain(amount: float) -> str:
    """A number without an exponent and without zeros at its end."""
    return f"{amount:f}".rstrip("0").rstrip(".")


def growths(factors: Sequence[int]) -> tuple[int, ...]:
    """How much larger than the image the input of each run is, per side: 1 for the first of runs by these factors."""
    return tuple(accumulate(factors[:-1], operator.mul, initial=1))
