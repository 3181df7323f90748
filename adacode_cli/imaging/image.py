"""What an image is: as a codec reads it (`Raster`), and upright, as the rest of the program has it (`Decoded`).

Everything downstream sees upright, full-depth samples in one of six layouts (grey or RGB, three depths) and never
has to ask what kind of file they came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from adacode_cli.imaging.cicp import Cicp
from adacode_cli.imaging.metadata import Metadata, resized
from adacode_cli.imaging.resolution import Resolution

Samples = npt.NDArray[Any]
"""Samples of an image: uint8, uint16 or float32, the last in [0, 1]."""

Item = tuple[str, str]
"""What a file says beside its pixels (`imaging.inventory`): (group, name), "" where there is no more to say.

The group is what a person calls such things, the name which of them it is.
"""

FurtherPage = tuple[int, int, int]
"""(height, width, bytes of a decoded sample at most) of a page that was not decoded, as stored."""

PALETTE_NOTE = "palette converted to RGB"
INKS_LOST = "CMYK inks (converted to RGB)"
INKS_PROFILE_LOST = "CMYK inks (converted to sRGB through their colour profile)"

_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))


@dataclass(frozen=True, eq=False)
class Decoded:
    """One image, upright, with what must survive into the output.

    `pixels` is H×W (grey) or H×W×3 (RGB), uint8, uint16 or float32 in [0, 1], C-contiguous; `alpha` is H×W of the
    same dtype, not premultiplied. `exif` is the TIFF-structured block without the `Exif\\0\\0` prefix; its
    Orientation is 1, because the pixels are already turned; so it is in `xmp`. `iptc` are IIM records, `resolution`
    is the container's own. `format` is what the bytes were, `lost` what of them could not be read into this value,
    each in a few words. `notes` are for a person. The first of several pages holds the others in `more_pages`; each
    knows by `page` which it is, from 0. `bits`: of a sample as stored, where they are fewer than the dtype's (10, 12).
    `cicp` describes the colours in numbers; a profile beside it is for formats that cannot hold it. `stated`: the items
    that `inventory` finds in the file. `behind`: the pages of the file that follow `pages` and were not decoded.

    Raises ValueError for arrays of another kind: that is a bug of the caller.
    """

    pixels: Samples
    alpha: Samples | None = None
    format: str = "png"
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: Resolution | None = None
    lost: tuple[str, ...] = ()
    page: int = 0
    bits: int | None = None
    more_pages: tuple[Decoded, ...] = ()
    cicp: Cicp | None = None
    stated: tuple[Item, ...] = ()
    behind: tuple[FurtherPage, ...] = ()

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)) or 0 in shape:
            raise ValueError(f"pixels must be H×W or H×W×3 and not empty, not {shape}")
        if self.pixels.dtype not in _DTYPES:
            raise ValueError(f"pixels must be uint8, uint16 or float32, not {self.pixels.dtype}")
        if self.alpha is not None and (self.alpha.shape != shape[:2] or self.alpha.dtype != self.pixels.dtype):
            raise ValueError(f"alpha {self.alpha.shape} {self.alpha.dtype} does not fit pixels {shape}")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])

    @property
    def colors(self) -> int:
        """1 for grey, 3 for RGB."""
        return 1 if self.pixels.ndim == 2 else 3

    @property
    def pages(self) -> tuple[Decoded, ...]:
        """All pages that were decoded, this one first."""
        return (self, *self.more_pages)

    @property
    def num_pages(self) -> int:
        """How many pages the file has, asked of the first page that was decoded with others."""
        return self.page + len(self.pages) + len(self.behind)

    @property
    def metadata(self) -> Metadata:
        """All that is neither pixels nor about this program."""
        return Metadata(self.icc, self.exif, self.xmp, self.iptc, self.resolution, self.cicp)

    def restored(self, pixels: Samples, alpha: Samples | None, notes: tuple[str, ...]) -> Decoded:
        """The same photograph with other pixels, perhaps more of them: resolution and sizes follow."""
        metadata = resized(self.metadata, self.size, (int(pixels.shape[0]), int(pixels.shape[1])))
        return replace(
            self,
            pixels=pixels,
            alpha=alpha,
            exif=metadata.exif,
            xmp=metadata.xmp,
            resolution=metadata.resolution,
            notes=notes,
        )


@dataclass(frozen=True, eq=False)
class Raster:
    """What a codec reads: H×W or H×W×3 `pixels`, H×W `alpha` (same dtype, not premultiplied) and the file's metadata.

    All of it is as stored, still to be turned upright, and the metadata speak of the pixels as stored. Their `exif` is
    a block without its `Exif\\0\\0` prefix.
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


def lost_after_first(count: int, unit: str = "frame") -> tuple[str, ...]:
    """What is lost of an animation, or of pages, where the first image alone is kept."""
    return (f"{count - 1} of {count} {unit}s",) if count > 1 else ()
