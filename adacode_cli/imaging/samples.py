"""Orientation of samples, and arithmetic on them, which rounds to nearest and clips.

Images may have a gigapixel, so floats are computed band by band, without a float copy of full size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from adacode_cli.imaging.image import Samples

_BAND_ROWS = 64


def top_of(dtype: npt.DTypeLike) -> float:
    """The value that means white or opaque: 255, 65535 or 1.0."""
    kind = np.dtype(dtype)
    return 1.0 if kind == np.float32 else float(np.iinfo(kind).max)


def turned(samples: Samples, orientation: int) -> Samples:
    """H×W or H×W×C samples, stored with EXIF `orientation` (1–8), made upright, C-contiguous.

    Any other number means "as stored": cameras without a position sensor write 0.
    """
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    # With rows and columns in place, only their directions remain.
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)


def to_depth(samples: Samples, dtype: npt.DTypeLike) -> Samples:
    """The same image (any shape) in another of the three depths: uint8, uint16, float32 in [0, 1].

    Widening 8 to 16 bits and back is the identity; narrowing rounds to nearest.
    """
    target = np.dtype(dtype)
    if samples.dtype == target:
        return samples
    factor = top_of(target) / top_of(samples.dtype)
    return by_bands(samples.shape, target, lambda rows: quantise(samples[rows].astype(np.float64) * factor, target))


def quantise(values: npt.NDArray[np.floating], dtype: npt.DTypeLike) -> Samples:
    """Values on the scale of `dtype`, clipped to it and, for integers, rounded to nearest."""
    target = np.dtype(dtype)
    clipped = np.clip(values, 0.0, top_of(target))
    return np.asarray(clipped if target == np.float32 else np.rint(clipped)).astype(target)


def to_full_range(samples: Samples, bits: int, dtype: npt.DTypeLike | None = None) -> Samples:
    """Integers of `bits` bits, of any shape, scaled to the full range of uint8 or uint16.

    The default of `dtype` is uint8 for up to 8 bits and uint16 for more. Larger numbers are clipped.
    """
    target = np.dtype(dtype if dtype is not None else np.uint8 if bits <= 8 else np.uint16)
    if bits == 8 * target.itemsize:
        return np.asarray(samples, target)
    top = (1 << bits) - 1
    table = quantise(np.arange(top + 1) * (top_of(target) / top), target)
    return np.asarray(table[np.minimum(samples, top)])


def narrowed(samples: Samples, bits: int) -> Samples:
    """uint16 samples, of any shape, as integers of fewer `bits`, rounded to nearest."""
    top = (1 << bits) - 1
    return ((samples.astype(np.uint32) * top + 32767) // 65535).astype(np.uint16)


def grey_alpha_as_rgb(samples: Samples) -> Samples:
    """H×W×2 samples, grey with alpha, as H×W×4; other samples unchanged."""
    return np.dstack([samples[..., :1]] * 3 + [samples[..., 1:]]) if samples.shape[2] == 2 else samples


def on_white(pixels: Samples, alpha: Samples) -> Samples:
    """Pixels (H×W or H×W×3) with `alpha` (H×W, same dtype) composited on white, same dtype."""
    top = top_of(pixels.dtype)

    def composite(rows: slice) -> Samples:
        cover = _like(alpha[rows] / top, pixels)
        return quantise(pixels[rows] * cover + top * (1.0 - cover), pixels.dtype)

    return by_bands(pixels.shape, pixels.dtype, composite)


def unpremultiplied(pixels: Samples, alpha: Samples) -> Samples:
    """Divides premultiplied pixels by their alpha; fully transparent pixels become black.

    Samples of 8 bits are rounded down, as in Pillow.
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

    return by_bands(pixels.shape, pixels.dtype, divide)


def _like(plane: npt.NDArray[Any], pixels: Samples) -> npt.NDArray[Any]:
    return plane[..., None] if pixels.ndim == 3 else plane


def by_bands(shape: tuple[int, ...], dtype: npt.DTypeLike, band: Callable[[slice], Samples]) -> Samples:
    """An array of `shape` and `dtype`, computed by `band` for some rows at a time."""
    result = np.empty(shape, dtype)
    for top in range(0, shape[0], _BAND_ROWS):
        rows = slice(top, top + _BAND_ROWS)
        result[rows] = band(rows)
    return result
