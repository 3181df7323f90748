"""Convolutional building blocks shared by encoder and decoder.

The result of a block at a place depends only on the surroundings of that place, except for `GroupNorm`, which depends
on the whole map; its sums can be gathered part by part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.model.config import Norm

GROUPS = 32
EPS = 1e-6
# Added to a variance of 1, it changes nothing; torch 2.11 refuses 0 as the epsilon of a batch normalisation.
_NO_EPS = 1e-30
# Values that are summed at a time. As float64 they take 1 MB on a CPU and stay in a core's cache; on a GPU 64 MB,
# because each sum costs a few launches.
_SUMMED_AT_ONCE = 1 << 17
SUMMED_AT_ONCE_GPU = 1 << 23


def conv3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """3×3 convolution, zero padding of one: B×Cin×H×W → B×Cout×⌈H/stride⌉×⌈W/stride⌉."""
    return nn.Conv2d(channels_in, channels_out, 3, stride, 1)


@dataclass(frozen=True)
class Sums:
    """The statistics of a map that normalisation needs; those of parts of a map can be added.

    num_cells: positions summed over. total_BC, squares_BC: float64 sums of values and of their squares.
    """

    num_cells: int
    total_BC: Tensor
    squares_BC: Tensor

    @classmethod
    def of(cls, x_BCHW: Tensor) -> Sums:
        """Sums of a map or of a part of one, any float dtype."""
        h, w = x_BCHW.shape[2:]
        if x_BCHW.device.type == "cpu":
            return cls(h * w, *_sums_in_pieces(x_BCHW, _SUMMED_AT_ONCE))
        if x_BCHW.dtype == torch.float32:
            return cls(h * w, *_sums_in_pieces(x_BCHW, SUMMED_AT_ONCE_GPU))
        return cls(h * w, *_sums_of_short_floats(x_BCHW))

    def __add__(self, other: Sums) -> Sums:
        total, squares = self.total_BC + other.total_BC, self.squares_BC + other.squares_BC
        return Sums(self.num_cells + other.num_cells, total, squares)


def _sums_in_pieces(x_BCHW: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
    b, c, _, w = x_BCHW.shape
    total, squares = x_BCHW.new_zeros((2, b, c), dtype=torch.float64)
    for rows in torch.split(x_BCHW, max(1, at_once // (b * c * w)), 2):
        exact = rows.to(torch.float64, copy=True)
        total += exact.sum((2, 3))
        squares += exact.mul_(exact).sum((2, 3))
    return total, squares


def _sums_of_short_floats(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """For a GPU, whose reductions convert bf16 and fp16 to float32 while reading; for float64 they would copy the map.

    The rounding error of float32 is far below the last bit of the values.
    """
    total = x_BCHW.sum((2, 3), dtype=torch.float32)
    length = torch.linalg.vector_norm(x_BCHW, dim=(2, 3), dtype=torch.float32)
    return total.double(), length.double().square()


class GroupNorm(nn.GroupNorm):
    """Group normalisation (Wu & He 2018, arXiv:1803.08494) that can also use sums gathered from parts of a map.

    Sums are in float64, so the division into parts has no effect in float32: a tile is normalised bit for bit as the
    whole map would be. On a GPU the sums of bf16 and fp16 maps are in float32, which has no effect in these types.
    With gradients it is torch's own fused operation.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if torch.is_grad_enabled() else self.normalise(x, Sums.of(x))

    def normalise(self, x_BCHW: Tensor, sums: Sums) -> Tensor:
        """x, normalised by the mean and variance of the map that `sums` were gathered on; in the dtype of x."""
        return scale_and_shift(x_BCHW, *self.factors(sums))

    def factors(self, sums: Sums) -> tuple[Tensor, Tensor]:
        """The factor and the offset of each channel in the normalisation: B×C×1×1 float32 each."""
        b, c = sums.total_BC.shape
        size = c // self.num_groups
        total, squares = (s.reshape(b, self.num_groups, size).sum(2) for s in (sums.total_BC, sums.squares_BC))
        mean = total / (sums.num_cells * size)
        variance = (squares / (sums.num_cells * size) - mean.square()).clamp(min=0)
        mean, deviation = (v.repeat_interleave(size, 1) for v in (mean, (variance + self.eps).sqrt()))
        factor = self.weight.double() / deviation
        shift = self.bias.double() - mean * factor
        return factor.float()[:, :, None, None], shift.float()[:, :, None, None]


def scale_and_shift(x_BCHW: Tensor, factor_BC11: Tensor, shift_BC11: Tensor) -> Tensor:
    """x · factor + shift, computed at least in float32, as a new tensor in the dtype of x."""
    # Torch's batch normalisation of mean 0 and variance 1: one pass over x; a product and a sum would take three.
    # Of maps with gaps between rows, such as crops, another kernel would round some values differently.
    x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
    dtype = torch.promote_types(x_BCHW.dtype, torch.float32)
    zero, one = (torch.full(x_BCHW.shape[1:2], value, dtype=dtype, device=x_BCHW.device) for value in (0.0, 1.0))
    images = [
        F.batch_norm(x, zero, one, factor.flatten().to(dtype), shift.flatten().to(dtype), training=False, eps=_NO_EPS)
        for x, factor, shift in zip(torch.split(x_BCHW, 1), factor_BC11, shift_BC11, strict=True)
    ]
    return images[0] if len(images) == 1 else torch.cat(images)


def make_norm(kind: Norm, channels: int) -> nn.Module:
    """GroupNorm(32) with the reference's epsilon, or nothing."""
    return GroupNorm(GROUPS, channels, EPS) if kind == "group" else nn.Identity()


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
    """`depth` residual blocks in sequence; with depth 0, the identity."""
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


def enlarging_weight(conv: nn.Conv2d) -> Tensor:
    """The weight of one transposed convolution (Cin×Cout×4×4, stride 2) that equals nearest ×2 and a padded 3×3 one.

    Each result depends on only 2×2 different values of the small map, so the taps of the same value are added
    beforehand: 4 products instead of 9.
    """
    weight = conv.weight.float()
    for axis in (2, 3):
        first, middle, last = weight.unbind(axis)
        weight = torch.stack((last, middle + last, first + middle, first), axis)
    return weight.transpose(0, 1).to(conv.weight.dtype, memory_format=torch.channels_last)


def enlarge(x_BCHW: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """B×Cin×H×W → B×Cout×2H×2W by an `enlarging_weight`."""
    return F.conv_transpose2d(x_BCHW, weight, bias, stride=2, padding=1)


class UpBlock(nn.Module):
    """Doubles the grid: nearest ×2, convolution, residual blocks. B×Cin×H×W → B×Cout×2H×2W."""

    def __init__(self, channels_in: int, channels_out: int, depth: int, norm: Norm) -> None:
        super().__init__()
        self.conv = conv3(channels_in, channels_out)
        self.body = res_blocks(channels_out, depth, norm)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(self._enlarged(x))
        return y

    def _enlarged(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            large: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
            return large
        return enlarge(x, enlarging_weight(self.conv), self.conv.bias)
