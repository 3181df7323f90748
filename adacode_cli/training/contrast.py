"""The contrastive term of stage III: a restored picture's features lie nearer its own clean picture's than others'."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(restored_BC: Tensor, clean_BC: Tensor, temperature: float = 0.5) -> Tensor:
    """NT-Xent between restored and clean pictures (SimCLR: Chen et al. 2020, arXiv:2002.05709, equation 1).

    restored_BC, clean_BC: B×C of any float type, the features before quantisation of degraded and clean pictures,
    averaged over cells. Row i of one is the positive of row i of the other, the remaining 2B − 2 vectors its negatives;
    similarity is the cosine. float32 scalar, from 0 to 2/temperature + log(2B − 1). A single pair has no negatives:
    the loss is 0 and so is its gradient. Gradients reach both arguments.

    This is no mean over images of values of their own: with fewer negatives the loss is lower. Processes that share a
    batch gather their rows first.
    """
    with torch.autocast(restored_BC.device.type, enabled=False):
        pair = torch.cat((restored_BC, clean_BC)).float()
        unit = F.normalize(pair, dim=1, eps=1e-6)
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        similarity = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
        positive = torch.arange(len(unit), device=unit.device).roll(len(restored_BC))
        return F.cross_entropy(similarity, positive)
