"""The picture that a network's output is added to, so that its weights are spent on what interpolation lacks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from adacode_cli.model.config import Base

_TINY = 1e-6


def fill_holes(image_BCHW: Tensor, hole_B1HW: Tensor) -> Tensor:
    """Holes filled smoothly from their surroundings by a pull-push pyramid (Gortler et al. 1996, "The Lumigraph").

    image: float, any range; hole: 1 inside the hole, 0 outside. Known pixels come back unchanged. A picture that
    is all hole comes back as zeros.
    """
    known = 1 - hole_B1HW
    image, pyramid = image_BCHW * known, []
    while max(image.shape[-2:]) > 1:
        pyramid.append((image, known))
        h, w = image.shape[-2:]
        pad = (0, w % 2, 0, h % 2)
        weight = F.avg_pool2d(F.pad(known, pad), 2) * 4
        mean = F.avg_pool2d(F.pad(image, pad), 2) * 4 / weight.clamp(min=_TINY)
        known = weight.clamp(max=1)
        image = mean * known
    filled = image / known.clamp(min=_TINY)
    for fine, weight in reversed(pyramid):
        up = F.interpolate(filled, scale_factor=2, mode="bilinear", align_corners=False)
        filled = fine + (1 - weight) * up[..., : fine.shape[-2], : fine.shape[-1]]
    return filled


def prepare_input(image_BCHW: Tensor, kind: Base) -> Tensor:
    """What the encoder sees. Holes of a B×4×H×W input (fourth channel: 1 = hole) are filled when `kind` says so."""
    if kind != "filled":
        return image_BCHW
    image, hole = image_BCHW[:, :3], image_BCHW[:, 3:]
    return torch.cat((fill_holes(image, hole), hole), 1)


def halve(image_BCHW: Tensor) -> Tensor:
    """B×4×H×W (fourth channel: 1 = hole) → B×4×⌈H/2⌉×⌈W/2⌉: means of what is known of four pixels.

    Where all four are in the hole (or outside the picture) there is still a hole, and the picture is zero.
    """
    h, w = image_BCHW.shape[-2:]
    known = F.pad(1 - image_BCHW[:, 3:], (0, w % 2, 0, h % 2))
    image = F.pad(image_BCHW[:, :3], (0, w % 2, 0, h % 2))
    weight = F.avg_pool2d(known, 2)
    hole = (weight <= 0).to(image.dtype)
    return torch.cat((F.avg_pool2d(image * known, 2) / weight.clamp(min=_TINY) * (1 - hole), hole), 1)


def fill_from(image_BCHW: Tensor, half_BCHW: Tensor) -> Tensor:
    """`prepare_input` with the holes filled from a B×3×⌈H/2⌉×⌈W/2⌉ picture, enlarged; known pixels as they are."""
    image, hole = image_BCHW[:, :3], image_BCHW[:, 3:]
    up = F.interpolate(half_BCHW, scale_factor=2, mode="bilinear", align_corners=False)
    h, w = image.shape[-2:]
    return torch.cat((image * (1 - hole) + up[..., :h, :w] * hole, hole), 1)


def base_picture(prepared_BCHW: Tensor, kind: Base, scale: int) -> Tensor | None:
    """B×3×(H·scale)×(W·scale) picture to add the network's output to, or None."""
    if kind == "none":
        return None
    image = prepared_BCHW[:, :3]
    if scale == 1:
        return image
    if kind == "nearest":
        return F.interpolate(image, scale_factor=scale, mode="nearest")
    return F.interpolate(image, scale_factor=scale, mode="bicubic", align_corners=False)
