"""A trunk: convolutions in a row on the finest grid that restore a picture by themselves, and where codes join them.

The shape is that of Real-ESRGAN's small general network (Wang et al. 2021, arXiv:2107.10833; realesr-general-x4v3), so
that its weights can be a start. The codes are a branch of it: it begins at the map after `tap` convolutions and its
decoded map is added after `join` of them. The convolution in between begins at zero, so a network begins as its trunk.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.model.blocks import conv3
from adacode_cli.model.config import NetworkConfig


class Trunk(nn.Module):
    """`begin`: input picture → map where the branch begins; `finish`: that map and the decoded codes → picture.

    `body` alternates convolutions and PReLU (a slope a channel) and ends with a convolution. With cells of c×c output
    pixels (`NetworkConfig.cell_px`) the input is packed in blocks of (c/scale)×(c/scale) pixels; the output is
    unpacked from cells. `pack`: another side of the input's blocks.
    """

    def __init__(self, config: NetworkConfig, pack: int | None = None) -> None:
        super().__init__()
        assert config.trunk is not None, "only a configuration with a trunk has one"
        channels, depth = config.channels[0], config.trunk.depth
        self.tap, self.joined_at = config.trunk.tap, config.trunk.join
        self.pack, self.shuffle = pack or config.cell_px // config.scale, config.cell_px
        widths = [config.in_channels * self.pack**2, *[channels] * (depth - 1), 3 * self.shuffle**2]
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [conv3(widths[i], widths[i + 1]), nn.PReLU(channels)]
        self.body = nn.Sequential(*layers[:-1])
        self.join = conv3(channels, channels)
        nn.init.zeros_(self.join.weight)
        assert self.join.bias is not None, "every convolution here has a bias"
        nn.init.zeros_(self.join.bias)

    def layer(self, i: int) -> tuple[nn.Conv2d, nn.PReLU | None]:
        """The i-th convolution, from 0, and the activation after it; the last one has none."""
        conv = cast(nn.Conv2d, self.body[2 * i])
        return conv, cast(nn.PReLU, self.body[2 * i + 1]) if 2 * i + 1 < len(self.body) else None

    def begin(self, image_BCHW: Tensor) -> Tensor:
        """B×Cin×H×W → B×C×h×w on the finest grid, after `tap` convolutions."""
        x = F.pixel_unshuffle(image_BCHW, self.pack) if self.pack > 1 else image_BCHW
        conv, _ = self.layer(0)
        return self._run(x.to(conv.weight.dtype), 0, self.tap)

    def finish(self, tapped_BCHW: Tensor, decoded_BCHW: Tensor | None) -> Tensor:
        """The map of `begin` and the decoder's finest map (None: no codes) → B×3×H×W, to be added to the base."""
        x = self._run(tapped_BCHW, self.tap, self.joined_at)
        if decoded_BCHW is not None:
            x = x + self.join(decoded_BCHW)
        return F.pixel_shuffle(self._run(x, self.joined_at, len(self.body)), self.shuffle)

    def _run(self, x: Tensor, first: int, end: int) -> Tensor:
        for module in list(self.body)[2 * first : 2 * end]:
            x = module(x)
        return x
