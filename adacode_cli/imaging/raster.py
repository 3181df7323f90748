"""What every reader hands to `decode`: samples as the file stores them, still to be turned upright."""

from __future__ import annotations

from dataclasses import dataclass, field

from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.metadata import Metadata

PALETTE_NOTE = "palette converted to RGB"
INKS_LOST = "CMYK inks (converted to RGB)"
INKS_PROFILE_LOST = "CMYK inks (converted to sRGB through their colour profile)"


@dataclass(frozen=True, eq=False)
class Raster:
    """H×W or H×W×3 `pixels`, H×W `alpha` (same dtype, not premultiplied) and the file's metadata, all as stored.

    The metadata speak of the pixels as stored; their `exif` is a block without its `Exif\\0\\0` prefix.
    `orientation` is set where the file says it outside that block. `lost`: what could not be taken along.
    `bits`: of a stored sample, where they are fewer than the 16 of ours.
    """

    pixels: Samples
    alpha: Samples | None = None
    metadata: Metadata = field(default_factory=Metadata)
    orientation: int | None = None
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    bits: int | None = None


def lost_beside_first(count: int, unit: str = "frame") -> tuple[str, ...]:
    """What is lost of an animation, or of pages, where the first picture alone is kept."""
    return (f"{count - 1} of {count} {unit}s",) if count > 1 else ()
