"""Where the hole of an image comes from; read beside inference, and a bad mask fails its own image only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.mask import mask_from_alpha, mask_from_color, read_mask
from adacode_cli.imaging.mask_pairs import MaskFolder

MaskSource = Callable[[Path, Decoded], NDArray[np.bool_]]
"""(path of the image, one of its pages) → bool H×W, True inside the hole. Raises InputError."""


def from_file(path: Path) -> MaskSource:
    """One mask file for every image; each image must have its size."""
    return lambda _source, image: read_mask(path, size=_size(image), page=image.page)


def from_folder(folder: Path) -> MaskSource:
    """A mask per image, paired by the name without its suffix. Raises InputError if there is no such folder."""
    pairs = MaskFolder(folder)
    return lambda source, image: read_mask(pairs.for_image(source), size=_size(image), page=image.page)


def from_alpha() -> MaskSource:
    """The transparent part of the image itself."""
    return lambda _source, image: mask_from_alpha(image)


def from_color(color: str) -> MaskSource:
    """The pixels of the image that have exactly this colour, '#rrggbb'."""
    return lambda _source, image: mask_from_color(image, color)


def _size(image: Decoded) -> tuple[int, int]:
    return image.pixels.shape[0], image.pixels.shape[1]
