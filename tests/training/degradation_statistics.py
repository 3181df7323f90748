"""What degraded images look like in numbers, and whether two ways of making them differ in it."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
from tiny_families import picture
from torch import Tensor

from adacode_cli.training.degradation import DegradationSettings, degrade, degrade_batch
from adacode_cli.training.degradation.on_device import GROUP

BATCH = 4 * GROUP
LOW_PX = 32
NAMES = (
    *("bias of R", "bias of G", "bias of B", "variance of R", "variance of G", "variance of B"),
    *("correlation R-G", "correlation G-B", "high frequencies", "blockiness", "absolute error"),
)


def textured(seed: int, side: int) -> np.ndarray:
    """side×side×3 uint8: shapes, and a fine texture that is stronger in some places than in others."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.normal(0, 40, (side, side, 3)).astype(np.float32), (0, 0), 1.2)
    strength = np.linspace(0, 1.5, side)[:, None, None]
    return np.clip(picture(seed, side, side) + texture * strength, 0, 255).round().astype(np.uint8)


def as_tensor(images: np.ndarray) -> Tensor:
    """B×H×W×3 uint8 → B×3×H×W float in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def as_images(images_BCHW: Tensor) -> np.ndarray:
    """B×3×H×W float → B×H×W×3 float64, in levels of 255."""
    return images_BCHW.permute(0, 2, 3, 1).numpy().astype(np.float64) * 255


def measures(low: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Of one image in levels of 255, its figures in the order of `NAMES`."""
    error = low.astype(np.float64) - clean
    centred = error - error.mean((0, 1))
    deviation = centred.std((0, 1)) + 1e-6
    steps = np.abs(np.diff(low.astype(np.float64).mean(2), axis=1))
    columns = np.arange(1, low.shape[1]) % 8 == 0
    correlations = [
        (centred[..., a] * centred[..., b]).mean() / deviation[a] / deviation[b] for a, b in ((0, 1), (1, 2))
    ]
    return np.array(
        [
            *error.mean((0, 1)),
            *centred.var((0, 1)),
            *correlations,
            np.abs(cv2.Laplacian(low.astype(np.float64), -1)).mean(),
            steps[:, columns].mean() - steps[:, ~columns].mean(),
            np.abs(error).mean(),
        ]
    )


def draw_single(settings: DegradationSettings, scale: int, draws: int, seed: int = 0) -> np.ndarray:
    """draws×figures of the same images in turn, degraded one by one."""
    patches, clean = _pictures(scale)
    rng = np.random.default_rng(seed)
    return np.array(
        [measures(degrade(patches[i % BATCH], scale, rng, settings), clean[i % BATCH]) for i in range(draws)]
    )


@lru_cache(maxsize=8)
def draw_batched(settings: DegradationSettings, scale: int, draws: int, seed: int = 0) -> np.ndarray:
    """(draws / GROUP)×figures of the same images, degraded in batches: means of groups, which share their chains."""
    patches, clean = _pictures(scale)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(draws // BATCH):
        lows = as_images(degrade_batch(as_tensor(patches), scale, generator, settings))
        found += [measures(low, still) for low, still in zip(lows, clean, strict=True)]
    return np.array(found).reshape(draws // GROUP, GROUP, -1).mean(1)


def _pictures(scale: int) -> tuple[np.ndarray, list[np.ndarray]]:
    patches = np.stack([textured(i, LOW_PX * scale) for i in range(BATCH)])
    size = (LOW_PX, LOW_PX)
    return patches, [cv2.resize(patch, size, interpolation=cv2.INTER_AREA).astype(np.float64) for patch in patches]


def differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Differences of the means of two samples, in standard errors of the difference."""
    error = np.sqrt(a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b))
    return (a.mean(0) - b.mean(0)) / error


def shift(low: np.ndarray, still: np.ndarray) -> np.ndarray:
    """By how many pixels (y, x) a smooth image has moved against one that has not: least squares on the slopes."""
    inner = (slice(4, -4), slice(4, -4))
    slopes = [slope[inner].ravel() for slope in np.gradient(still.astype(np.float64), axis=(0, 1))]
    moved = (low.astype(np.float64) - still)[inner].ravel()
    return -np.linalg.lstsq(np.stack(slopes, 1), moved, rcond=None)[0]
