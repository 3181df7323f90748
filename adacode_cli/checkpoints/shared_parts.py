"""What all tasks of a family share, compared bit for bit: codebooks, and what turns codes into pictures.

A family's files hold these parts once. A task that was trained over other ones would silently show other pictures
than it was trained for, so nothing here is compared approximately.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from adacode_cli.checkpoints.format import Part, part_of


def differing(state: Mapping[str, Tensor], shared: Mapping[str, Tensor], parts: tuple[Part, ...]) -> list[str]:
    """Sorted keys of these parts that only one of the two has, or whose float32 tensors are not the same bits."""
    keys = {key for key in (*state, *shared) if part_of(key) in parts}
    return sorted(k for k in keys if k not in state or k not in shared or not _same_bits(state[k], shared[k]))


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.view(torch.int32), b.view(torch.int32))
