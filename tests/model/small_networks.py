"""Small networks that between them use every option of the configuration, with values that are nowhere zero."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import get_args

import torch

from adacode_cli.model.config import (
    Base,
    ContextConfig,
    DecoderConfig,
    NetworkConfig,
    Norm,
    ResidualConfig,
    Skip,
    Stem,
    SwinConfig,
    TrunkConfig,
)
from adacode_cli.model.network import AdaCode


def small_config(number: int) -> NetworkConfig:
    """A configuration chosen by its number; twelve in a row have every value of every choice, and 1 to 6 bases."""
    r = random.Random(number)
    stem, skip = get_args(Stem)[number // 2 % 2], get_args(Skip)[number % 3]
    norm, base = get_args(Norm)[number % 2], get_args(Base)[number // 3 % 4]
    num_levels, num_bases = r.choice((2, 3)), number % 6 + 1
    grid = r.choice((1, 2, 4)) if stem == "shuffle" else 1
    largest = grid if stem == "shuffle" else 2 ** (num_levels - 2)
    swins = [
        None if r.random() < 0.4 else SwinConfig(1, 2, heads=2, window=w, mlp_ratio=2) for w in (4, r.choice((2, 3)))
    ]
    return NetworkConfig(
        task="basis" if number % 12 == 0 else r.choice(("reconstruct", "sr", "inpaint")),
        scale=r.choice([s for s in (1, 2, 4) if s <= largest]),
        channels=(32,) * num_levels if norm == "group" else tuple(r.choice((8, 12, 16)) for _ in range(num_levels)),
        grid=grid,
        stem=stem,
        stem_depth=r.randint(0, 1),
        encoder_depth=r.randint(0, 2),
        up_depth=r.randint(0, 1),
        decoder_depth=r.randint(0, 2),
        fuse_depth=r.randint(0, 1),
        head_depth=r.randint(0, 1),
        norm=norm,
        skip=skip,
        num_skips=0 if skip == "none" else r.randint(1, num_levels - 1),
        base=base,
        mask_channel=base == "filled" or r.random() < 0.3,
        encoder_context=ContextConfig(r.choice((6, 8)), 2, kernel=5) if number % 4 == 2 else None,
        encoder_swin=swins[0],
        predictor_swin=swins[1],
        codebooks=tuple((r.randint(3, 9), r.choice((4, 6))) for _ in range(num_bases)),
        softmax=number // 4 % 2 == 1,
    )


SMALL_CONFIGS = tuple(small_config(n) for n in range(12))

_TRUNK = NetworkConfig(
    "sr",
    4,
    channels=(8, 12),
    grid=4,
    stem="shuffle",
    norm="none",
    decoder_depth=1,
    encoder_depth=1,
    trunk=TrunkConfig(depth=6, tap=2, join=4),
    base="nearest",
    encoder_swin=SwinConfig(1, 2, heads=2, window=2, mlp_ratio=2),
    codebooks=((7, 4), (5, 6)),
)
# Of both scales, of finer grids and more levels, of codes that join where they left and before the last convolution.
TRUNK_CONFIGS = (
    _TRUNK,
    replace(_TRUNK, scale=2, trunk=TrunkConfig(depth=4, tap=1, join=3), head_depth=1),
    replace(
        _TRUNK, scale=2, grid=2, channels=(8, 12, 16), trunk=TrunkConfig(depth=2, tap=1, join=1), encoder_swin=None
    ),
    replace(_TRUNK, scale=1, grid=2, trunk=TrunkConfig(depth=3, tap=2, join=2), base="none", codebooks=((9, 4),)),
)

# Codes with a decoder of their own beside the shared one, with and without normalisation; codes of three levels.
OWN_CONFIGS = (
    NetworkConfig(
        "reconstruct",
        channels=(8, 12),
        grid=4,
        stem="shuffle",
        norm="none",
        decoder_depth=1,
        codebooks=((7, 4), (5, 6)),
        own_decoder=DecoderConfig(latent_depth=1, depth=2, head_depth=1),
    ),
    NetworkConfig("reconstruct", channels=(32, 32, 32), own_decoder=DecoderConfig(0, 1, 0), codebooks=((9, 4),)),
    NetworkConfig("reconstruct", channels=(32, 32), residual=ResidualConfig(3, 0.5), codebooks=((9, 4), (6, 5))),
)


def network(config: NetworkConfig, seed: int = 0) -> AdaCode:
    """A network in evaluation mode, every parameter moved away from zero."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    net = AdaCode(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return net


def picture(config: NetworkConfig, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """1×C×height×width noise in [0, 1], with a binary mask where the network takes one."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, config.in_channels, height, width, generator=generator)
    if config.mask_channel:
        image[:, 3] = (image[:, 3] > 0.7).float()
    return image
