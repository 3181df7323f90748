"""A network of the kind that people enlarge photographs with on laptops, to compare times with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adacode_cli.benchmark.timing import seconds


def yardstick() -> nn.Sequential:
    """SRVGG-style ×4: 34 convolutions 3×3 of 64 channels on the input's grid; 1.2 million parameters."""
    body = [layer for _ in range(32) for layer in (nn.Conv2d(64, 64, 3, padding=1), nn.PReLU(64))]
    head = (nn.Conv2d(64, 48, 3, padding=1), nn.PixelShuffle(4))
    return nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.PReLU(64), *body, *head)


@torch.inference_mode()
def yardstick_seconds(x_BCHW: Tensor, device: torch.device, repeats: int) -> float:
    """Time of the yardstick in float32 for a picture 1×3×H×W, channels last."""
    network = yardstick().eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = x_BCHW.to(device).contiguous(memory_format=torch.channels_last)
    return seconds(lambda: network(x), repeats, device)
