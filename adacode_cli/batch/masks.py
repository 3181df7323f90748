"""Sources of the holes of images, and masks of what was found; an unusable mask fails its own image only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adacode_cli import formats
from adacode_cli.batch.mask_owners import MARK
from adacode_cli.batch.mask_pairs import MaskPairs
from adacode_cli.batch.plan import Job
from adacode_cli.errors import InputError
from adacode_cli.geometry import Hole
from adacode_cli.imaging.color_key import ColorKey
from adacode_cli.imaging.encode import Document, encode
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.mask import mask_from_alpha, mask_from_color, mask_from_image
from adacode_cli.limits import MASK_TOLERANCE

_MANY_MORE = 1.5  # Smooth edges of marks that were painted into the file itself make fewer.


class MaskFile:
    """A mask file, of which only the pages used last are decoded.

    decode: decodes its pages from a page number on.
    """

    def __init__(self, path: Path, decode: Callable[[int], Decoded]) -> None:
        self.path = path
        self._decode = decode
        self._window = decode(0)
        self._num_pages = self._window.num_pages

    def page(self, number: int) -> Decoded:
        """The mask of a page: a single page is the mask of every page of an image; otherwise each page has its own.

        Raises InputError if the page is missing or cannot be read.
        """
        if self._num_pages == 1:
            return self._window
        if number >= self._num_pages:
            hint = "Use a mask with one page for each page of the image, or with one page for all of them."
            raise InputError(f"the mask has {self._num_pages} pages, and the image has more", path=self.path, hint=hint)
        while not 0 <= number - self._window.page < len(self._window.pages):
            following = self._window.page + len(self._window.pages)
            self._window = self._decode(following if number >= following else 0)
        return self._window.pages[number - self._window.page]


@dataclass(frozen=True)
class Edge:
    """How far beyond its mask a hole is filled and blended, in pixels, and whether it gets texture from elsewhere."""

    grow_px: int = 0
    feather_px: int = 0
    exemplars: bool = True

    def hole(self, mask: NDArray[np.bool_], *, opaque: bool = False) -> Hole:
        """The hole of a mask, bool H×W."""
        return Hole(mask, self.grow_px, self.feather_px, opaque, self.exemplars)


class HoleSource(Protocol):
    """Gives the hole of each image. Its values can be pickled."""

    def __call__(self, image: Decoded, file: MaskFile | None) -> Hole:
        """(one page of an image, the file from `file_for`) → its hole. Raises InputError."""
        ...

    def file_for(self, source: Path) -> Path | None:
        """The file that holds the mask of an image; None if it is in the image itself. Raises InputError."""
        ...


@dataclass(frozen=True)
class OneFile:
    """One mask file for all images, which must have its size."""

    path: Path
    edge: Edge = Edge()

    def __call__(self, image: Decoded, file: MaskFile | None) -> Hole:
        """As `HoleSource`."""
        return _hole_in(file, image, self.edge)

    def file_for(self, source: Path) -> Path:
        """As `HoleSource.file_for`."""
        del source
        return self.path


@dataclass(frozen=True)
class PairedFiles:
    """One mask file for each image, from a folder of masks."""

    pairs: MaskPairs
    edge: Edge = Edge()

    def __call__(self, image: Decoded, file: MaskFile | None) -> Hole:
        """As `HoleSource`."""
        return _hole_in(file, image, self.edge)

    def file_for(self, source: Path) -> Path:
        """As `HoleSource.file_for`."""
        return self.pairs.for_image(source)


@dataclass(frozen=True)
class Transparency:
    """The transparent part of the image itself, whose filling is opaque."""

    edge: Edge = Edge()

    def __call__(self, image: Decoded, file: MaskFile | None) -> Hole:
        """As `HoleSource`."""
        del file
        return self.edge.hole(mask_from_alpha(image), opaque=True)

    def file_for(self, source: Path) -> None:
        """As `HoleSource.file_for`."""
        del source


@dataclass(frozen=True)
class OneColor:
    """The pixels of the image that have this colour, '#rrggbb', or one that is at most `tolerance` away.

    tolerance: as in `mask_from_color`; None: MASK_TOLERANCE for images of lossy formats, otherwise 0, which also holds
        for files without loss in such formats.
    """

    color: str
    edge: Edge = Edge()
    tolerance: float | None = None

    def __call__(self, image: Decoded, file: MaskFile | None) -> Hole:
        """As `HoleSource`."""
        del file
        tolerance = self.tolerance
        if tolerance is None:
            tolerance = MASK_TOLERANCE if formats.named(image.format).lossy and not image.lossless else 0
        key = ColorKey(image, self.color)
        hole = self.edge.hole(mask_from_color(key, tolerance))
        if hole.is_nearly_empty or (self.tolerance is None and tolerance == 0):
            hole = replace(hole, note=self._note(key, hole, tolerance))
        return hole

    def _note(self, key: ColorKey, hole: Hole, tolerance: float) -> str:
        """That many more pixels have nearly this colour, as if it had been a JPEG before; or which one is nearest."""
        if tolerance < MASK_TOLERANCE:
            exact, near = (int(np.count_nonzero(key.within(limit))) for limit in (tolerance, MASK_TOLERANCE))
            if near > _MANY_MORE * exact:
                at = f" (--mask-tolerance {MASK_TOLERANCE})"
                pixels = f"{exact:,} {'pixel has' if exact == 1 else 'pixels have'}"
                have = "has" if near == 1 else "have"
                return f"{pixels} the colour {self.color}, and {near:,} {have} nearly this colour{at}"
        nearest = None if hole.num_pixels else key.nearest()
        return (
            f"the nearest colour to {self.color} is {nearest[0]}, at a distance of {nearest[1]:.1f}" if nearest else ""
        )

    def file_for(self, source: Path) -> None:
        """As `HoleSource.file_for`."""
        del source


@dataclass(frozen=True)
class PackedMask:
    """A mask with one bit for each pixel, because a document may have thousands of pages."""

    bits: NDArray[np.uint8]
    height: int
    width: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> PackedMask:
        """The mask, bool H×W."""
        return cls(np.packbits(mask), *mask.shape)

    def as_image(self, format: str) -> Decoded:
        """A grey image of 0 and 255 in that format."""
        mask = np.unpackbits(self.bits, count=self.height * self.width).reshape(self.height, self.width)
        return Decoded(pixels=mask * np.uint8(255), alpha=None, format=format, icc=None, exif=None, notes=())


def mask_path(masks_dir: Path, job: Job) -> Path:
    """Where the mask of what was found in an image is written, so that `--mask-dir` finds it: a.jpg_mask.png for a.jpg.

    A TIFF file where the output can have several pages, otherwise a PNG file. On a pipe, the job has a name only.
    """
    format = formats.of_suffix(Path(job.name).suffix)
    name = Path(job.name).name if format is None else job.source.name
    suffix = ".tif" if format is None or format.pages else ".png"
    return masks_dir / Path(job.name).parent / f"{name}{MARK}{suffix}"


def mask_bytes(masks: Sequence[PackedMask], format: str) -> bytes:
    """A file of the format "png" or "tiff" with a mask for each page; only one page is unpacked at a time."""
    if len(masks) == 1:
        return encode(masks[0].as_image(format), format=format)
    file = BytesIO()
    document = Document(file, format, sum(mask.height * mask.width for mask in masks))
    for mask in masks:
        page = mask.as_image(format)
        document.add(page, page)
    document.finish()
    return file.getvalue()


def _hole_in(file: MaskFile | None, image: Decoded, edge: Edge) -> Hole:
    assert file is not None, "a file is named for every image"
    is_page = image.page > 0 or image.num_pages > 1
    title = f"page {image.page + 1} of the image" if is_page else "the image"
    return edge.hole(mask_from_image(file.page(image.page), file.path, size=image.size, title=title))
