"""Input pixels → latent map, and in stage III the maps that the decoder takes beside the codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.model.blocks import DownBlock, UpBlock, conv3, res_blocks
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.swin import SwinStack


@dataclass(frozen=True)
class Encoded:
    """latent_BCHW: map to be quantised. skips: one map for each of the first decoder stages, coarse to fine; with a
    trunk, its map where the branch begins alone.
    """

    latent_BCHW: Tensor
    skips: tuple[Tensor, ...]


class Stem(nn.Module):
    """Input convolution, onto the grid of `config.input_level`.

    B×Cin×H×W → B×C×h×w; "conv4" loses one row and one column, "shuffle" first packs blocks of
    (grid/scale)×(grid/scale) input pixels into channels.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels = config.channels[config.input_level]
        if config.stem == "conv4":
            self.pack = 1
            self.conv = nn.Conv2d(config.in_channels, channels, 4, 1, 1)
        else:
            self.pack = config.grid // config.scale
            self.conv = conv3(config.in_channels * self.pack**2, channels)
        self.body = res_blocks(channels, config.stem_depth, config.norm)

    def forward(self, x: Tensor) -> Tensor:
        if self.pack > 1:
            x = F.pixel_unshuffle(x, self.pack)
        y: Tensor = self.body(self.conv(x.to(self.conv.weight.dtype)))
        return y


class Encoder(nn.Module):
    """Stem, down blocks to the latent grid, an optional Swin stack, and up blocks where the decoder takes skips."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        ch, first, last = config.channels, config.input_level, len(config.channels) - 1
        # A trunk's map takes the place of the stem's.
        self.stem = Stem(config) if config.trunk is None else nn.Identity()
        self.down = nn.ModuleList(
            DownBlock(ch[i], ch[i + 1], config.encoder_depth, config.norm) for i in range(first, last)
        )
        self.swin = SwinStack(ch[-1], config.encoder_swin) if config.encoder_swin else nn.Identity()
        self.up = nn.ModuleList(
            UpBlock(ch[last - i], ch[last - i - 1], config.up_depth, config.norm) for i in range(config.num_skips)
        )
        # Fine detail need not pass the latent grid: a fused skip starts from the down path's map of its grid as well.
        self.long_skips = config.skip == "fuse"
        # The published stem's map lacks a row and a column, so it cannot be added to one of a whole grid.
        self.first_long = 1 if config.stem == "conv4" else 0

    def forward(self, image_BCHW: Tensor) -> Encoded:
        """B×Cin×H×W, sides multiples of `config.pad_multiple` → latent map B×C×h×w and the skips.

        Of a network with a trunk: the trunk's map where the branch begins, in place of the picture.
        """
        maps = [self.stem(image_BCHW)]
        for block in self.down:
            maps.append(block(maps[-1]))
        latent = self.swin(maps[-1])
        skips: list[Tensor] = []
        x = latent
        for i, block in enumerate(self.up):
            x = block(x)
            same_grid = len(maps) - 2 - i
            if self.long_skips and same_grid >= self.first_long:
                x = x + maps[same_grid]
            skips.append(x)
        return Encoded(latent, tuple(skips))
