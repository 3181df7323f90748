"""Arithmetic on samples that loses no more than it must: every narrowing rounds to nearest and clips.

Pictures reach a gigapixel, so the float work goes band by band and never makes a second full-size float copy.
"""

from __future__ import annotations

from collections.abc import Callable

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


def on_white(pixels: Samples, alpha: Samples) -> Samples:
    """Pixels (H×W or H×W×3) as seen through `alpha` (H×W, same dtype) before a white wall, dtype kept."""
    top = top_of(pixels.dtype)

    def composite(rows: slice) -> Samples:
        cover = _like(alpha[rows] / top, pixels)
        return quantise(pixels[rows] * cover + top * (1.0 - cover), pixels.dtype)

    return _by_bands(pixels.shape, pixels.dtype, composite)


def unpremultiplied(pixels: Samples, alpha: Samples) -> Samples:
    """Undoes a multiplication of the pixels by their alpha; what is fully transparent becomes black."""
    top = top_of(pixels.dtype)

    def divide(rows: slice) -> Samples:
        cover = _like(alpha[rows].astype(np.float64), pixels)
        return quantise(pixels[rows] * (top / np.where(cover > 0, cover, np.inf)), pixels.dtype)

    return _by_bands(pixels.shape, pixels.dtype, divide)


def rgb_from_inks(inks: Samples) -> Samples:
    """H×W×4 cyan, magenta, yellow, black (0 = no ink) → H×W×3 RGB, same dtype, by the profile-free formula."""
    top = top_of(inks.dtype)

    def convert(rows: slice) -> Samples:
        paper = 1.0 - inks[rows] / top
        return quantise(top * paper[..., :3] * paper[..., 3:], inks.dtype)

    return _by_bands((*inks.shape[:2], 3), inks.dtype, convert)


def _like(plane: npt.NDArray[np.floating], pixels: Samples) -> npt.NDArray[np.floating]:
    return plane[..., None] if pixels.ndim == 3 else plane


def _by_bands(shape: tuple[int, ...], dtype: npt.DTypeLike, band: Callable[[slice], Samples]) -> Samples:
    result = np.empty(shape, dtype)
    for top in range(0, shape[0], _BAND_ROWS):
        rows = slice(top, top + _BAND_ROWS)
        result[rows] = band(rows)
    return result
