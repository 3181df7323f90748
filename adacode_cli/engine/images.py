"""Images as arrays, and what happens to them around the network: alpha, other sizes, holes that are filled again.

The network sees only grey or RGB. An alpha channel is resized separately, because a network trained on photographs
would invent texture in a map of coverage.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from adacode_cli.errors import InputError

TOPS = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}
"""Full scale of each type of sample."""

Pixels = npt.NDArray[Any]


def check_image(image: Pixels, alpha: Pixels | None = None) -> None:
    """Raises InputError unless `image` is H×W, or H×W×C with C from 2 to 4, of uint8, uint16 or finite float32 samples.

    No side is 0. With C 2 and 4 the last channel is alpha; a separate `alpha` is H×W of the same type, of an image
    without an alpha channel.
    """
    shape_fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (2, 3, 4))
    if not shape_fits or image.size == 0 or image.dtype not in TOPS:
        raise InputError(
            f"an array of shape {image.shape} and type {image.dtype} is not an image",
            hint="Images are H×W, H×W×2 (grey, alpha), H×W×3 or H×W×4 arrays of uint8, uint16 or float32 (0 to 1).",
        )
    if alpha is not None and (_has_alpha(image) or alpha.shape != image.shape[:2] or alpha.dtype != image.dtype):
        raise InputError(
            f"an array of shape {alpha.shape} and type {alpha.dtype} is not the alpha of an image of {image.shape}",
            hint="Alpha is H×W, of the image's type; or it is the last channel of the image.",
        )
    _check_finite(image)
    if alpha is not None:
        _check_finite(alpha)


def _check_finite(samples: Pixels) -> None:
    if samples.dtype == np.float32 and not np.isfinite(samples).all():
        # One such sample would spread over every pixel whose computation reads it.
        count = samples.size - np.count_nonzero(np.isfinite(samples))
        raise InputError(
            f"{count} of the image's {samples.size} samples are not finite",
            hint="Replace NaN and infinity by numbers from 0 to 1; if they mark holes, use inpaint with a mask.",
        )


def apart(image: Pixels) -> tuple[Pixels, Pixels | None]:
    """H×W or H×W×C image → H×W or H×W×3 colours, and the H×W alpha where the last channel is one (C 2 or 4)."""
    if not _has_alpha(image):
        return image, None
    color = image[..., 0] if image.shape[2] == 2 else image[..., :3]
    return color, np.ascontiguousarray(image[..., -1])


def joined(color: Pixels, alpha: Pixels | None) -> Pixels:
    """Inverse of `apart`."""
    return color if alpha is None else np.dstack((color, alpha))


def _has_alpha(image: Pixels) -> bool:
    return image.ndim == 3 and image.shape[2] in (2, 4)


def covered(color: Pixels, alpha: Pixels | None) -> Pixels:
    """H×W or H×W×3 colours, those of zero alpha (H×W) replaced; the same array if no pixel or every pixel is hidden.

    A fully transparent pixel may have any colour, often a bright one. A network mixes neighbours, so that colour would
    become a fringe around the visible part. Therefore each hidden pixel takes the colour of the nearest visible pixel.
    """
    if alpha is None:
        return color
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return color
    _, labels = cv2.distanceTransformWithLabels(
        hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros(int(labels.max()) + 1, np.int64)
    nearest[labels[~hidden]] = np.flatnonzero(~hidden)
    flat = color.reshape(hidden.size, -1)
    result = color.copy()
    result[hidden] = flat[nearest[labels[hidden]]].reshape(result[hidden].shape)
    return result


def opaque_in(alpha: Pixels, mask: npt.NDArray[np.bool_]) -> Pixels:
    """H×W alpha with full coverage where the H×W mask is True."""
    return np.where(mask, alpha.dtype.type(TOPS[alpha.dtype]), alpha)


def resize(image: Pixels, height: int, width: int) -> Pixels:
    """Area interpolation where it shrinks, cubic where it grows; same dtype, clipped."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(np.clip(resized, 0, 1) if image.dtype == np.float32 else resized, image.dtype)


def composite(image: Pixels, filled: Pixels, weight_HW: npt.NDArray[np.float32]) -> Pixels:
    """`filled` where the weight is 1, `image` bit for bit where it is 0, a blend between."""
    result = image.copy()
    whole, part = weight_HW >= 1, (weight_HW > 0) & (weight_HW < 1)
    result[whole] = filled[whole]
    old, new = image[part].astype(np.float32), filled[part].astype(np.float32)
    share = weight_HW[part] if image.ndim == 2 else weight_HW[part][:, None]
    blended = old + share * (new - old)
    result[part] = blended if image.dtype == np.float32 else np.rint(blended)
    return result
