"""Super-resolution with a trunk small enough for tests, and files of such trunks as Real-ESRGAN lays them out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tiny_families import CATEGORIES
from tiny_recipes import FAMILY
from torch import Tensor, nn

from adacode_cli.model.config import NetworkConfig, TrunkConfig

TRUNK = TrunkConfig(depth=5, tap=2, join=3)
TRUNKED = replace(FAMILY, trunk=TRUNK)


def trunked(scale: int) -> NetworkConfig:
    """The packed family's network for super-resolution, with a trunk."""
    return TRUNKED.restoring("sr", scale, TRUNKED.clean(CATEGORIES))


def plain_trunk(depth: int = TRUNK.depth, width: int = 16, seed: int = 0) -> nn.Sequential:
    """Convolutions with PReLU in between, of random values: from an image to 48 numbers for each of its pixels."""
    generator = torch.Generator().manual_seed(seed)
    widths = [3, *[width] * (depth - 1), 48]
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Conv2d(widths[i], widths[i + 1], 3, padding=1), nn.PReLU(width)]
    body = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for parameter in body.parameters():
            spread = 0.1 if parameter.ndim == 1 else 1.3 / parameter[0].numel() ** 0.5
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return body.requires_grad_(False)


def enlarged(body: nn.Sequential, image_BCHW: Tensor) -> Tensor:
    """What Real-ESRGAN's network makes of an image, at four times the size."""
    return F.pixel_shuffle(body(image_BCHW), 4) + F.interpolate(image_BCHW, scale_factor=4, mode="nearest")


def trunk_state(body: nn.Sequential) -> dict[str, Tensor]:
    """The tensors by the names of Real-ESRGAN's files."""
    return {f"body.{key}": tensor.clone() for key, tensor in body.state_dict().items()}


def save_trunk(path: Path, state: dict[str, Tensor], about: dict[str, str] | None = None) -> Path:
    """A `.safetensors` with words about it, or a `.pth` as BasicSR writes it; returns the path."""
    if path.suffix == ".safetensors":
        save_file(state, path, about)
    else:
        torch.save({"params": state}, path)
    return path
