"""Mixed codes → picture. In stage III the encoder's maps join after the first stages."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.model.blocks import UpBlock, conv3, res_blocks
from adacode_cli.model.config import NetworkConfig


class Fusion(nn.Module):
    """Learnt replacement of the sum: both maps, residual blocks, a convolution. 2 × B×C×H×W → B×C×H×W.

    The decoder's weights are frozen in stage III; this block belongs to the task and may drop what the codes got
    wrong where the input shows better.
    """

    def __init__(self, channels: int, config: NetworkConfig) -> None:
        super().__init__()
        self.join = conv3(2 * channels, channels)
        self.body = res_blocks(channels, config.fuse_depth, config.norm)
        self.out = conv3(channels, channels)

    def forward(self, decoded: Tensor, encoded: Tensor) -> Tensor:
        joined: Tensor = self.join(torch.cat((decoded, encoded), 1))
        out: Tensor = self.out(F.silu(self.body(joined)))
        return out


class Head(nn.Module):
    """Finest map → RGB: residual blocks, one convolution, and a pixel shuffle where a cell holds several pixels."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.body = res_blocks(config.channels[0], config.head_depth, config.norm)
        self.conv = conv3(config.channels[0], 3 * config.grid**2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.body(x))
        return F.pixel_shuffle(x, self.grid) if self.grid > 1 else x


class Decoder(nn.Module):
    """Up blocks from the latent grid to the finest grid. Shared by all tasks of a family."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        ch = config.channels
        self.stages = nn.ModuleList(
            UpBlock(ch[i], ch[i - 1], config.decoder_depth, config.norm) for i in range(len(ch) - 1, 0, -1)
        )
        self.head = Head(config)


class Skips(nn.Module):
    """How a task's encoder maps join the decoder: nothing, the sum, or a `Fusion` a stage."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        last = len(config.channels) - 1
        num_fusions = config.num_skips if config.skip == "fuse" else 0
        self.fusions = nn.ModuleList(Fusion(config.channels[last - i - 1], config) for i in range(num_fusions))

    def forward(self, stage: int, decoded: Tensor, skips: tuple[Tensor, ...]) -> Tensor:
        if stage >= len(skips):
            return decoded
        if len(self.fusions):
            fused: Tensor = self.fusions[stage](decoded, skips[stage])
            return fused
        return decoded + skips[stage]
