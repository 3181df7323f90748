"""First values of a codebook: k-means centres of features (Lloyd 1982), seeded as Arthur & Vassilvitskii 2007.

Computed on the CPU in float32, so that the same cells and generator give the same codes on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adacode_cli.errors import TrainingError

# More cells a code cost time and hardly move a centre.
CELLS_PER_CODE = 64
_FEATURES_HINT = "Every category needs photographs: prepare more of those that have none."
# Rows of a distance table that exist at a time: 8 MB for 512 codes.
_CHUNK = 4096


@torch.no_grad()
def kmeans_codes(cells_NC: Tensor, num_codes: int, generator: torch.Generator, rounds: int = 10) -> Tensor:
    """num_codes×C float32 centres of cells, on their device.

    cells_NC: N×C, any float type and device; of several batches, so that codes fit more than one.
    At most CELLS_PER_CODE times num_codes of them are looked at, picked at random. generator: of the CPU; equal cells
    and generator states give equal codes. A centre that no cell is nearest to moves onto the cell that is
    farthest from all others, so no two codes are equal unless there are fewer distinct cells than codes.
    Raises TrainingError without any cell, and for cells that are not finite.
    """
    if len(cells_NC) == 0:
        raise TrainingError("there are no features to begin a codebook from", hint=_FEATURES_HINT)
    picks = torch.randperm(len(cells_NC), generator=generator)[: CELLS_PER_CODE * num_codes]
    cells = cells_NC[picks.to(cells_NC.device)].float().cpu().contiguous()
    if not bool(cells.isfinite().all()):
        raise TrainingError("the features that a codebook begins from are not finite", hint="Use precision fp32.")
    codes = _seeds(cells, num_codes, generator)
    for _ in range(rounds):
        nearest = _nearest(cells, codes)
        count = torch.bincount(nearest, minlength=num_codes).unsqueeze(1)
        total = torch.zeros_like(codes).index_add_(0, nearest, cells)
        codes = torch.where(count > 0, total / count.clamp(min=1), codes)
        _refill(codes, cells, count.squeeze(1) == 0)
    return codes.to(cells_NC.device)


def _seeds(cells: Tensor, num_codes: int, generator: torch.Generator) -> Tensor:
    """k-means++: every next centre is a cell, drawn in proportion to its square distance from those there are."""
    codes = cells.new_empty(num_codes, cells.shape[1])
    codes[0] = cells[0]
    apart = _square_distance(cells, codes[0])
    for i in range(1, num_codes):
        # With no distinct cell left, any will do.
        chance = apart if bool(apart.any()) else torch.ones_like(apart)
        codes[i] = cells[torch.multinomial(chance, 1, generator=generator)[0]]
        apart = torch.minimum(apart, _square_distance(cells, codes[i]))
    return codes


def _refill(codes: Tensor, cells: Tensor, empty: Tensor) -> None:
    """Moves the `empty` codes, one after another, onto the cell that is then farthest from all codes."""
    if not bool(empty.any()):
        return
    living = codes[~empty]
    apart = (cells - living[_nearest(cells, living)]).square().sum(1)
    for i in empty.nonzero().flatten():
        codes[i] = cells[apart.argmax()]
        apart = torch.minimum(apart, _square_distance(cells, codes[i]))


def _nearest(cells: Tensor, codes: Tensor) -> Tensor:
    norms = codes.square().sum(1)
    return torch.cat([torch.addmm(norms, part, codes.T, alpha=-2).argmin(1) for part in torch.split(cells, _CHUNK)])


def _square_distance(cells: Tensor, code: Tensor) -> Tensor:
    """N distances without cancellation: 0 for equal cells and for them alone, so that none is picked twice."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(cells, code.unsqueeze(0), compute_mode=exact).squeeze(1).square()
