"""Padding to whole windows of the latent grid, at the bottom and the right, by mirroring with the edge repeated."""

from __future__ import annotations

import torch
from torch import Tensor

from adacode_cli.model.config import NetworkConfig


def reference_size(size: int, multiple: int) -> int:
    """Padded side of the reference function: always at least one pixel more, a full `multiple` where it already fits.

    The amount matters where GroupNorm sees it (recorded reference outputs).
    """
    return (size // multiple + 1) * multiple


def lean_size(size: int, multiple: int) -> int:
    """The least multiple that holds `size`: what our own families use, as nothing in them depends on the amount."""
    return -(-size // multiple) * multiple


def padded_size(config: NetworkConfig, height: int, width: int) -> tuple[int, int]:
    """Sides of the padded input of an image of height × width input pixels."""
    grow = reference_size if config.norm == "group" else lean_size
    return grow(height, config.pad_multiple), grow(width, config.pad_multiple)


def mirror_index(size: int, padded: int, device: torch.device | None = None) -> Tensor:
    """int64 indices 0 … size-1, then mirrored … as often as needed: a b c → a b c c b a a b …"""
    i = torch.arange(padded, device=device) % (2 * size)
    return torch.where(i < size, i, 2 * size - 1 - i)


def pad_mirrored(image_BCHW: Tensor, height: int, width: int) -> Tensor:
    """B×C×H×W → B×C×height×width, mirrored at the bottom and the right as often as it takes."""
    h, w = image_BCHW.shape[-2:]
    rows, columns = (mirror_index(*sides, image_BCHW.device) for sides in ((h, height), (w, width)))
    return image_BCHW.index_select(2, rows).index_select(3, columns)
