"""How a person wants the engine to run, refused at once where it is impossible: before weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass

from adacode_cli.engine.device import check_precision
from adacode_cli.errors import UsageError
from adacode_cli.limits import MIN_TILE_PX

TILINGS = ("exact", "sampled")


@dataclass(frozen=True)
class RunOptions:
    """precision: auto, fp32, bf16 or fp16. tile: "auto", "none" or a side in output pixels.

    tiling: "exact", or "sampled": normalisation by what a sample of the picture tells. Raises UsageError.
    """

    precision: str = "auto"
    tile: str | int = "auto"
    tiling: str = "exact"

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if self.tile not in ("auto", "none") and not _is_side(self.tile):
            raise UsageError(
                f"tile {self.tile!r} is not auto, none or a whole number of at least {MIN_TILE_PX}",
                hint="The number is the side of a tile in output pixels, for example --tile 512.",
            )
        if self.tiling not in TILINGS:
            raise UsageError(f"unknown tiling {self.tiling!r}", hint="Choose exact or sampled.")


def _is_side(tile: object) -> bool:
    """Whether it is written in decimal digits alone and large enough; what NumPy counts in is fine too."""
    return str(tile).isascii() and str(tile).isdecimal() and int(str(tile)) >= MIN_TILE_PX
