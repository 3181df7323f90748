"""The whole network: encoder → adaptive codes → decoder → picture. One class serves every size and task."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from adacode_cli.model.base import base_picture, fill_from, halve, prepare_input
from adacode_cli.model.codebook import AdaptiveCodebook
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.decoder import Decoder, Skips
from adacode_cli.model.encoder import Encoded, Encoder
from adacode_cli.model.padding import pad_mirrored, padded_size
from adacode_cli.model.trunk import Trunk


@dataclass(frozen=True)
class Restoration:
    """What the network answers.

    image_BCHW: float, RGB, about [0, 1], unclipped. codes: a B×h×w int64 tensor a basis, on the latent grid.
    weights_BKHW: mixing weights, on the latent grid.
    """

    image_BCHW: Tensor
    codes: tuple[Tensor, ...]
    weights_BKHW: Tensor


class AdaCode(nn.Module):
    """AdaCode network of one task (arXiv:2306.06513, section 3; see `NetworkConfig` for what can vary).

    `forward` takes B×C×H×W, RGB float in [0, 1] (C = 4 with `mask_channel`: 1 = hole), of any size, pads it as
    `padding` says and crops the result to (H·scale)×(W·scale).
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.codebook = AdaptiveCodebook(config)
        self.decoder = Decoder(config)
        self.skips = Skips(config)
        self.trunk = Trunk(config) if config.trunk else None

    def encode(self, prepared_BCHW: Tensor) -> Encoded:
        """Prepared input, sides multiples of `pad_multiple` → latent map, and the maps that `render` wants as well."""
        if self.trunk is None:
            encoded: Encoded = self.encoder(prepared_BCHW)
            return encoded
        tapped = self.trunk.begin(prepared_BCHW)
        return Encoded(self.encoder(tapped).latent_BCHW, (tapped,))

    def render(self, latent_BCHW: Tensor, skips: tuple[Tensor, ...] = ()) -> Tensor:
        """Decoder's input and the maps of `encode` → B×3×H×W, without the base picture; no maps: the decoder alone."""
        x = latent_BCHW
        if self.trunk is not None and skips:
            for stage in self.decoder.stages:
                x = stage(x)
            return self.trunk.finish(skips[0], x)
        for i, stage in enumerate(self.decoder.stages):
            x = self.skips(i, stage(x), skips)
        out: Tensor = self.decoder.head(x)
        return out

    def detail(self, prepared_BCHW: Tensor) -> Restoration:
        """What the network adds to the base picture, for an input that `prepare_input` made and that needs no padding.

        A tile of a larger image passes here: what concerns the whole image (filled holes, base) is done outside.
        """
        encoded = self.encode(prepared_BCHW)
        mixture = self.codebook(encoded.latent_BCHW)
        image = self.render(mixture.latent_BCHW, encoded.skips)
        return Restoration(image, mixture.codes, mixture.weights_BKHW)

    def prepared(self, image_BCHW: Tensor, coarse_passes: int) -> Tensor:
        """What the encoder sees of an input: its holes filled at half the size, by this network, where that is wanted.

        Each pass sees twice as far as the next finer one, so a large hole is filled by what is around it. Pictures of
        at most one attention window's side are not halved.
        """
        if coarse_passes and min(image_BCHW.shape[-2:]) > self.config.pad_multiple:
            return fill_from(image_BCHW, self.forward(halve(image_BCHW), coarse_passes - 1).image_BCHW)
        return prepare_input(image_BCHW, self.config.base)

    def forward(self, image_BCHW: Tensor, coarse_passes: int | None = None) -> Restoration:
        """`coarse_passes`: how many times smaller by two the first filling of holes is; None: as configured."""
        config, (h, w) = self.config, image_BCHW.shape[-2:]
        coarse_passes = config.coarse_passes if coarse_passes is None else coarse_passes
        prepared = self.prepared(pad_mirrored(image_BCHW, *padded_size(config, h, w)), coarse_passes)
        r = self.detail(prepared)
        base = base_picture(prepared, config.base, config.scale)
        image = r.image_BCHW if base is None else r.image_BCHW + base
        return Restoration(image[..., : h * config.scale, : w * config.scale], r.codes, r.weights_BKHW)
