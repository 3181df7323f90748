"""A small network that marks scratches, hairs, dust and creases: a U-Net that starts at half the size of the image.

Convolutions alone (arrangement of Ronneberger et al. 2015, arXiv:1505.04597): residual blocks of 3×3 on the two fine
grids, blocks with large depthwise kernels on the two coarse ones, because a scratch is told from an edge by how far it
runs. What is farther away than `reach_px` does not matter, so tiles with that much around them give the whole.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.errors import WeightsError
from adacode_cli.model.blocks import conv3
from adacode_cli.model.context import ContextBlock

MULTIPLE = 16
"""Sides of an input are multiples of this many pixels."""
_SLOPE = 0.1


@dataclass(frozen=True)
class DetectorConfig:
    """Shape of a detector. Raises WeightsError for an impossible one.

    channels: of the grids of 1/2, 1/4, 1/8 and 1/16. depth: blocks on the grid of 1/8 on the way down, of 1/16, and of
    1/8 on the way up. kernels: sides of the depthwise kernels on the grids of 1/8 and of 1/16, odd.
    """

    channels: tuple[int, int, int, int] = (24, 40, 64, 96)
    depth: tuple[int, int, int] = (3, 5, 2)
    kernels: tuple[int, int] = (7, 9)

    def __post_init__(self) -> None:
        groups = ((self.channels, 4, 512), (self.depth, 3, 16), (self.kernels, 2, 31))
        fitting = all(len(group) == length and _are_whole(group, most) for group, length, most in groups)
        if not fitting or any(kernel % 2 == 0 for kernel in self.kernels):
            raise WeightsError("this detector's configuration is impossible")

    @property
    def reach_px(self) -> int:
        """How far a result looks, in pixels, rounded up to whole cells of the coarsest grid."""
        (down, coarse, up), (fine_kernel, coarse_kernel) = self.depth, self.kernels
        # Convolutions of 3×3 on the two fine grids: the first, two residual blocks, the last; then two residual blocks.
        cells = (6, 4, (down + up) * (fine_kernel // 2), coarse * (coarse_kernel // 2))
        reach: int = sum(num << (level + 1) for level, num in enumerate(cells))
        # On the way to a coarser grid, what a value depends on grows to whole cells: by MULTIPLE - 1 pixels in all.
        return MULTIPLE * -(-(reach + MULTIPLE - 1) // MULTIPLE)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; `from_dict` restores an equal value."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DetectorConfig:
        """Inverse of `to_dict`. Raises WeightsError."""
        try:
            return cls(**{name: tuple(value) for name, value in values.items()})
        except TypeError as error:
            raise WeightsError(f"the detector's configuration cannot be read: {error}") from error


def _are_whole(numbers: tuple[int, ...], most: int) -> bool:
    return all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= most for n in numbers)


class _Residual(nn.Module):
    """x + conv(LeakyReLU(conv(x))): B×C×H×W → the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv3(channels, channels), conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(F.leaky_relu(self.conv1(x), _SLOPE))
        return out


class Detector(nn.Module):
    """RGB in [0, 1], B×3×H×W with sides that are multiples of MULTIPLE → B×1×H×W; the sigmoid is a probability."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c, d = config.channels
        blocks_down, blocks_coarse, blocks_up = config.depth
        fine, coarse = config.kernels
        self.stem = conv3(3 * 4, a)
        self.down = nn.ModuleList(nn.Conv2d(i, o, 2, 2) for i, o in ((a, b), (b, c), (c, d)))
        self.before = nn.ModuleList((_Residual(a), _Residual(b), _blocks(c, fine, blocks_down)))
        self.middle = _blocks(d, coarse, blocks_coarse)
        self.up = nn.ModuleList(nn.Conv2d(i, 4 * o, 1) for i, o in ((b, a), (c, b), (d, c)))
        self.after = nn.ModuleList((_Residual(a), _Residual(b), _blocks(c, fine, blocks_up)))
        self.out = conv3(a, 4)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """The logit of each pixel."""
        x = self.stem(F.pixel_unshuffle(2 * image_BCHW - 1, 2))
        maps: list[Tensor] = []
        for block, down in zip(self.before, self.down, strict=True):
            maps.append(block(x))
            x = down(maps[-1])
        x = self.middle(x)
        for level in (2, 1, 0):
            x = self.after[level](maps.pop() + F.pixel_shuffle(self.up[level](x), 2))
        return F.pixel_shuffle(self.out(x), 2)


def _blocks(channels: int, kernel: int, num: int) -> nn.Sequential:
    return nn.Sequential(*(ContextBlock(channels, kernel) for _ in range(num)))


@torch.no_grad()
def initialise(network: Detector) -> None:
    """Torch's own values, except that every residual branch starts at zero."""
    for module in network.modules():
        if isinstance(module, _Residual):
            module.conv2.weight.zero_()
            cast(Tensor, module.conv2.bias).zero_()
        elif isinstance(module, ContextBlock):
            module.fc2.weight.zero_()
            module.fc2.bias.zero_()
