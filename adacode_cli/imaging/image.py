"""What a picture file is to the rest of the program: pixels, alpha and the metadata that must come out again.

Everything downstream sees upright, full-depth samples in one of six layouts (grey or RGB, three depths) and never
has to ask what kind of file they came from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from adacode_cli.imaging.cicp import Cicp
from adacode_cli.imaging.inventory_items import Item
from adacode_cli.imaging.metadata import Metadata, resized
from adacode_cli.imaging.resolution import Resolution

Samples = npt.NDArray[Any]
"""Samples of a picture: uint8, uint16 or float32, the last in [0, 1]."""

SUFFIXES: dict[str, str] = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".png": "png",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".bmp": "bmp",
    ".jp2": "jp2",
    ".avif": "avif",
    ".heic": "heic",
    ".heif": "heic",
}
"""Lower-case file suffix → format name; decides what discovery takes up and what an output's name asks for."""

READ_ONLY_SUFFIXES: dict[str, str] = {
    ".mpo": "jpeg",
    ".jls": "png",
    ".apng": "png",
    ".j2k": "jp2",
    ".j2c": "jp2",
    ".jpc": "jp2",
    ".jpx": "jp2",
    ".jpf": "jp2",
    ".hif": "heic",
}
"""Of files that discovery takes up too, and that are never written → format of the output; its suffix comes behind."""

_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))


@dataclass(frozen=True, eq=False)
class Decoded:
    """One picture, upright, with what must survive into the output.

    `pixels` is H×W (grey) or H×W×3 (RGB), uint8, uint16 or float32 in [0, 1], C-contiguous; `alpha` is H×W of the
    same dtype, not premultiplied. `exif` is the TIFF-structured block without the `Exif\\0\\0` prefix; its
    Orientation is 1, because the pixels are already turned; so it is in `xmp`. `iptc` are IIM records, `resolution`
    is the container's own. `format` is what the bytes were, `lost` what of them could not be read into this value,
    each in a few words. `notes` are for a person. The first of several pages holds the others in `more_pages`; each
    knows by `page` which it is, from 0. `bits`: of a sample as stored, where they are fewer than the dtype's (10, 12).
    `cicp` describes the colours in numbers; a profile beside it is for formats that cannot hold it. `stated`: the items
    that `inventory` finds in the file.

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
        """All pages of the file, this one first."""
        return (self, *self.more_pages)

    @property
    def metadata(self) -> Metadata:
        """All that is neither pixels nor about this program."""
        return Metadata(self.icc, self.exif, self.xmp, self.iptc, self.resolution, self.cicp)

    def restored(self, pixels: Samples, alpha: Samples | None, notes: tuple[str, ...]) -> Decoded:
        """The same photograph with other pixels, perhaps more of them: resolution and sizes follow."""
        said = resized(self.metadata, self.size, (int(pixels.shape[0]), int(pixels.shape[1])))
        return replace(
            self, pixels=pixels, alpha=alpha, exif=said.exif, xmp=said.xmp, resolution=said.resolution, notes=notes
        )
