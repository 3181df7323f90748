"""Makes masks, boolean images that are True in the hole, from a file, from transparency or from a colour.

A mask file is white in the hole, or has strokes on a transparent layer, as painting programs write it: transparent
pixels count as black, whatever their hidden colour. With strokes of dark colours only, no pixel would be white; so if
no pixel is white, and at most half of the image is painted, the painted part is the hole.

`adacode_cli.geometry` grows and feathers masks.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from adacode_cli.errors import InputError
from adacode_cli.geometry import grow_mask
from adacode_cli.imaging.color_key import ColorKey
from adacode_cli.imaging.decode import read_image
from adacode_cli.imaging.image import Decoded, Samples
from adacode_cli.imaging.samples import top_of
from adacode_cli.limits import MASK_HALO_PX, MAX_PIXELS

Mask = npt.NDArray[np.bool_]

_LUMA = (0.299, 0.587, 0.114)
_HALF = 0.5


def read_mask(path: Path, *, size: tuple[int, int]) -> Mask:
    """The mask file for an image of `size` (H, W): bool H×W, as `mask_from_image` makes it. Raises InputError."""
    # A mask of another size is refused anyway, and a mask of the size of a decoded image is not too large.
    return mask_from_image(read_image(path, max_pixels=max(MAX_PIXELS, size[0] * size[1])), path, size=size)


def mask_from_image(image: Decoded, path: Path, *, size: tuple[int, int], title: str = "the image") -> Mask:
    """A page of the mask file `path`, decoded, for an image of `size` (H, W): bool H×W, True inside the hole.

    Any readable image can be a mask. The hole consists of the pixels whose encoded luma times alpha exceeds half of
    white. If there are none, and at most half of the pixels are more than half opaque, these are the hole.

    title: what is restored, for the error. Raises InputError if the sizes differ.
    """
    if image.size != size:
        raise InputError(
            f"the mask has {image.size[1]}×{image.size[0]} pixels, {title} {size[1]}×{size[0]}",
            path=path,
            hint="Make the mask as large as the image (after its EXIF rotation), and white where the holes are.",
        )
    return _marked(image)


def mask_from_alpha(image: Decoded) -> Mask:
    """bool H×W, True where the image is more than half transparent. Raises InputError for one without alpha."""
    if image.alpha is None:
        hint = "Give the holes as a mask file, a mask directory or a mask colour."
        raise InputError("the image has no alpha channel to take the mask from", hint=hint)
    return np.asarray(image.alpha < top_of(image.alpha.dtype) / 2)


def mask_from_color(key: ColorKey, tolerance: float = 0.0) -> Mask:
    """bool H×W, True where the colour of the pixel, as it is shown, is at most `tolerance` away from that of `key`.

    tolerance: a distance in L*a*b* (`color_key`); 0 takes the colour alone, after rounding to 8 bits. With a tolerance,
    MASK_HALO_PX pixels around what was found belong to the mask too: lossy compression mixes a painted colour with its
    surroundings.
    """
    found = key.within(tolerance)
    return grow_mask(found, MASK_HALO_PX) if tolerance > 0 else found


def _marked(image: Decoded) -> Mask:
    """The hole in the image of a mask, as described in `mask_from_image`."""
    luma, top = _luma(image.pixels), top_of(image.pixels.dtype)
    if image.alpha is None or bool((image.alpha == top).all()):
        return np.asarray(luma > top / 2)
    coverage = image.alpha.astype(np.float32) / np.float32(top)
    white, painted = luma * coverage > top / 2, coverage > _HALF
    only_dark_strokes = not white.any() and painted.mean() <= _HALF
    return np.asarray(painted if only_dark_strokes else white)


def _luma(pixels: Samples) -> npt.NDArray[np.float32]:
    if pixels.ndim == 2:
        return pixels.astype(np.float32)
    return np.asarray(cv2.transform(pixels.astype(np.float32), np.array([_LUMA], np.float32)), np.float32)
