"""How a network changes its scale: convolutions over blocks of pixels are adapted to blocks of another size.

A ×4 network becomes a ×2 network. Its image is the ×4 image, halved by means of 2×2 pixels, but the ×4 image is never
computed. The end of a trunk is linear: a convolution, a pixel shuffle and the sum with the base image. Therefore the
means are taken of the last convolution's weights, and the rest of the network is unchanged. That costs as much
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

    On an image, the result gives what the given weight would give on that image enlarged by repetition (smaller
    blocks), or reduced by averages (larger blocks). Both sizes are powers of two.
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
    assert can_halve(config), "halving needs a base that means do not change, and a trunk, whose end is linear"
    assert config.trunk is not None, "as above"
    trunk = replace(config.trunk, shuffle=config.cell_px // 2)
    half = AdaCode(replace(config, scale=config.scale // 2, trunk=trunk))
    last = f"trunk.body.{2 * (config.trunk.depth - 1)}."
    tensors = {
        key: averaged_shuffle(tensor, config.cell_px) if key.startswith(last) else tensor
        for key, tensor in network.state_dict().items()
    }
    half.load_state_dict(tensors)
    # The inputs of all convolutions are the same, and means of pixels do not differ more than the pixels.
    half.ranges, half.int8_psnr_db = network.ranges, network.int8_psnr_db
    return half.eval().requires_grad_(False)
