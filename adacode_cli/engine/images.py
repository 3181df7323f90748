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

# A cubic interpolation exceeds the range of its samples by less than this share of it.
_OVERSHOOT = 0.25


def check_image(image: Pixels, alpha: Pixels | None = None) -> None:
    """Raises InputError unless `image` is H×W, or H×W×C with C from 2 to 4, of uint8, uint16, or float32 in [0, 1].

    No side is 0. With C 2 and 4 the last channel is alpha; a separate `alpha` is H×W of the same type, of an image
    without an alpha channel.
    """
    shape_fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (2, 3, 4))
    if not shape_fits or image.size == 0 or image.dtype not in TOPS:
        raise InputError(
            f"an array of shape {image.shape} and type {image.dtype} is not an image",
            hint=f"Images are H×W, H×W×2 (grey, alpha), H×W×3 or H×W×4 arrays of uint8, uint16 or float32 (0 to 1)."
            f"{_remedy(image)}",
        )
    if alpha is not None and (_has_alpha(image) or alpha.shape != image.shape[:2] or alpha.dtype != image.dtype):
        raise InputError(
            f"an array of shape {alpha.shape} and type {alpha.dtype} is not the alpha of an image of {image.shape}",
            hint="Alpha is H×W, of the image's type; or it is the last channel of the image.",
        )
    _check_range(image)
    if alpha is not None:
        _check_range(alpha)


def _remedy(image: Pixels) -> str:
    """How an array that is not an image probably becomes one: a sentence, or ""."""
    channels_first = image.ndim == 3 and image.shape[0] in (1, 2, 3, 4) and image.shape[2] not in (2, 3, 4)
    wide = image.dtype.kind in "iu" and image.dtype not in TOPS
    remedies = (
        (image.ndim == 4, "For several images, give a list: list(images)."),
        (image.ndim == 3 and image.shape[2] == 1, "For a grey image, give image[..., 0]."),
        (channels_first, "If the channels come first, give np.moveaxis(image, 0, -1)."),
        (image.dtype.kind == "f" and image.dtype not in TOPS, "Give image.astype(np.float32)."),
        (wide, "If no value exceeds 255, give image.astype(np.uint8); if none exceeds 65535, image.astype(np.uint16)."),
        (image.dtype == np.bool_, "Give image.astype(np.uint8) * 255."),
    )
    return next((f" {remedy}" for fits, remedy in remedies if fits), "")


def _check_range(samples: Pixels) -> None:
    """Raises InputError for float32 samples that are not finite or not in [0, 1]."""
    if samples.dtype != np.float32:
        return
    with np.errstate(invalid="ignore"):
        low, high = float(samples.min()), float(samples.max())
    if low >= 0 and high <= 1:
        return
    finite = np.isfinite(samples)
    if not finite.all():
        # One such sample would spread over every pixel whose computation reads it.
        raise InputError(
            f"{samples.size - np.count_nonzero(finite)} of the image's {samples.size} samples are not finite",
            hint="Replace NaN and infinity by numbers from 0 to 1; if they mark holes, use inpaint with a mask.",
        )
    count = np.count_nonzero((samples < 0) | (samples > 1))
    raise InputError(
        f"{count} of the image's {samples.size} samples are not from 0 to 1: the smallest is {low:.6g}, the largest "
        f"{high:.6g}",
        hint=_likely_range(low, high),
    )


def _likely_range(low: float, high: float) -> str:
    """What samples from `low` to `high`, not all of which are from 0 to 1, probably are, and what to do about it."""
    if low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
        return "An interpolation or a sum of roundings may have exceeded the range: give image.clip(0, 1)."
    if low >= -1 and high <= 1:
        return "They look like values from -1 to 1: give (image + 1) / 2."
    if low >= -_OVERSHOOT * 255 and high <= (1 + _OVERSHOOT) * 255:
        if low >= 0 and high <= 255:
            return "They look like values from 0 to 255: give image / 255."
        return "They look like values from 0 to 255, some beyond them: give (image / 255).clip(0, 1)."
    if low >= 0 and high <= 65535:
        return "They look like values of 16 bits: give image / 65535; divide those of 10 or 12 bits by 1023 or 4095."
    return "They may have been normalised by a mean and a standard deviation: undo that, then give image.clip(0, 1)."


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
