"""First values of a network's weights, and what a stage takes over from the one before."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from adacode_cli.model.blocks import ResBlock
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.decoder import Fusion
from adacode_cli.model.network import AdaCode

# Residual branches start small, so that a deep network without normalisation starts close to the identity.
BRANCH_GAIN = 0.1
_DOWN = "encoder.down."


def fresh_network(config: NetworkConfig, seed: int) -> AdaCode:
    """A network with first values that depend on `seed` alone."""
    torch.manual_seed(seed)
    network = AdaCode(config)
    initialise(network)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def initialise(network: AdaCode) -> None:
    """Kaiming weights, zero biases, small residual branches; task fusions start near silence, mixing weights even."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, ResBlock):
            module.conv2.weight.mul_(BRANCH_GAIN)
        elif isinstance(module, Fusion):
            module.out.weight.mul_(BRANCH_GAIN)
    predictor = network.codebook.predictor
    if predictor is not None:
        predictor.out.weight.mul_(BRANCH_GAIN)
        assert predictor.out.bias is not None, "the predictor's output has a bias"
        nn.init.constant_(predictor.out.bias, 0.0 if predictor.softmax else 1.0 / network.config.num_bases)


@torch.no_grad()
def adopt(network: AdaCode, source: Mapping[str, Tensor], prefixes: tuple[str, ...] = ("",)) -> list[str]:
    """Copies every tensor of `source` whose key and shape the network shares; returns the copied keys."""
    own = network.state_dict()
    copied = [k for k, v in source.items() if k.startswith(prefixes) and k in own and own[k].shape == v.shape]
    for key in copied:
        own[key].copy_(source[key])
    return copied


def adopt_fused(network: AdaCode, fused: AdaCode) -> list[str]:
    """Stage III starts from all that it shares with stage II; returns the copied keys.

    A network for smaller inputs begins at a coarser level: its down blocks take over those of the same levels.
    """
    source, skipped_levels = fused.state_dict(), network.config.input_level
    if skipped_levels:
        source = _from_level(source, skipped_levels)
    if network.config.stem == "conv4":
        return adopt(network, source)
    weight = source.pop("encoder.stem.conv.weight")
    adopt_stem(network, weight, fused.encoder.stem.pack)
    return adopt(network, source)


@torch.no_grad()
def adopt_stem(network: AdaCode, weight: Tensor, pack: int) -> None:
    """Takes over a shuffle stem trained on blocks of pack×pack RGB pixels for a network with other blocks.

    The new stem, shown an image, then answers as the old one would on that image enlarged by repetition, or made
    smaller by averages. weight: C×(3·pack²)×3×3; extra input channels of the new stem (a mask) start at zero.
    """
    stem = network.encoder.stem
    new = stem.pack
    channels, kernel = weight.shape[0], weight.shape[2:]
    if new <= pack:
        blocks = weight.reshape(channels, 3, new, pack // new, new, pack // new, *kernel).sum((3, 5)).flatten(1, 3)
    else:
        times = new // pack
        parts = weight.reshape(channels, 3, pack, 1, pack, 1, *kernel) / times**2
        blocks = parts.expand(-1, -1, -1, times, -1, times, -1, -1).reshape(channels, 3 * new**2, *kernel)
    stem.conv.weight.zero_()
    stem.conv.weight[:, : blocks.shape[1]] = blocks


def _from_level(source: Mapping[str, Tensor], level: int) -> dict[str, Tensor]:
    moved: dict[str, Tensor] = {}
    for key, tensor in source.items():
        if key.startswith(_DOWN):
            number, rest = key.removeprefix(_DOWN).split(".", 1)
            if int(number) >= level:
                moved[f"{_DOWN}{int(number) - level}.{rest}"] = tensor
        elif not key.startswith("encoder.stem."):
            moved[key] = tensor
    return moved
