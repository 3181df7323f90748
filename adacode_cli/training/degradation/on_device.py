"""Whole batches with torch, on the device where they lie; the same statistics as one image at a time (`on_cpu`).

Chains, kernels, noise matrices and qualities are few numbers. They are drawn on the host, by the same code as for
`on_cpu`, and sent; only the noise itself is drawn on the device. Nothing waits for the device. Resizing is as in
OpenCV, in float32.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from adacode_cli.errors import UsageError
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
from adacode_cli.training.degradation.device_jpeg import jpeg_batch, to_levels
from adacode_cli.training.degradation.settings import MARGIN, DegradationSettings

# Least number of images that share kinds, order and sizes of steps, and largest number of groups in a batch. A GPU
# needs about the same time for a step of a small group as for one of a large group.
GROUP, _MAX_GROUPS = 4, 4
Taps = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


def group_of(batch: int) -> int:
    """How many images of a batch share one chain, by default: 4 of 16, 32 of 128."""
    return max(GROUP, -(-batch // _MAX_GROUPS))


@torch.no_grad()
def degrade_batch(
    images_BCHW: Tensor, scale: int, generator: torch.Generator, settings: DegradationSettings, group: int | None = None
) -> Tensor:
    """B×3×H×W float RGB in [0, 1] → B×3×(H/scale)×(W/scale) float32 in the levels k/255.

    Each `group` of consecutive images (None: `group_of`) shares one chain (which steps, in which order, over which
    sizes); kernels, noise and qualities are each image's own. For any one image the distribution is therefore that of
    `degrade`, and only neighbours in a batch are more similar; with `group` 1 they are independent, with more and
    smaller steps. generator: on the device of the images; the result depends on its state alone, which advances. Raises
    UsageError for sides that are no multiples of `scale`.
    """
    rng = host_generator(generator)
    with torch.autocast(images_BCHW.device.type, enabled=False):
        groups = torch.split(images_BCHW.float(), group or group_of(len(images_BCHW)))
        return torch.cat([_degrade_group(part, scale, rng, generator, settings) for part in groups])


def degrade_batch_with_margin(
    images_BCHW: Tensor, scale: int, generator: torch.Generator, settings: DegradationSettings, group: int | None = None
) -> tuple[Tensor, Tensor]:
    """B×3×S×S with S = (n + 2·MARGIN)·scale → (low B×3×n×n, high B×3×(n·scale)×(n·scale)), float32.

    Each image is cut at another random place. Otherwise as `degrade_batch`.
    """
    low = degrade_batch(images_BCHW, scale, generator, settings, group)
    h, w = low.shape[2] - 2 * MARGIN, low.shape[3] - 2 * MARGIN
    if min(h, w) < 1:
        raise UsageError(f"images of {images_BCHW.shape[3]}×{images_BCHW.shape[2]} leave nothing beside the margin")
    places = host_generator(generator).integers(0, 2 * MARGIN + 1, (2, len(low)))
    y_B, x_B = torch.from_numpy(places).to(low.device, non_blocking=True)
    return _cut(low, y_B, x_B, (h, w)), _cut(images_BCHW.float(), y_B * scale, x_B * scale, (h * scale, w * scale))


def _cut(images_BCHW: Tensor, y_B: Tensor, x_B: Tensor, size: tuple[int, int]) -> Tensor:
    """A part of each image, at its own place, in one gather."""
    device = images_BCHW.device
    each = torch.arange(len(images_BCHW), device=device)[:, None, None, None]
    channels = torch.arange(images_BCHW.shape[1], device=device)[:, None, None]
    rows, columns = (start[:, None] + torch.arange(n, device=device) for start, n in zip((y_B, x_B), size, strict=True))
    return images_BCHW[each, channels, rows[:, None, :, None], columns[:, None, None]]


def host_generator(generator: torch.Generator) -> np.random.Generator:
    """A NumPy generator that depends on the state of torch's generator alone, which advances by one draw.

    The state lies on the host for every kind of device, so that reading it does not wait for one.
    """
    digest = hashlib.blake2b(generator.get_state().numpy().tobytes(), digest_size=16).digest()
    torch.rand(1, generator=generator, device=generator.device)
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def apply_batch(step: Step, images_BCHW: Tensor, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """One step of a chain: float32 RGB around [0, 1] → the same, of the step's size; in 8-bit levels after a JPEG."""
    count, device = len(images_BCHW), images_BCHW.device
    if isinstance(step, Blur):
        return _filter(images_BCHW, [step.kernel(rng) for _ in range(count)], 1)
    if isinstance(step, Resize):
        if step.kind == "gaussian":
            return _filter(images_BCHW, [step.kernel(rng) for _ in range(count)], step.stride)
        return resize_batch(images_BCHW, step.size, step.kind)
    if isinstance(step, Noise):
        mixing = torch.from_numpy(np.stack([step.mixing(rng) for _ in range(count)])).to(device, non_blocking=True)
        white = torch.randn(images_BCHW.shape, generator=generator, device=device)
        noise, grain = torch.einsum("bij,bjhw->bihw", mixing, white), step.grain()
        noise = noise if grain is None else _filter(noise, [grain] * count, 1)
        noise = noise * images_BCHW.clamp(min=0).mean(1, keepdim=True).sqrt() if step.shot else noise
        return (images_BCHW + noise).clamp_(0, 1)
    if isinstance(step, Halftone):
        screen = torch.from_numpy(step.screen((images_BCHW.shape[2], images_BCHW.shape[3])))
        dots = step.strength * screen.to(device, non_blocking=True)
        return (images_BCHW + 4 * dots * images_BCHW * (1 - images_BCHW)).clamp_(0, 1)
    down, right = step.shift
    padded = functional.pad(images_BCHW, (right, 0, down, 0), mode="replicate")
    return jpeg_batch(padded, [step.quality(rng) for _ in range(count)])[..., down:, right:]


def _degrade_group(
    images_BCHW: Tensor, scale: int, rng: np.random.Generator, generator: torch.Generator, settings: DegradationSettings
) -> Tensor:
    size = (images_BCHW.shape[2], images_BCHW.shape[3])
    for step in draw_chain(rng, size, scale, settings):
        images_BCHW = apply_batch(step, images_BCHW, rng, generator)
    return to_levels(images_BCHW) / 255


def _filter(images_BCHW: Tensor, kernels: list[Kernel], stride: int) -> Tensor:
    """Each image with its own kernel; at a stride, every stride-th pixel from stride // 2 on."""
    b, c, h, w = images_BCHW.shape
    half = max(len(kernel) // 2 for kernel in kernels)
    padded = [np.pad(kernel, half - len(kernel) // 2) for kernel in kernels]
    weight = torch.from_numpy(np.stack(padded)).to(images_BCHW.device, non_blocking=True)
    around = functional.pad(images_BCHW, (half,) * 4, mode="reflect")
    first = stride // 2
    flat = around[:, :, first:, first:].reshape(1, b * c, h + 2 * half - first, w + 2 * half - first)
    filtered = functional.conv2d(flat, weight[:, None].repeat_interleave(c, 0), stride=stride, groups=b * c)
    return filtered.view(b, c, filtered.shape[2], filtered.shape[3])


def resize_batch(images_BCHW: Tensor, size: tuple[int, int], kind: str) -> Tensor:
    """B×C×H×W float32 → B×C×`size`; "nearest" (ties: mean of both), "bilinear", "bicubic" or "area", none antialiased.

    "area" is "bilinear" where the image grows.
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
    return np.stack(nearest_pixels(side, count), 1), np.full((count, 2), 0.5, np.float32)
