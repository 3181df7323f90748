"""What lies far from a place in the image: depthwise convolutions with large kernels on half the latent grid.

A wide hole is filled from its surroundings, which convolutions of 3×3 reach only after many layers. On a grid of half
the sides a block costs a quarter, and its kernel reaches twice as far: six blocks of 9×9 see ±384 output pixels in the
compact family. The engine computes them for the whole image at once, as attention, so tiles have no effect.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.model.blocks import conv3
from adacode_cli.model.config import ContextConfig


class ContextBlock(nn.Module):
    """x + mlp(norm(depthwise convolution of x)), in the arrangement of ConvNeXt (Liu et al. 2022, arXiv:2201.03545).

    B×C×H×W → the same shape, any size.
    """

    def __init__(self, channels: int, kernel: int, mlp_ratio: int = 2) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, channels * mlp_ratio)
        self.fc2 = nn.Linear(channels * mlp_ratio, channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.fc2(F.gelu(self.fc1(y))).permute(0, 3, 1, 2)
        return x + y if torch.is_grad_enabled() else y.add_(x)


class ContextStack(nn.Module):
    """The latent map plus what `config.blocks` blocks make of it on half its grid: B×C×H×W → the same shape.

    H and W are even. Halving is a strided convolution; the way back is a 1×1 convolution and a pixel shuffle.
    """

    def __init__(self, channels: int, config: ContextConfig) -> None:
        super().__init__()
        self.down = conv3(channels, config.channels, stride=2)
        shape = config.channels, config.kernel, config.mlp_ratio
        self.blocks = nn.Sequential(*(ContextBlock(*shape) for _ in range(config.blocks)))
        self.up = nn.Conv2d(config.channels, 4 * channels, 1)

    def forward(self, latent_BCHW: Tensor) -> Tensor:
        found: Tensor = self.up(self.blocks(self.down(latent_BCHW)))
        return latent_BCHW + F.pixel_shuffle(found, 2)
