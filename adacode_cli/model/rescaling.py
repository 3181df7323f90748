"""How a network changes its scale: convolutions over blocks of pixels, made to fit blocks of another size.

A network of ×4 becomes one of ×2 whose image is that of ×4, each side halved by means of 2×2 pixels, without making
the whole of it. What a trunk ends with is linear: a convolution, a pixel shuffle and the sum with the base image. So
the means are taken of the last convolution's weights, and the network computes all else as it did. That costs as much
for each pixel of the input as ×4 does, four times as much for each pixel of the output.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode


def repacked(weight: Tensor, pack: int, new: int) -> Tensor:
    """C×(3·pack²)×h×w, for blocks of pack×pack RGB pixels → C×(3·new²)×h×w, for blocks of new×new; the dtype stays.

    Shown an image, the result answers as the given weight would on that image enlarged by repetition (smaller blocks),
    or made smaller by averages (larger blocks). Both sizes are powers of two.
    """
    channels, kernel = weight.shape[0], weight.shape[2:]
    if new <= pack:
        return weight.reshape(channels, 3, new, pack // new, new, pack // new, *kernel).sum((3, 5)).flatten(1, 3)
    times = new // pack
    parts = weight.reshape(channels, 3, pack, 1, pack, 1, *kernel) / times**2
    return parts.expand(-1, -1, -1, times, -1, times, -1, -1).reshape(channels, 3 * new**2, *kernel)


def averaged_shuffle(weight: Tensor, shuffle: int) -> Tensor:
    """(3·shuffle²)×…, for blocks of shuffle×shuffle RGB pixels → (3·(shuffle/2)²)×…, whose pixels are means of four.

    For the weight of a last convolution and for its bias. `shuffle` is even.
    """
    half = shuffle // 2
    return weight.reshape(3, half, 2, half, 2, *weight.shape[1:]).mean((2, 4)).reshape(3 * half**2, *weight.shape[1:])


def can_halve(config: NetworkConfig) -> bool:
    """Whether `halved` takes networks of this configuration."""
    return config.trunk is not None and config.base == "nearest" and config.scale % 2 == 0


@torch.no_grad()
def halved(network: AdaCode) -> AdaCode:
    """The same network for half its scale, in evaluation mode. `can_halve` has to be true of its configuration."""
    config = network.config
    assert can_halve(config), "a base that means leave as it is, and a trunk, which ends with what is linear"
    assert config.trunk is not None, "as above"
    trunk = replace(config.trunk, shuffle=config.cell_px // 2)
    half = AdaCode(replace(config, scale=config.scale // 2, trunk=trunk))
    last = f"trunk.body.{2 * (config.trunk.depth - 1)}."
    tensors = {
        key: averaged_shuffle(tensor, config.cell_px) if key.startswith(last) else tensor
        for key, tensor in network.state_dict().items()
    }
    half.load_state_dict(tensors)
    return half.eval().requires_grad_(False)
