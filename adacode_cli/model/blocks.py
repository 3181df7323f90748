"""Convolutional building blocks shared by encoder and decoder."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.model.config import Norm

GROUPS = 32
EPS = 1e-6


def conv3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """3×3 convolution, zero padding of one: B×Cin×H×W → B×Cout×⌈H/stride⌉×⌈W/stride⌉."""
    return nn.Conv2d(channels_in, channels_out, 3, stride, 1)


def make_norm(kind: Norm, channels: int) -> nn.Module:
    """GroupNorm(32) with the reference's epsilon, or nothing."""
    return nn.GroupNorm(GROUPS, channels, EPS) if kind == "group" else nn.Identity()


class ResBlock(nn.Module):
    """x + conv(SiLU(norm(conv(SiLU(norm(x)))))), same shape in and out: B×C×H×W."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.norm1 = make_norm(norm, channels)
        self.conv1 = conv3(channels, channels)
        self.norm2 = make_norm(norm, channels)
        self.conv2 = conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        out: Tensor = x + self.conv2(F.silu(self.norm2(y)))
        return out


def res_blocks(channels: int, depth: int, norm: Norm) -> nn.Sequential:
    """`depth` residual blocks in a row; with none of them, the identity."""
    return nn.Sequential(*(ResBlock(channels, norm) for _ in range(depth)))


class DownBlock(nn.Module):
    """Halves the grid: stride-2 convolution, then residual blocks. B×Cin×H×W → B×Cout×⌈H/2⌉×⌈W/2⌉."""

    def __init__(self, channels_in: int, channels_out: int, depth: int, norm: Norm) -> None:
        super().__init__()
        self.conv = conv3(channels_in, channels_out, stride=2)
        self.body = res_blocks(channels_out, depth, norm)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(self.conv(x))
        return y


class UpBlock(nn.Module):
    """Doubles the grid: nearest ×2, convolution, residual blocks. B×Cin×H×W → B×Cout×2H×2W."""

    def __init__(self, channels_in: int, channels_out: int, depth: int, norm: Norm) -> None:
        super().__init__()
        self.conv = conv3(channels_in, channels_out)
        self.body = res_blocks(channels_out, depth, norm)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(self.conv(F.interpolate(x, scale_factor=2, mode="nearest")))
        return y
