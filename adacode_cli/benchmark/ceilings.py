"""What a device can do at most: the rates of a matrix product and of a convolution that keep it busy."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from adacode_cli.benchmark.timing import seconds

# Large enough to keep two cores busy, and a GPU.
_SIDE = {"cpu": 2048, "cuda": 8192, "mps": 4096}
_CHANNELS = 256
_MAP_SIDE = {"cpu": 128, "cuda": 512, "mps": 256}


@dataclass(frozen=True)
class Ceiling:
    """GFLOP/s in one precision ("fp32", "bf16" or "fp16"), a product and a sum being two operations."""

    precision: str
    matrices: float
    convolutions: float


@torch.inference_mode()
def ceiling(precision: str, dtype: torch.dtype, device: torch.device, repeats: int) -> Ceiling:
    """Measures square matrices, and a 3×3 convolution of 256 channels, channels last."""
    side, rows = _SIDE[device.type], _MAP_SIDE[device.type]
    a = torch.randn(side, side, dtype=dtype, device=device)
    conv = torch.nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, device=device).to(dtype)
    conv = conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(1, _CHANNELS, rows, rows, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
    matrices = 2 * side**3 / seconds(lambda: a @ a, repeats, device) / 1e9
    convolutions = 2 * 9 * _CHANNELS**2 * rows**2 / seconds(lambda: conv(x), repeats, device) / 1e9
    return Ceiling(precision, matrices, convolutions)
