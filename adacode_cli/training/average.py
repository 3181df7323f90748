"""The exponential moving average of what a stage trains: the weights that a run results in."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Average:
    """Averages of named tensors; young averages forget faster, so that first values leave no trace."""

    def __init__(self, values: Mapping[str, Tensor], decay: float) -> None:
        self.values = {name: v.detach().clone() for name, v in values.items()}
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, values: Mapping[str, Tensor]) -> None:
        """Moves the average towards `values`."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_([*self.values.values()], [values[name] for name in self.values], 1 - decay)
