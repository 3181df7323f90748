"""A network whose weights have a short precision once and for all.

Autocast would round every weight again at every call, for every tile, and take each LayerNorm to float32 and back:
a fifth of the time of a published network on a CPU.
"""

from __future__ import annotations

from copy import deepcopy

import torch

from adacode_cli.model.blocks import GroupNorm
from adacode_cli.model.codebook import Codebook
from adacode_cli.model.network import AdaCode


def rounded(network: AdaCode, dtype: torch.dtype) -> AdaCode:
    """A copy that computes in `dtype`; its input and its picture stay float32.

    Codebooks and GroupNorm keep float32 weights: codes are searched in float32, and what a map is normalised by is
    computed in float64 and applied in float32.
    """
    copy = deepcopy(network).to(dtype)
    for ours, theirs in zip(copy.modules(), network.modules(), strict=True):
        if isinstance(ours, Codebook | GroupNorm):
            ours.to(torch.float32).load_state_dict(theirs.state_dict())
    return copy
