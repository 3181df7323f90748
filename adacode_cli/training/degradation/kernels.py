"""Gaussian kernels: normalised, of odd side, at any angle, and shifted by less than a pixel where asked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Kernel = npt.NDArray[np.float32]


def gaussian_kernel(
    sigma_x: float, sigma_y: float, angle: float, half: int | None = None, shift: float = 0.0
) -> Kernel:
    """Kernel of an anisotropic Gaussian turned by `angle` radians: (2·half+1)² float32, sum 1.

    sigma_x, sigma_y: deviations in pixels along its own axes, more than 0. half: pixels from the middle to the edge,
    by default 3 deviations. shift: pixels by which its centre lies to the lower right of the middle.
    """
    if half is None:
        half = max(1, int(np.ceil(3 * max(sigma_x, sigma_y))))
    r = np.arange(-half, half + 1, dtype=np.float64) - shift
    y, x = np.meshgrid(r, r, indexing="ij")
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    exponent = -0.5 * ((u / sigma_x) ** 2 + (v / sigma_y) ** 2)
    kernel = np.exp(exponent - exponent.max())
    return np.asarray(kernel / kernel.sum(), np.float32)
