"""One image at a time, with NumPy and OpenCV. The same generator state gives the same image."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from adacode_cli.training.degradation.chain import (
    Blur,
    Halftone,
    Kernel,
    Noise,
    Resize,
    Step,
    draw_chain,
    nearest_pixels,
)
from adacode_cli.training.degradation.settings import MARGIN, DegradationSettings

Pixels = npt.NDArray[np.uint8]
Image = npt.NDArray[np.float32]

_INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}


def degrade(patch: Pixels, scale: int, rng: np.random.Generator, settings: DegradationSettings) -> Pixels:
    """H×W×3 uint8 RGB → (H/scale)×(W/scale)×3 uint8. Raises UsageError where sides are no multiples of `scale`."""
    chain = draw_chain(rng, (patch.shape[0], patch.shape[1]), scale, settings)
    image: Image = np.asarray(patch, np.float32) / np.float32(255)
    for step in chain:
        image = apply(step, image, rng)
    return _to_bytes(image)


def degrade_with_margin(
    patch: Pixels, scale: int, rng: np.random.Generator, settings: DegradationSettings
) -> tuple[Pixels, Pixels]:
    """A patch of sides (n + 2·MARGIN)·scale → (low n×n×3, high (n·scale)×(n·scale)×3), cut at one random place."""
    low = degrade(patch, scale, rng, settings)
    h, w = low.shape[0] - 2 * MARGIN, low.shape[1] - 2 * MARGIN
    y, x = (int(v) for v in rng.integers(0, 2 * MARGIN + 1, 2))
    high = patch[y * scale : (y + h) * scale, x * scale : (x + w) * scale]
    return low[y : y + h, x : x + w], high


def apply(step: Step, image: Image, rng: np.random.Generator) -> Image:
    """One step of a chain: H×W×3 float32 RGB → the same, of the step's size, around [0, 1]; 8-bit levels after JPEG."""
    if isinstance(step, Blur):
        return _filter(image, step.kernel(rng))
    if isinstance(step, Resize):
        return _resize(step, image, rng)
    if isinstance(step, Noise):
        noise = rng.standard_normal(image.shape, np.float32) @ step.mixing(rng).T
        grain = step.grain()
        noise = noise if grain is None else _filter(noise, grain)
        noise = noise * np.sqrt(image.clip(0).mean(2, keepdims=True)) if step.shot else noise
        return np.asarray(np.clip(image + noise, 0, 1), np.float32)
    if isinstance(step, Halftone):
        dots = step.strength * step.screen(image.shape[:2])[..., None]
        return np.asarray(np.clip(image + 4 * dots * image * (1 - image), 0, 1), np.float32)
    return _shifted_jpeg(image, step.quality(rng), step.shift)


def _shifted_jpeg(image: Image, quality: int, shift: tuple[int, int]) -> Image:
    down, right = shift
    padded = np.pad(image, ((down, 0), (right, 0), (0, 0)), mode="edge") if down or right else image
    return jpeg(padded, quality)[down:, right:]


def jpeg(image: Image, quality: int) -> Image:
    """H×W×3 float32 RGB in [0, 1] through an 8-bit JPEG, chroma at half the resolution."""
    # The codec takes BGR; with RGB it would quantise red as if it were blue.
    pixels = np.ascontiguousarray(_to_bytes(image)[..., ::-1])
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None, "the codec cannot read what it wrote"
    return np.asarray(decoded[..., ::-1], np.float32) / np.float32(255)


def _resize(step: Resize, image: Image, rng: np.random.Generator) -> Image:
    h, w = step.size
    if step.kind == "gaussian":
        first = step.stride // 2
        return _filter(image, step.kernel(rng))[first :: step.stride, first :: step.stride]
    if step.kind == "nearest":
        return _nearest(_nearest(image, h, 0), w, 1)
    kind = _INTERPOLATIONS[step.kind]
    if step.kind == "area" and (h > image.shape[0] or w > image.shape[1]):
        kind = cv2.INTER_LINEAR  # when an image is enlarged, there are no areas to average
    return np.asarray(cv2.resize(image, (w, h), interpolation=kind), np.float32)


def _nearest(image: Image, count: int, axis: int) -> Image:
    before, after = nearest_pixels(image.shape[axis], count)
    return np.asarray((image.take(before, axis) + image.take(after, axis)) / 2, np.float32)


def _filter(image: Image, kernel: Kernel) -> Image:
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.float32)


def _to_bytes(image: Image) -> Pixels:
    return np.asarray((np.clip(image, 0, 1) * 255).round(), np.uint8)
