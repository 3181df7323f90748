"""Sources of the holes of images; an unusable mask fails its own image only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adacode_cli import formats
from adacode_cli.batch.mask_pairs import MaskPairs
from adacode_cli.batch.plan import Job
from adacode_cli.errors import InputError
from adacode_cli.geometry import Hole
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.mask import mask_from_alpha, mask_from_color, mask_from_image


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
    """The pixels of the image that have exactly this colour, '#rrggbb'."""

    color: str
    edge: Edge = Edge()

    def __call__(self, image: Decoded, file: MaskFile | None) -> Hole:
        """As `HoleSource`."""
        del file
        return self.edge.hole(mask_from_color(image, self.color))

    def file_for(self, source: Path) -> None:
        """As `HoleSource.file_for`."""
        del source


def mask_path(masks_dir: Path, job: Job) -> Path:
    """Where the mask of what was found in an image is written, so that `--mask-dir` finds it: NAME_mask beside others.

    A TIFF file where the image can have several pages, otherwise a PNG file.
    """
    format = formats.of_suffix(job.source.suffix)
    stem = job.source.stem if format else Path(job.name).name  # On a pipe, the job has a name and no file.
    suffix = ".tif" if format is None or format.pages else ".png"
    return masks_dir / Path(job.name).parent / f"{stem}_mask{suffix}"


def mask_bytes(masks: Sequence[NDArray[np.bool_]], format: str) -> bytes:
    """Masks (H×W bool, one for each page) as a grey image of 0 and 255 in the format "png" or "tiff"."""
    first, *others = (
        Decoded(pixels=mask.astype(np.uint8) * np.uint8(255), alpha=None, format=format, icc=None, exif=None, notes=())
        for mask in masks
    )
    return encode(replace(first, more_pages=tuple(others)), format=format)


def _hole_in(file: MaskFile | None, image: Decoded, edge: Edge) -> Hole:
    assert file is not None, "a file is named for every image"
    is_page = image.page > 0 or image.num_pages > 1
    title = f"page {image.page + 1} of the image" if is_page else "the image"
    return edge.hole(mask_from_image(file.page(image.page), file.path, size=image.size, title=title))
