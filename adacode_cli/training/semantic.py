"""The semantic term of stage I: codes from which a perceptual network's features of the picture can be told."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SemanticHead(nn.Module):
    """1×1 convolution and ReLU from code vectors to features of a perceptual network, for `semantic_loss` (stage I).

    B×in_channels×H×W → B×out_channels×H×W, at least 0, as the features are. Thrown away after training.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, codes_BCHW: Tensor) -> Tensor:
        features: Tensor = F.relu(self.conv(codes_BCHW))
        return features


def semantic_loss(predicted_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """MSE of a `SemanticHead`'s output to a perceptual network's features of the clean picture (stage I).

    Published: relu4_4 of VGG-19, 512 channels at 1/8 of the picture's sides. Channels must agree; where grids differ,
    the target is resampled to the prediction's, by area averages when no side grows and bilinearly otherwise. No
    gradient reaches the target.
    """
    target, grid = target_BCHW.detach().float(), predicted_BCHW.shape[-2:]
    if target.shape[-2:] != grid:
        if all(have >= want for have, want in zip(target.shape[-2:], grid, strict=True)):
            target = F.interpolate(target, grid, mode="area")
        else:
            target = F.interpolate(target, grid, mode="bilinear", align_corners=False)
    return F.mse_loss(predicted_BCHW.float(), target)
