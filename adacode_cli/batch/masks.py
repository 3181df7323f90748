"""Where the hole of an image comes from; a bad mask fails its own image only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adacode_cli.batch.mask_pairs import MaskPairs
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.mask import mask_from_alpha, mask_from_color, mask_from_picture


@dataclass(frozen=True)
class MaskFile:
    """A file of masks, decoded."""

    path: Path
    picture: Decoded


class MaskSource(Protocol):
    """Gives each image its hole."""

    def __call__(self, image: Decoded, file: MaskFile | None) -> NDArray[np.bool_]:
        """(one page of an image, what `file_for` named) → bool H×W, True inside the hole. Raises InputError."""
        ...

    def file_for(self, source: Path) -> Path | None:
        """The file that holds the mask of an image; None if it is in the image itself. Raises InputError."""
        ...


@dataclass(frozen=True)
class _FromFiles:
    file_of: Callable[[Path], Path]

    def __call__(self, image: Decoded, file: MaskFile | None) -> NDArray[np.bool_]:
        assert file is not None, "a file is named for every image"
        return mask_from_picture(file.picture, file.path, size=image.size, page=image.page)

    def file_for(self, source: Path) -> Path | None:
        return self.file_of(source)


@dataclass(frozen=True)
class _FromImage:
    mask_of: Callable[[Decoded], NDArray[np.bool_]]

    def __call__(self, image: Decoded, file: MaskFile | None) -> NDArray[np.bool_]:
        del file
        return self.mask_of(image)

    def file_for(self, source: Path) -> Path | None:
        del source
        return None


def from_file(path: Path) -> MaskSource:
    """One mask file for every image; each image must have its size."""
    return _FromFiles(lambda _source: path)


def from_pairs(pairs: MaskPairs) -> MaskSource:
    """A mask per image, as a folder of them was paired with the images."""
    return _FromFiles(pairs.for_image)


def from_alpha() -> MaskSource:
    """The transparent part of the image itself."""
    return _FromImage(mask_from_alpha)


def from_color(color: str) -> MaskSource:
    """The pixels of the image that have exactly this colour, '#rrggbb'."""
    return _FromImage(lambda image: mask_from_color(image, color))
