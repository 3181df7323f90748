"""Distances between a restored image and its original, defined once so that figures can be compared.

All take H×W×3 uint8 RGB images of one size. Luma is BT.601's in its studio range (16 to 235), unrounded, and four
pixels at each border are left out, as is usual for super-resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from adacode_cli.errors import DeviceError

RgbImage = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]
# Two B×3×H×W float RGB tensors in [0, 1] → B distances.
Perceptual = Callable[[Tensor, Tensor], Tensor]

BORDER_PX = 4
# Smallest side for which all metrics can be computed: LPIPS needs it.
MIN_SIDE = 32
_PEAK = 255.0
_LUMA_RGB = np.array([65.481, 128.553, 24.966]) / _PEAK
_LUMA_FOOT = 16.0
# Wang et al. 2004: an 11×11 Gaussian window, and the constants that keep the quotients of flat areas finite.
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
_MIN_ERROR = 1e-10


def luma(image: RgbImage) -> Plane:
    """H×W×3 uint8 RGB → H×W float64 in [16, 235], its borders cut by BORDER_PX."""
    inner = image[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    return np.asarray(inner.astype(np.float64) @ _LUMA_RGB + _LUMA_FOOT)


def psnr(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float:
    """Peak signal-to-noise ratio in dB of arrays of one shape on the scale 0 to 255; equal ones have 148.13."""
    error = float(np.square(a.astype(np.float64) - b.astype(np.float64)).mean())
    return float(10 * np.log10(_PEAK**2 / max(error, _MIN_ERROR)))


def psnr_luma(restored: RgbImage, original: RgbImage) -> float:
    """PSNR in dB of the lumas."""
    return psnr(luma(restored), luma(original))


def ssim_luma(restored: RgbImage, original: RgbImage) -> float:
    """Structural similarity (Wang et al. 2004) of the lumas, 1 for equal ones; mean over all whole windows."""
    x, y = luma(restored), luma(original)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    spread_x = _window_mean(x * x) - mean_x**2
    spread_y = _window_mean(y * y) - mean_y**2
    shared = _window_mean(x * y) - mean_x * mean_y
    brightness = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * shared + _C2) / (spread_x + spread_y + _C2)
    return float((brightness * structure).mean())


def psnr_in_hole(restored: RgbImage, original: RgbImage, hole: npt.NDArray[np.bool_]) -> float:
    """PSNR in dB of the RGB values inside a hole (bool H×W) of at least one pixel."""
    return psnr(restored[hole], original[hole])


def perceptual_distance(network: Perceptual, restored: RgbImage, original: RgbImage) -> float:
    """LPIPS or another distance by the given network, on the device where it is; lower is better.

    Raises DeviceError for images that are too large for that device's memory.
    """
    device = _device_of(network)
    try:
        with torch.inference_mode():
            return float(network(_tensor(restored).to(device), _tensor(original).to(device)))
    except torch.OutOfMemoryError as error:
        size = f"{original.shape[1]}×{original.shape[0]}"
        what = f"not enough memory on {device} to compare images of {size} px"
        raise DeviceError(what, hint="Choose --device cpu, or leave out --perceptual.") from error


def _device_of(network: Perceptual) -> torch.device:
    if isinstance(network, nn.Module):
        for tensor in chain(network.parameters(), network.buffers()):
            return tensor.device
    device = getattr(network, "device", "cpu")
    return torch.device(device)


def _window_mean(plane: Plane) -> Plane:
    edge = _WINDOW // 2
    blurred = cv2.GaussianBlur(plane, (_WINDOW, _WINDOW), _SIGMA)
    return np.asarray(blurred[edge:-edge, edge:-edge], np.float64)


def _tensor(image: RgbImage) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / _PEAK
