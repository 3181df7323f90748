"""Where the hole of an image comes from; read beside inference, and a bad mask fails its own image only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adacode_cli.imaging.decode import Decode
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.mask import mask_from_alpha, mask_from_color, read_mask
from adacode_cli.imaging.mask_pairs import MaskFolder


class MaskSource(Protocol):
    """Gives each image its hole."""

    def __call__(self, source: Path, image: Decoded) -> NDArray[np.bool_]:
        """(path of the image, one of its pages) → bool H×W, True inside the hole. Raises InputError."""
        ...

    def file_for(self, source: Path) -> Path | None:
        """The file that holds the mask of an image; None if it is in the image itself. Raises InputError."""
        ...


@dataclass(frozen=True)
class _FromFiles:
    file_of: Callable[[Path], Path]
    decoder: Decode | None

    def __call__(self, source: Path, image: Decoded) -> NDArray[np.bool_]:
        return read_mask(self.file_of(source), size=image.size, page=image.page, decoder=self.decoder)

    def file_for(self, source: Path) -> Path | None:
        return self.file_of(source)


@dataclass(frozen=True)
class _FromImage:
    mask_of: Callable[[Decoded], NDArray[np.bool_]]

    def __call__(self, source: Path, image: Decoded) -> NDArray[np.bool_]:
        del source
        return self.mask_of(image)

    def file_for(self, source: Path) -> Path | None:
        del source
        return None


def from_file(path: Path, decoder: Decode | None = None) -> MaskSource:
    """One mask file for every image, read by `decoder`; each image must have its size."""
    return _FromFiles(lambda _source: path, decoder)


def from_folder(folder: Path, decoder: Decode | None = None) -> MaskSource:
    """A mask per image, paired by the name without its suffix. Raises InputError if there is no such folder."""
    return _FromFiles(MaskFolder(folder).for_image, decoder)


def from_alpha() -> MaskSource:
    """The transparent part of the image itself."""
    return _FromImage(mask_from_alpha)


def from_color(color: str) -> MaskSource:
    """The pixels of the image that have exactly this colour, '#rrggbb'."""
    return _FromImage(lambda image: mask_from_color(image, color))
