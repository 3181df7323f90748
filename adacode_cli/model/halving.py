"""A network of ×4 as one of ×2: its picture, each side halved by means of 2×2 pixels, without making the whole of it.

What a trunk ends with is linear: a convolution, a pixel shuffle and the sum with the base picture. So the means are
taken of the last convolution's weights, and the network computes all else as it did. That costs as much for each pixel
of the input as ×4 does, four times as much for each pixel of the output.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.model.packing import averaged_shuffle


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
