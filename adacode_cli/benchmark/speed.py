"""How fast a network runs, in the engine and without it, compared with the limits of the device and with a usual
network; and whether time grows in proportion to the image."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from adacode_cli.benchmark.image import cut, synthetic_image
from adacode_cli.benchmark.timing import seconds, steady_seconds
from adacode_cli.engine.device import exact_arithmetic, lanes_of
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner
from adacode_cli.engine.transfer import to_tensor
from adacode_cli.model.network import AdaCode

# Large enough to keep two cores busy, and a GPU.
_SIDE = {"cpu": 2048, "cuda": 8192, "mps": 4096}
_CHANNELS = 256
_MAP_SIDE = {"cpu": 128, "cuda": 512, "mps": 256}
MEGAPIXELS = (1, 4, 16, 64)


@dataclass(frozen=True)
class Ceiling:
    """GFLOP/s in one precision ("fp32", "bf16" or "fp16"), where a product and a sum are two operations."""

    precision: str
    matrices: float
    convolutions: float


@torch.inference_mode()
def ceiling(precision: str, dtype: torch.dtype, device: torch.device, repeats: int) -> Ceiling:
    """Measures square matrices, and a 3×3 convolution of 256 channels, channels last; float32 without TF32."""
    side, rows = _SIDE[device.type], _MAP_SIDE[device.type]
    a = torch.randn(side, side, dtype=dtype, device=device)
    conv = torch.nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, device=device).to(dtype)
    conv = conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(1, _CHANNELS, rows, rows, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
    with exact_arithmetic(device):
        matrices = 2 * side**3 / seconds(lambda: a @ a, repeats, device) / 1e9
        convolutions = 2 * 9 * _CHANNELS**2 * rows**2 / seconds(lambda: conv(x), repeats, device) / 1e9
    return Ceiling(precision, matrices, convolutions)


def yardstick() -> nn.Sequential:
    """SRVGG-style ×4: 34 convolutions 3×3 of 64 channels on the input's grid; 1.2 million parameters."""
    body = [layer for _ in range(32) for layer in (nn.Conv2d(64, 64, 3, padding=1), nn.PReLU(64))]
    head = (nn.Conv2d(64, 48, 3, padding=1), nn.PixelShuffle(4))
    return nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.PReLU(64), *body, *head)


@torch.inference_mode()
def yardstick_seconds(x_BCHW: Tensor, device: torch.device, repeats: int) -> float:
    """Time of the yardstick in float32 for an image 1×3×H×W, channels last."""
    network = yardstick().eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = x_BCHW.to(device).contiguous(memory_format=torch.channels_last)
    with exact_arithmetic(device):
        return seconds(lambda: network(x), repeats, device)


@dataclass(frozen=True)
class Pass:
    """One way to run a network: the median of its seconds, how many times as fast as "plain", GFLOP/s of the network as
    it is defined, and PSNR in dB to the plain result (None for itself).
    """

    name: str
    seconds: float
    ratio: float
    gflop_per_s: float
    psnr_db: float | None


def passes(
    network: AdaCode, image: NDArray[np.uint8], device: torch.device, precisions: Sequence[str], repeats: int
) -> Iterator[Pass]:
    """ "plain" is `network(x)` in float32, channels first, the whole image at once, without TF32; then the engine in
    each precision, from samples to samples, by as many threads as a run has for it. image: H×W×3. The network is left
    on the device, channels last.
    """
    x_BCHW, lanes = to_tensor(image), lanes_of(device)
    network, x = network.to(device), x_BCHW.to(device)
    gflop = operations(network, x)
    with torch.inference_mode(), exact_arithmetic(device):
        plain = seconds(lambda: network(x), repeats, device)
        wanted = network(x).image_BCHW[0].cpu()
    yield Pass("plain", plain, 1.0, gflop / plain, None)
    for precision in precisions:
        runner = Runner(network, device, RunOptions(precision))
        took = steady_seconds(lambda runner=runner: runner.restore(image), repeats, device, lanes)  # type: ignore[misc]
        found = runner.run(x_BCHW, deep=False).image_CHW
        yield Pass(precision, took, plain / took, gflop / took, psnr(found, wanted))


def operations(network: AdaCode, x_BCHW: Tensor) -> float:
    """GFLOP of a network as defined, for an image 1×C×H×W on its device; a product and a sum are two."""
    with (
        torch.enable_grad(),
        FlopCounterMode(display=False) as counter,
    ):  # without gradients the network takes faster paths
        network(x_BCHW)
    return float(counter.get_total_flops()) / 1e9


def psnr(a: Tensor, b: Tensor) -> float:
    """dB between images in [0, 1]; infinite for equal ones."""
    return float(-10 * torch.log10((a.clamp(0, 1) - b.clamp(0, 1)).double().square().mean()))


@dataclass(frozen=True)
class Growth:
    """Seconds for an output of `megapixels`, in all and per megapixel, and the ratio to the first size."""

    megapixels: int
    seconds: float
    seconds_per_megapixel: float
    to_first: float


def growth(runner: Runner, sizes: Sequence[int] = MEGAPIXELS) -> Iterator[Growth]:
    """A line for each size, of one run each. Raises DeviceError where one does not fit."""
    scale, first = runner.config.scale, None
    photo = synthetic_image(1024, 1024)
    runner.restore(cut(photo, 64))
    for megapixels in sizes:
        side = round((megapixels * 1e6) ** 0.5 / scale)
        image = cut(photo, side)
        start = time.perf_counter()
        runner.restore(image)
        took = time.perf_counter() - start
        rate = took / ((side * scale) ** 2 / 1e6)
        first = first or rate
        yield Growth(megapixels, took, rate, rate / first)
