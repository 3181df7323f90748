"""Other sizes for whole batches, pixel for pixel as OpenCV computes them (`on_cpu`), in float32 on any device."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Taps = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


def resize_batch(images_BCHW: Tensor, size: tuple[int, int], kind: str) -> Tensor:
    """B×C×H×W float32 → B×C×`size`; "nearest" (ties: mean of both), "bilinear", "bicubic" or "area", none antialiased.

    "area" is "bilinear" where the picture grows.
    """
    h, w = images_BCHW.shape[2:]
    if kind == "area" and (size[0] > h or size[1] > w):
        kind = "bilinear"
    if kind in ("bilinear", "bicubic"):
        return functional.interpolate(images_BCHW, size, mode=kind, align_corners=False)
    if kind == "area" and h % size[0] == 0 and w % size[1] == 0:
        return functional.avg_pool2d(images_BCHW, (h // size[0], w // size[1]))
    return _weighted(_weighted(images_BCHW, size[0], 2, kind), size[1], 3, kind)


def _weighted(images_BCHW: Tensor, count: int, axis: int, kind: str) -> Tensor:
    """Sums of few pixels along an axis. Not a matrix product: GPUs may compute those with 10 bits."""
    side = images_BCHW.shape[axis]
    indices, weights = area_taps(side, count) if kind == "area" else nearest_taps(side, count)
    device = images_BCHW.device
    result: Tensor | None = None
    for index, weight in zip(indices.T, weights.T, strict=True):
        pixels = images_BCHW.index_select(axis, torch.from_numpy(index.copy()).to(device, non_blocking=True))
        factor = torch.from_numpy(weight.copy()).to(device, non_blocking=True)
        pixels = pixels * (factor[:, None] if axis == 2 else factor)
        result = pixels if result is None else result + pixels
    assert result is not None, "there is at least one tap"
    return result


@lru_cache(maxsize=256)
def area_taps(side: int, count: int) -> Taps:
    """Pixels and weights (count×taps each, rows add up to 1) of the mean over each new pixel's area; count <= side."""
    edges = np.arange(count + 1) * (side / count)
    first = np.floor(edges[:-1] + 1e-6).astype(np.int64)
    index = first[:, None] + np.arange(int(np.ceil(side / count)) + 1)
    weight = np.minimum(index + 1, edges[1:, None]) - np.maximum(index, edges[:-1, None])
    weight = weight.clip(0)
    weight /= weight.sum(1, keepdims=True)
    return index.clip(0, side - 1), weight.astype(np.float32)


@lru_cache(maxsize=256)
def nearest_taps(side: int, count: int) -> Taps:
    """As `area_taps`, of the pixel under each new centre, or both where it lies between two."""
    doubled = (2 * np.arange(count) + 1) * side
    after = np.minimum(doubled // (2 * count), side - 1)
    before = np.where(doubled % (2 * count), after, after - 1).clip(0)
    return np.stack((before, after), 1), np.full((count, 2), 0.5, np.float32)
