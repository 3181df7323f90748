"""Loss terms that compare images or features. Each takes tensors of any float type and returns a float32 scalar.

Every term except the contrastive one is a mean over images of a value that depends on that image alone: the loss of a
batch is the mean of the losses of its equal parts, so several processes that share a batch train as one process would.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Prevents 0/0, which is NaN; it is far below the power of any feature.
_TINY = 1e-24
# In `feature_loss` the plain difference has a quarter of the weight of the style (published settings).
_PLAIN = 0.25
# Side in periods of the areas in which a repeated pattern is measured.
_REGION = 4
# Of the loss of tints: pixels that count along the inner border of a hole, and side of the areas that are averaged.
_BORDER_PX, _TINT_PX = 16, 8


def pixel_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference."""
    return F.l1_loss(output.float(), target.float())


def hole_pixel_loss(output: Tensor, target: Tensor, hole: Tensor, outside: float = 0.1) -> Tensor:
    """Mean absolute difference inside holes, plus `outside` times that of the rest, each within every image.

    output, target: B×C×H×W; hole: B×1×H×W in [0, 1], 1 inside. A small hole has the same weight as a large one; an
    image without a hole adds 0 to the first part.
    """
    difference = (output.float() - target.float()).abs().mean(1, keepdim=True)
    inside, rest = hole.float(), 1 - hole.float()
    apart = [(difference * part).sum((1, 2, 3)) / part.sum((1, 2, 3)).clamp(min=1) for part in (inside, rest)]
    return (apart[0] + outside * apart[1]).mean()


def tint_loss(output: Tensor, target: Tensor, hole: Tensor) -> Tensor:
    """Mean absolute difference of colours averaged over areas of 8×8 pixels, along the inner border of holes.

    output, target: B×C×H×W; hole: B×1×H×W, 1 inside. Only hole pixels within 16 px of a known one count. A fill of a
    slightly wrong colour is little to the pixel loss, whose largest part is texture that nothing can predict, but the
    eye sees it at once beside the known pixels. An image without a hole adds 0.
    """
    known = 1 - hole.float()
    border = F.max_pool2d(known, 2 * _BORDER_PX + 1, 1, _BORDER_PX) - known
    difference = (output.float() - target.float()) * border
    share = F.avg_pool2d(border, _TINT_PX, ceil_mode=True)
    tints = F.avg_pool2d(difference, _TINT_PX, ceil_mode=True).abs().mean(1, keepdim=True)
    return (tints.sum((1, 2, 3)) / share.sum((1, 2, 3)).clamp(min=_TINT_PX**-2)).mean()


def grid_loss(output: Tensor, target: Tensor, period: int) -> Tensor:
    """Mean absolute strength of a pattern of `period` pixels in the difference of two B×C×H×W images.

    In areas of `_REGION` periods a side the difference is averaged over all places of the same phase; after
    subtraction of its mean over phases, only a pattern remains that repeats from cell to cell: a pixel shuffle makes
    such patterns, photographs do not have them. They are too faint for the pixel loss and too fine for perceptual
    networks, whose strides skip them, but visible on even surfaces. For an image of less than one period it is 0.
    """
    b, c, h, w = output.shape
    region = min(_REGION, h // period, w // period)
    if region == 0:
        return (output.float() - target.float()).sum() * 0
    side = region * period
    rows, columns = h // side, w // side
    difference = (output.float() - target.float())[..., : rows * side, : columns * side]
    phases = difference.reshape(b, c, rows, region, period, columns, region, period).mean((3, 6))
    return (phases - phases.mean((3, 5), keepdim=True)).abs().mean()


def gram(feature_BCHW: Tensor) -> Tensor:
    """B×C×C channel correlations, mean over cells, in float32 also within autocast.

    A product in bf16 would have errors as large as the differences that the loss measures.
    """
    with torch.autocast(feature_BCHW.device.type, enabled=False):
        x = feature_BCHW.float().flatten(2)
        return x @ x.transpose(1, 2) / x.shape[2]


def feature_loss(feature: Tensor, target: Tensor) -> Tensor:
    """0.25·MSE + Gram MSE to the clean image's feature before the decoder (stage III), both relative to its power.

    B×C×H×W each; no gradient reaches `target`. `_relative_mse` defines what relative means; the maximum is 0.25·4 + 2.
    """
    return (_PLAIN * _relative_mse(feature, target) + _relative_mse(gram(feature), gram(target))).mean()


def code_loss(feature: Tensor, target_code_vectors: Tensor, commitment: float) -> Tensor:
    """commitment·MSE + Gram MSE to the codes of the clean image: the codebook loss of stage III.

    feature: B×C×H×W before quantisation; target_code_vectors: B×C×H×W, no gradient reaches them. The first part is
    not relative, as the commitment part of `codebook_loss`, because distances to codes decide which code is chosen. The
    second is relative to the power of the target's Gram matrix, as in `feature_loss`: otherwise it would grow with the
    fourth power of the codes' scale, and its weight would depend on the scale that stage I has learnt.
    """
    target = target_code_vectors.detach().float()
    return commitment * F.mse_loss(feature.float(), target) + _relative_mse(gram(feature), gram(target)).mean()


def _relative_mse(x: Tensor, target: Tensor) -> Tensor:
    """B values: each image's mean square difference, divided by the power of its target or, if that is more, of `x`.

    With the target's power alone, crops of dark flat sky would dominate the loss while the prediction is inaccurate:
    their features have a fiftieth of the usual power, and their Gram matrices a thousandth. No gradient passes through
    the divisor, so it cannot be used to lower the loss.
    """
    x, target = x.float().flatten(1), target.detach().float().flatten(1)
    unit = torch.maximum(target.square().mean(1), x.detach().square().mean(1))
    return (x - target).square().mean(1) / unit.clamp(min=_TINY)


class SemanticHead(nn.Module):
    """1×1 convolution and ReLU from code vectors to features of a perceptual network, for `semantic_loss` (stage I).

    B×in_channels×H×W → B×out_channels×H×W, at least 0, as the features are. It is not part of the resulting weights.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, codes_BCHW: Tensor) -> Tensor:
        features: Tensor = F.relu(self.conv(codes_BCHW))
        return features


def semantic_loss(predicted_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """MSE of a `SemanticHead`'s output to a perceptual network's features of the clean image (stage I).

    Published: relu4_4 of VGG-19, 512 channels at 1/8 of the image's sides. Channels must agree; where grids differ,
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


def contrastive_loss(restored_BC: Tensor, clean_BC: Tensor, temperature: float = 0.5) -> Tensor:
    """NT-Xent between restored and clean images (SimCLR: Chen et al. 2020, arXiv:2002.05709, equation 1).

    restored_BC, clean_BC: B×C of any float type, the features before quantisation of degraded and clean images,
    averaged over cells. Row i of one is the positive of row i of the other, the remaining 2B − 2 vectors its negatives;
    similarity is the cosine. float32 scalar, from 0 to 2/temperature + log(2B − 1). A single pair has no negatives:
    the loss is 0 and so is its gradient. Gradients reach both arguments.

    It is not a mean of independent values of images: with fewer negatives the loss is lower. Therefore processes that
    share a batch gather their rows first.
    """
    with torch.autocast(restored_BC.device.type, enabled=False):
        pair = torch.cat((restored_BC, clean_BC)).float()
        unit = F.normalize(pair, dim=1, eps=1e-6)
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        similarity = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
        positive = torch.arange(len(unit), device=unit.device).roll(len(restored_BC))
        return F.cross_entropy(similarity, positive)
