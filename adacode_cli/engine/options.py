"""How a person wants the engine to run, refused at once where it is impossible: before weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass

from adacode_cli.engine.device import check_precision
from adacode_cli.engine.plan import SMALLEST_TILE_PX
from adacode_cli.errors import UsageError


@dataclass(frozen=True)
class RunOptions:
    """precision: auto, fp32, bf16 or fp16. tile: "auto", "none" or a side in output pixels.

    overlap_px: context around a tile in output pixels, None for the default. Raises UsageError.
    """

    precision: str = "auto"
    tile: str | int = "auto"
    overlap_px: int | None = None

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if self.tile not in ("auto", "none") and not _is_side(self.tile):
            raise UsageError(
                f"tile {self.tile!r} is not auto, none or a whole number of at least {SMALLEST_TILE_PX}",
                hint="The number is the side of a tile in output pixels, for example --tile 512.",
            )
        if self.overlap_px is not None and not (_is_whole(self.overlap_px) and int(self.overlap_px) >= 0):
            raise UsageError(
                f"overlap {self.overlap_px!r} is not a whole number of pixels, 0 or more",
                hint="It counts output pixels, for example --overlap 64.",
            )


def _is_side(tile: object) -> bool:
    return _is_whole(tile) and int(str(tile)) >= SMALLEST_TILE_PX


def _is_whole(value: object) -> bool:
    """Whether it is written in decimal digits alone; what NumPy counts in is fine too."""
    return str(value).isascii() and str(value).isdecimal()
