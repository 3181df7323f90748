"""Worn photographs made from good ones: blur, downsampling and JPEG in random order and strength, then noise and JPEG.

A first, moderate member of the family of BSRGAN (Zhang et al. 2021, arXiv:2103.14006): one or two blurs, a
downsampling in one or two steps and at times a JPEG in shuffled order, then noise and a last JPEG.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Image = npt.NDArray[np.float32]

_RESIZES = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
_LEAST_BLUR_PX = 0.15
# Low-resolution pixels cut from each side afterwards, so that neither borders nor the JPEG grid are at fixed places.
MARGIN = 4


@dataclass(frozen=True)
class DegradationSettings:
    """Ranges of the random degradation.

    blur_px: greatest Gaussian deviation in low-resolution pixels. noise: greatest deviation of 255. quality: least
    and greatest JPEG quality. noise_share, jpeg_share: how often there is noise, and a JPEG before the last one.
    """

    blur_px: float = 0.65
    noise: float = 12.0
    quality: tuple[int, int] = (50, 96)
    noise_share: float = 0.8
    jpeg_share: float = 0.3


def degrade(patch: Pixels, scale: int, rng: np.random.Generator, settings: DegradationSettings) -> Pixels:
    """H×W×3 uint8 RGB, sides multiples of `scale` → (H/scale)×(W/scale)×3 uint8."""
    size = (patch.shape[1] // scale, patch.shape[0] // scale)

    def blur(image: Image, strength: float) -> Image:
        return _blur(image, rng, strength * settings.blur_px * scale * image.shape[1] / patch.shape[1])

    steps: list[Callable[[Image], Image]] = [lambda x: blur(x, 1.0), lambda x: _shrink(x, rng, size)]
    if rng.random() < settings.jpeg_share:
        steps.append(lambda x: _jpeg(x, rng, settings.quality))
    if rng.random() < 0.3:
        steps.append(lambda x: blur(x, 0.5))
    image: Image = np.asarray(patch, np.float32) / np.float32(255)
    for i in rng.permutation(len(steps)):
        image = steps[i](image)
    if rng.random() < settings.noise_share:
        image = _noise(image, rng, settings.noise)
    return _to_bytes(_jpeg(image, rng, settings.quality))


def degrade_with_margin(
    patch: Pixels, scale: int, rng: np.random.Generator, settings: DegradationSettings
) -> tuple[Pixels, Pixels]:
    """A patch of side (n + 2·MARGIN)·scale → (low n×n×3, high (n·scale)×(n·scale)×3), cut at one random place."""
    low = degrade(patch, scale, rng, settings)
    n = low.shape[0] - 2 * MARGIN
    y, x = (int(v) for v in rng.integers(0, 2 * MARGIN + 1, 2))
    high = patch[y * scale : (y + n) * scale, x * scale : (x + n) * scale]
    return low[y : y + n, x : x + n], high


def gaussian_kernel(sigma_x: float, sigma_y: float, angle: float) -> Image:
    """Normalised kernel of an anisotropic Gaussian turned by `angle` radians; odd side of about 6 deviations."""
    half = max(1, int(np.ceil(3 * max(sigma_x, sigma_y))))
    r = np.arange(-half, half + 1, dtype=np.float32)
    y, x = np.meshgrid(r, r, indexing="ij")
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((u / sigma_x) ** 2 + (v / sigma_y) ** 2))
    return np.asarray(kernel / kernel.sum(), np.float32)


def _blur(image: Image, rng: np.random.Generator, most_px: float) -> Image:
    most_px = max(most_px, _LEAST_BLUR_PX)
    sigma_x = rng.uniform(_LEAST_BLUR_PX, most_px)
    sigma_y = sigma_x if rng.random() < 0.5 else rng.uniform(_LEAST_BLUR_PX, most_px)
    kernel = gaussian_kernel(sigma_x, sigma_y, rng.uniform(0, np.pi))
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT), np.float32)


def _shrink(image: Image, rng: np.random.Generator, size: tuple[int, int]) -> Image:
    if rng.random() < 0.3:
        part = rng.uniform(0.5, 1.0)
        step = (max(size[0], round(image.shape[1] * part)), max(size[1], round(image.shape[0] * part)))
        image = _resize(image, rng, step)
    return _resize(image, rng, size)


def _resize(image: Image, rng: np.random.Generator, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=int(rng.choice(_RESIZES))), np.float32)


def _noise(image: Image, rng: np.random.Generator, most: float) -> Image:
    level = np.float32(rng.uniform(0, most) / 255)
    shape = image.shape if rng.random() < 0.6 else (*image.shape[:2], 1)
    return np.asarray(np.clip(image + level * rng.standard_normal(shape, np.float32), 0, 1), np.float32)


def _jpeg(image: Image, rng: np.random.Generator, quality: tuple[int, int]) -> Image:
    # The codec takes BGR; given RGB it would quantise red as finely as it should blue.
    pixels = np.ascontiguousarray(_to_bytes(image)[..., ::-1])
    _, data = cv2.imencode(
        ".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(quality[0], quality[1], endpoint=True))]
    )
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None, "the codec reads what it wrote"
    return np.asarray(decoded[..., ::-1], np.float32) / np.float32(255)


def _to_bytes(image: Image) -> Pixels:
    return np.asarray((np.clip(image, 0, 1) * 255).round(), np.uint8)
