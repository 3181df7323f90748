"""What every reader hands to `decode`: samples as the file stores them, still to be turned upright."""

from __future__ import annotations

from dataclasses import dataclass

from adacode_cli.imaging.image import Samples

PALETTE_NOTE = "palette converted to RGB"
INKS_NOTE = "CMYK converted to RGB"
INKS_PROFILE_NOTE = "CMYK converted to RGB through its colour profile"


@dataclass(frozen=True, eq=False)
class Raster:
    """H×W or H×W×3 `pixels`, H×W `alpha` (same dtype, not premultiplied) and the file's metadata, all as stored.

    `exif` is a block without its `Exif\\0\\0` prefix, with the orientation that the pixels still have;
    `orientation` is set where the file says it outside that block (TIFF).
    """

    pixels: Samples
    alpha: Samples | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    orientation: int | None = None
    notes: tuple[str, ...] = ()


def frames_note(count: int, unit: str) -> tuple[str, ...]:
    """A note where a file holds more than the one picture that is read; `unit` is "frame" or "page"."""
    return (f"only the first of {count} {unit}s was read",) if count > 1 else ()
