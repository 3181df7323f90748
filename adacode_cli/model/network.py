"""The whole network: encoder → adaptive codes → decoder → image. One class serves every size and task.

The classes follow the way of an image: the encoder (input pixels → latent map), the decoder (codes → image), the trunk
that can replace the encoder's stem and the decoder's head, and `AdaCode`, which combines them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.model.blocks import DownBlock, UpBlock, conv3, res_blocks
from adacode_cli.model.codebook import AdaptiveCodebook
from adacode_cli.model.config import DecoderConfig, NetworkConfig
from adacode_cli.model.context import ContextStack
from adacode_cli.model.input import base_image, fill_from, halve, pad_mirrored, padded_size, prepare_input
from adacode_cli.model.ranges import Ranges
from adacode_cli.model.swin import SwinStack


@dataclass(frozen=True)
class Encoded:
    """latent_BCHW: map to be quantised. skips: one map for each of the first decoder stages, coarse to fine; with a
    trunk, only its map where the branch begins.
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
    """Stem, down blocks to the latent grid, optional context and Swin stack, up blocks for the skips of the decoder."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        ch, first, last = config.channels, config.input_level, len(config.channels) - 1
        # A trunk's map replaces the stem's.
        self.stem = Stem(config) if config.trunk is None else nn.Identity()
        self.down = nn.ModuleList(
            DownBlock(ch[i], ch[i + 1], config.encoder_depth, config.norm) for i in range(first, last)
        )
        self.context = ContextStack(ch[-1], config.encoder_context) if config.encoder_context else nn.Identity()
        self.swin = SwinStack(ch[-1], config.encoder_swin) if config.encoder_swin else nn.Identity()
        self.up = nn.ModuleList(
            UpBlock(ch[last - i], ch[last - i - 1], config.up_depth, config.norm) for i in range(config.num_skips)
        )
        # Fine detail bypasses the latent grid: a fused skip also starts from the down path's map of its grid.
        self.long_skips = config.skip == "fuse"
        # The published stem's map lacks a row and a column, so it cannot be added to one of a whole grid.
        self.first_long = 1 if config.stem == "conv4" else 0

    def forward(self, image_BCHW: Tensor) -> Encoded:
        """B×Cin×H×W, sides multiples of `config.pad_multiple` → latent map B×C×h×w and the skips.

        Of a network with a trunk: the trunk's map where the branch begins, in place of the image.
        """
        maps = [self.stem(image_BCHW)]
        for block in self.down:
            maps.append(block(maps[-1]))
        latent = self.latent(maps[-1])
        skips: list[Tensor] = []
        x = latent
        for i, block in enumerate(self.up):
            x = block(x)
            same_grid = len(maps) - 2 - i
            if self.long_skips and same_grid >= self.first_long:
                x = x + maps[same_grid]
            skips.append(x)
        return Encoded(latent, tuple(skips))

    def latent(self, feature_BCHW: Tensor) -> Tensor:
        """The last down block's map of a whole image → latent map, same shape: what looks across the image."""
        attended: Tensor = self.swin(self.context(feature_BCHW))
        return attended


class Fusion(nn.Module):
    """Learnt replacement of the sum: both maps, residual blocks, a convolution. 2 × B×C×H×W → B×C×H×W.

    The decoder's weights are frozen in stage III; this block belongs to the task and can replace what the codes got
    wrong by what the input shows.
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

    def __init__(self, config: NetworkConfig, depth: int) -> None:
        super().__init__()
        self.grid = config.grid
        self.body = res_blocks(config.channels[0], depth, config.norm)
        self.conv = conv3(config.channels[0], 3 * config.grid**2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.body(x))
        return F.pixel_shuffle(x, self.grid) if self.grid > 1 else x


class Decoder(nn.Module):
    """Residual blocks on the latent grid, up blocks from there to the finest grid, and a head."""

    def __init__(self, config: NetworkConfig, shape: DecoderConfig) -> None:
        super().__init__()
        ch = config.channels
        self.body = res_blocks(ch[-1], shape.latent_depth, config.norm)
        self.stages = nn.ModuleList(
            UpBlock(ch[i], ch[i - 1], shape.depth, config.norm) for i in range(len(ch) - 1, 0, -1)
        )
        self.head = Head(config, shape.head_depth)


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


class Trunk(nn.Module):
    """A sequence of convolutions on the finest grid that restores an image alone, and the place where codes join it.

    The shape is that of Real-ESRGAN's small general network (Wang et al. 2021, arXiv:2107.10833; realesr-general-x4v3),
    so that training can start from its weights. The codes are a branch of it: it begins at the map after `tap`
    convolutions, and its decoded map is added after `join` of them. The convolution in front of the sum starts at zero,
    so an untrained network gives what its trunk gives. `begin`: input image → map where the branch begins; `finish`:
    that map and the decoded codes → image.

    `body` alternates convolutions and PReLU (one slope for each channel) and ends with a convolution. With cells of c×c
    output pixels (`NetworkConfig.cell_px`) the input is packed in blocks of (c/scale)×(c/scale) pixels; the output is
    unpacked from cells. `pack`: another side of the input's blocks.
    """

    def __init__(self, config: NetworkConfig, pack: int | None = None) -> None:
        super().__init__()
        assert config.trunk is not None, "the configuration has no trunk"
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


@dataclass(frozen=True)
class Restoration:
    """The result of the network.

    image_BCHW: float, RGB, about [0, 1], unclipped. codes: a B×h×w int64 tensor for each of
    `NetworkConfig.book_sizes`, on the latent grid.
    weights_BKHW: mixing weights, on the latent grid.
    """

    image_BCHW: Tensor
    codes: tuple[Tensor, ...]
    weights_BKHW: Tensor


class AdaCode(nn.Module):
    """AdaCode network of one task (arXiv:2306.06513, section 3; see `NetworkConfig` for what can vary).

    `forward` takes B×C×H×W, RGB float in [0, 1] (C = 4 with `mask_channel`: 1 = hole), of any size, pads it to
    `input.padded_size` and crops the result to (H·scale)×(W·scale). ranges: of the convolutions that may run in 8 bits;
    empty where the weights have none. int8_psnr_db: how near images in 8 bits are to those in float32, in dB, as the
    weights state it; None where they do not.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.ranges: Ranges = {}
        self.int8_psnr_db: float | None = None
        self.encoder = Encoder(config)
        self.codebook = AdaptiveCodebook(config)
        # Shared by all tasks of a family.
        self.decoder = Decoder(config, DecoderConfig(0, config.decoder_depth, config.head_depth))
        self.own_decoder = Decoder(config, config.own_decoder) if config.own_decoder else None
        self.skips = Skips(config)
        self.trunk = Trunk(config) if config.trunk else None

    @property
    def drawing(self) -> Decoder:
        """The decoder that makes images: the task's own if it has one."""
        return self.decoder if self.own_decoder is None else self.own_decoder

    def encode(self, prepared_BCHW: Tensor) -> Encoded:
        """Prepared input, sides multiples of `pad_multiple` → latent map, and the maps that `render` needs too."""
        if self.trunk is None:
            encoded: Encoded = self.encoder(prepared_BCHW)
            return encoded
        tapped = self.trunk.begin(prepared_BCHW)
        return Encoded(self.encoder(tapped).latent_BCHW, (tapped,))

    def render(self, latent_BCHW: Tensor, skips: tuple[Tensor, ...] = ()) -> Tensor:
        """Decoder's input and the maps of `encode` → B×3×H×W, without the base image; no maps: the decoder alone."""
        decoder = self.drawing
        x = decoder.body(latent_BCHW)
        if self.trunk is not None and skips:
            for stage in decoder.stages:
                x = stage(x)
            return self.trunk.finish(skips[0], x)
        for i, stage in enumerate(decoder.stages):
            x = self.skips(i, stage(x), skips)
        out: Tensor = decoder.head(x)
        return out

    def detail(self, prepared_BCHW: Tensor) -> Restoration:
        """What the network adds to the base image, for an input that `prepare_input` made and that needs no padding.

        It also works on a tile: what depends on the whole image (filled holes, base) is done outside.
        """
        encoded = self.encode(prepared_BCHW)
        mixture = self.codebook(encoded.latent_BCHW)
        image = self.render(mixture.latent_BCHW, encoded.skips)
        return Restoration(image, mixture.codes, mixture.weights_BKHW)

    def prepared(self, image_BCHW: Tensor, coarse_passes: int) -> Tensor:
        """What the encoder sees of an input: its holes are filled at half the size by this network if configured.

        Each pass has twice the receptive field of the next finer one, so a large hole is filled from its surroundings.
        Images whose sides are at most one attention window are not halved.
        """
        if coarse_passes and min(image_BCHW.shape[-2:]) > self.config.pad_multiple:
            return fill_from(image_BCHW, self.forward(halve(image_BCHW), coarse_passes - 1).image_BCHW)
        return prepare_input(image_BCHW, self.config.base)

    def forward(self, image_BCHW: Tensor, coarse_passes: int | None = None) -> Restoration:
        """`coarse_passes`: how often the image is halved for the first filling of holes; None: as configured."""
        config, (h, w) = self.config, image_BCHW.shape[-2:]
        coarse_passes = config.coarse_passes if coarse_passes is None else coarse_passes
        prepared = self.prepared(pad_mirrored(image_BCHW, *padded_size(config, h, w)), coarse_passes)
        r = self.detail(prepared)
        base = base_image(prepared, config.base, config.scale)
        image = r.image_BCHW if base is None else r.image_BCHW + base
        return Restoration(image[..., : h * config.scale, : w * config.scale], r.codes, r.weights_BKHW)
