"""Compares a result with its input at the size of the input, for the guard and the colour fix.

Only pixels that the network must keep are compared: not fully transparent ones, and not the hole with its grown and
feathered edge.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from adacode_cli.geometry import Hole
from adacode_cli.imaging.image import Decoded

Plane = NDArray[np.float32]


def counted(image: Decoded, hole: Hole | None) -> Plane:
    """H×W: 1 where a result must look like `image`, 0 elsewhere."""
    weight = np.ones(image.size, np.float32)
    if image.alpha is not None:
        weight[image.alpha == 0] = 0
    if hole is not None:
        weight[hole.touched] = 0
    return weight


def largest(*distances: float | None) -> float | None:
    """The largest of the distances that were measured; None if none was."""
    return max((one for one in distances if one is not None), default=None)


def unit(pixels: NDArray[Any]) -> Plane:
    """H×W×C float32 with full scale at 1; C is 1 for grey."""
    peak = 1.0 if np.issubdtype(pixels.dtype, np.floating) else float(np.iinfo(pixels.dtype).max)
    scaled = pixels.astype(np.float32) / np.float32(peak)
    return scaled[..., None] if scaled.ndim == 2 else scaled


def shrunk(pixels: Plane, size: tuple[int, int]) -> Plane:
    """H×W×C → size×C: means of areas, which remove details that the network added between the input's pixels."""
    return _resized(pixels, size, cv2.INTER_AREA)


def grown(pixels: Plane, size: tuple[int, int]) -> Plane:
    """H×W×C → size×C, by linear interpolation."""
    return _resized(pixels, size, cv2.INTER_LINEAR)


def local_mean(values: Plane, weight: Plane, window_px: int) -> tuple[Plane, Plane]:
    """(means of the counted pixels in a window around each pixel, H×W×C; the share of counted pixels, H×W)."""
    window = (window_px, window_px)
    share = np.asarray(cv2.blur(weight, window, borderType=cv2.BORDER_REFLECT), np.float32)
    total = cv2.blur(values * weight[..., None], window, borderType=cv2.BORDER_REFLECT)
    total = total[..., None] if total.ndim == 2 else total
    return np.asarray(total / np.maximum(share, np.float32(1e-6))[..., None], np.float32), share


def _resized(pixels: Plane, size: tuple[int, int], interpolation: int) -> Plane:
    if pixels.shape[:2] == size:
        return pixels
    resized = cv2.resize(pixels, (size[1], size[0]), interpolation=interpolation)
    return np.asarray(resized[..., None] if resized.ndim == 2 else resized, np.float32)
