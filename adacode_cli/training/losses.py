"""Loss terms of the three stages. Each takes tensors of any float type and returns a float32 scalar."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_TINY = 1e-6


def pixel_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference."""
    return F.l1_loss(output.float(), target)


def hole_pixel_loss(output: Tensor, target: Tensor, hole: Tensor, outside: float = 0.1) -> Tensor:
    """Mean absolute difference inside holes, plus `outside` times that of the rest."""
    difference = (output.float() - target).abs().mean(1, keepdim=True)
    inside = (difference * hole).sum() / hole.sum().clamp(min=1)
    rest = (difference * (1 - hole)).sum() / (1 - hole).sum().clamp(min=1)
    return inside + outside * rest


def gram(feature_BCHW: Tensor) -> Tensor:
    """B×C×C channel correlations, mean over cells, in float32 also within autocast.

    A product in bf16 would have errors as large as the differences that the loss is about.
    """
    with torch.autocast(feature_BCHW.device.type, enabled=False):
        x = feature_BCHW.float().flatten(2)
        return x @ x.transpose(1, 2) / x.shape[2]


def feature_loss(feature: Tensor, target: Tensor) -> Tensor:
    """0.25·MSE + Gram MSE to the clean image's feature before the decoder (stage III), both relative to its power."""
    feature, target = feature.float(), target.float()
    wanted = gram(target)
    plain = F.mse_loss(feature, target) / target.square().mean().clamp(min=_TINY)
    style = F.mse_loss(gram(feature), wanted) / wanted.square().mean().clamp(min=_TINY)
    return 0.25 * plain + style
