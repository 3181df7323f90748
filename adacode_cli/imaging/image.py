"""Images: as a codec reads them (`Raster`), and upright, as the rest of the program uses them (`Decoded`).

All later stages use upright samples of full depth in one of six layouts (grey or RGB, three depths), independent of
the file format.
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
"""Information in a file other than pixels (`imaging.inventory`): (group, name).

The group is the kind of information, for messages; the name identifies it within the group, or is "".
"""

FurtherPage = tuple[int, int, int]
"""(height, width, largest number of bytes of a decoded sample) of a page that was not decoded, as stored."""

PALETTE_NOTE = "palette converted to RGB"
INKS_LOST = "CMYK inks (converted to RGB)"
INKS_PROFILE_LOST = "CMYK inks (converted to sRGB through their colour profile)"

_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))


@dataclass(frozen=True, eq=False)
class Decoded:
    """One image, upright, with the metadata that the output must keep.

    pixels: H×W (grey) or H×W×3 (RGB), uint8, uint16 or float32 in [0, 1], C-contiguous.
    alpha: H×W of the same dtype, not premultiplied.
    format: the name of the format of the file.
    icc, xmp: as in the file; the orientation in `xmp` is 1, because the pixels are upright.
    exif: the TIFF-structured block without the `Exif\\0\\0` prefix, also with orientation 1.
    notes: for the user.
    iptc: IIM records.
    resolution: of the container itself.
    lost: what could not be read into this value, each in a few words.
    page: the number of the page, from 0.
    bits: of a stored sample, if they are fewer than those of the dtype (10, 12).
    more_pages: of the first of several pages, the other ones.
    cicp: describes the colours; a profile beside it is for formats that cannot hold it.
    stated: the items that `inventory` finds in the file.
    following: the pages of the file that follow `pages` and were not decoded.
    salvaged: it is the readable part of a damaged file.
    without_network: no network had a part in it, so its metadata name no weights.
    lossless: the file has no loss, although its format allows it; False for formats without loss.
    turned: its file states an orientation, and holds other pixels than these.
    distance: of a result from its input, as `batch.guard` has measured it; None if it has not.

    Raises ValueError for other arrays, which is a bug of the caller.
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
    following: tuple[FurtherPage, ...] = ()
    salvaged: bool = False
    without_network: bool = False
    lossless: bool = False
    turned: bool = False
    distance: float | None = None

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
        """All decoded pages, this one first."""
        return (self, *self.more_pages)

    @property
    def num_pages(self) -> int:
        """The number of pages of the file; valid for the first of the pages that were decoded together."""
        return self.page + len(self.pages) + len(self.following)

    @property
    def metadata(self) -> Metadata:
        """The metadata of the image."""
        return Metadata(self.icc, self.exif, self.xmp, self.iptc, self.resolution, self.cicp)

    def restored(self, pixels: Samples, alpha: Samples | None, notes: tuple[str, ...]) -> Decoded:
        """The same photograph with other, possibly more, pixels; resolution and sizes in its metadata are adapted."""
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
    """An image as a codec reads it, with the orientation in which it is stored.

    pixels, alpha: H×W or H×W×3, and H×W of the same dtype, not premultiplied.
    metadata: of the stored pixels; `exif` is a block without its `Exif\\0\\0` prefix.
    orientation: if the file states it outside that block.
    notes: for the user.
    lost: what could not be read.
    bits: of a stored sample, if they are fewer than the 16 in memory.
    lossless: the file has no loss, although its format allows it.
    """

    pixels: Samples
    alpha: Samples | None = None
    metadata: Metadata = field(default_factory=Metadata)
    orientation: int | None = None
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    bits: int | None = None
    lossless: bool = False


def lost_after_first(count: int, unit: str = "frame") -> tuple[str, ...]:
    """The loss of the other frames, pages or images if only the first one is kept."""
    return (f"{count - 1} of {count} {unit}s",) if count > 1 else ()
