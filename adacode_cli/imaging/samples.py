"""Arithmetic on samples that loses no more than it must: every narrowing rounds to nearest and clips.

Pictures reach a gigapixel, so the float work goes band by band and never makes a second full-size float copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from adacode_cli.imaging.image import Samples

_BAND_ROWS = 64


def top_of(dtype: npt.DTypeLike) -> float:
    """The value that means white or opaque: 255, 65535 or 1.0."""
    kind = np.dtype(dtype)
    return 1.0 if kind == np.float32 else float(np.iinfo(kind).max)


def to_depth(samples: Samples, dtype: npt.DTypeLike) -> Samples:
    """The same picture (any shape) in another of the three depths: uint8, uint16, float32 in [0, 1].

    Widening 8 to 16 bits and back is the identity; narrowing rounds to nearest.
    """
    target = np.dtype(dtype)
    if samples.dtype == target:
        return samples
    factor = top_of(target) / top_of(samples.dtype)
    return _by_bands(samples.shape, target, lambda rows: quantise(samples[rows].astype(np.float64) * factor, target))


def quantise(values: npt.NDArray[np.floating], dtype: npt.DTypeLike) -> Samples:
    """Values on the scale of `dtype`, clipped to it and, for integers, rounded to nearest."""
    target = np.dtype(dtype)
    clipped = np.clip(values, 0.0, top_of(target))
    return np.asarray(clipped if target == np.float32 else np.rint(clipped)).astype(target)


def over_whole_range(samples: Samples, bits: int, dtype: npt.DTypeLike | None = None) -> Samples:
    """Whole numbers of `bits` bits, of any shape, over the whole range of uint8 or uint16: 0 stays 0.

    `dtype` is uint8 for up to 8 bits and uint16 for more, unless given. Numbers of more bits count as the highest.
    """
    target = np.dtype(dtype if dtype is not None else np.uint8 if bits <= 8 else np.uint16)
    if bits == 8 * target.itemsize:
        return np.asarray(samples, target)
    top = (1 << bits) - 1
    table = quantise(np.arange(top + 1) * (top_of(target) / top), target)
    return np.asarray(table[np.minimum(samples, top)])


def on_white(pixels: Samples, alpha: Samples) -> Samples:
    """Pixels (H×W or H×W×3) as seen through `alpha` (H×W, same dtype) before a white wall, dtype kept."""
    top = top_of(pixels.dtype)

    def composite(rows: slice) -> Samples:
        cover = _like(alpha[rows] / top, pixels)
        return quantise(pixels[rows] * cover + top * (1.0 - cover), pixels.dtype)

    return _by_bands(pixels.shape, pixels.dtype, composite)


def unpremultiplied(pixels: Samples, alpha: Samples) -> Samples:
    """Undoes a multiplication of the pixels by their alpha; what is fully transparent becomes black.

    8 bits are rounded down, as Pillow does it.
    """
    top = top_of(pixels.dtype)
    if pixels.dtype == np.uint8:
        values, covers = np.arange(256), np.maximum(np.arange(256), 1)[:, None]
        table = np.minimum(values * 255 // covers, 255).astype(np.uint8)
        table[0] = 0
        return np.asarray(table[_like(alpha, pixels), pixels])

    def divide(rows: slice) -> Samples:
        cover = _like(alpha[rows].astype(np.float64), pixels)
        return quantise(pixels[rows] * (top / np.where(cover > 0, cover, np.inf)), pixels.dtype)

    return _by_bands(pixels.shape, pixels.dtype, divide)


def rgb_by_ink_formula(inks: Samples) -> Samples:
    """H×W×4 cyan, magenta, yellow, black (0 = no ink) → H×W×3 RGB, same dtype, without a profile."""
    top = top_of(inks.dtype)

    def convert(rows: slice) -> Samples:
        paper = 1.0 - inks[rows] / top
        return quantise(top * paper[..., :3] * paper[..., 3:], inks.dtype)

    return _by_bands((*inks.shape[:2], 3), inks.dtype, convert)


@dataclass(frozen=True)
class LumaScale:
    """How luma and chroma of `bits` bits stand for colours.

    `weights` of red, green and blue in luma; `ranges`: black, white, and for each chroma none and most.
    """

    weights: tuple[float, ...]
    ranges: tuple[float, ...]
    bits: int

    @classmethod
    def of_bits(cls, bits: int) -> LumaScale:
        """That of JPEG files: ITU-R BT.601 over the whole range."""
        top, middle = (1 << bits) - 1, 1 << (bits - 1)
        return cls((0.299, 0.587, 0.114), (0, top, middle, top, middle, top), bits)


def rgb_from_luma(samples: Samples, scale: LumaScale, dtype: npt.DTypeLike) -> Samples:
    """H×W×3 luma, blue and red difference as stored → H×W×3 RGB of `dtype`."""
    red, green, blue = scale.weights
    least, most = np.array(scale.ranges[::2]), np.array(scale.ranges[1::2])
    if min(red, green, blue) <= 0 or (most == least).any():
        raise ValueError("impossible weights or ranges of luma and chroma")
    # The highest chroma lies one step less above the middle than the lowest lies below it.
    half = ((1 << (scale.bits - 1)) - 1) / ((1 << scale.bits) - 1)
    top = top_of(dtype)

    def convert(rows: slice) -> Samples:
        luma, to_blue, to_red = np.moveaxis((samples[rows] - least) / (most - least) * (1, half, half), -1, 0)
        r, b = luma + (2 - 2 * red) * to_red, luma + (2 - 2 * blue) * to_blue
        return quantise(np.stack([r, (luma - red * r - blue * b) / green, b], -1) * top, dtype)

    return _by_bands(samples.shape, dtype, convert)


def _like(plane: npt.NDArray[Any], pixels: Samples) -> npt.NDArray[Any]:
    return plane[..., None] if pixels.ndim == 3 else plane


def _by_bands(shape: tuple[int, ...], dtype: npt.DTypeLike, band: Callable[[slice], Samples]) -> Samples:
    result = np.empty(shape, dtype)
    for top in range(0, shape[0], _BAND_ROWS):
        rows = slice(top, top + _BAND_ROWS)
        result[rows] = band(rows)
    return result
