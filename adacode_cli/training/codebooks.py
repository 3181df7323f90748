"""What only training does with codebooks: initial values, gradients, usage, dead codes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from adacode_cli.errors import TrainingError
from adacode_cli.model.codebook import AdaptiveCodebook, Codebook

# A code is dead below the first share of an even distribution, and in use from the second share on.
DEAD_SHARE = 0.02
USED_SHARE = 0.05
# If a smaller part of its codes is in use, a basis is larger than its training data need.
HEALTHY_USE = 0.5
# More cells for each code cost time and hardly move a centre.
CELLS_PER_CODE = 64
_FEATURES_HINT = "Every category needs photographs: prepare more of those that have none."
# Rows of a distance table that exist at a time: 8 MB for 512 codes.
_CHUNK = 4096


@torch.no_grad()
def kmeans_codes(cells_NC: Tensor, num_codes: int, generator: torch.Generator, rounds: int = 10) -> Tensor:
    """num_codes×C float32 centres of cells, on their device.

    cells_NC: N×C, any float type and device; of several batches, so that codes do not fit only one.
    At most CELLS_PER_CODE times num_codes of them are used, picked at random. generator: of the CPU; equal cells
    and generator states give equal codes. A centre to which no cell is nearest moves onto the cell that is
    farthest from all others, so no two codes are equal unless there are fewer distinct cells than codes.
    Raises TrainingError without any cell, and for cells that are not finite.
    """
    if len(cells_NC) == 0:
        raise TrainingError("there are no features for the initial codes of a codebook", hint=_FEATURES_HINT)
    picks = torch.randperm(len(cells_NC), generator=generator)[: CELLS_PER_CODE * num_codes]
    cells = cells_NC[picks.to(cells_NC.device)].float().cpu().contiguous()
    if not bool(cells.isfinite().all()):
        raise TrainingError(
            "the features for the initial codes of a codebook are not finite", hint="Use precision fp32."
        )
    codes = _seeds(cells, num_codes, generator)
    for _ in range(rounds):
        nearest = _nearest(cells, codes)
        count = torch.bincount(nearest, minlength=num_codes).unsqueeze(1)
        total = torch.zeros_like(codes).index_add_(0, nearest, cells)
        codes = torch.where(count > 0, total / count.clamp(min=1), codes)
        _refill(codes, cells, count.squeeze(1) == 0)
    return codes.to(cells_NC.device)


def _seeds(cells: Tensor, num_codes: int, generator: torch.Generator) -> Tensor:
    """k-means++: every next centre is a cell, drawn with a probability proportional to its squared distance from the
    earlier ones.
    """
    codes = cells.new_empty(num_codes, cells.shape[1])
    codes[0] = cells[0]
    apart = _square_distance(cells, codes[0])
    for i in range(1, num_codes):
        # If no distinct cell is left, any cell can be taken.
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
    """N distances without cancellation: 0 exactly for equal cells, so that none is picked twice."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(cells, code.unsqueeze(0), compute_mode=exact).squeeze(1).square()


def quantise(
    codebook: AdaptiveCodebook, latent: Tensor, levels: int = 1
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """latent B×C×H×W → for each basis: projected features, vectors of their nearest codes, codes B×H×W.

    levels: vectors are of that number of levels, codes of the first.
    """
    features = [before(latent).float() for before in codebook.before]
    scales, pairs = codebook.scales[:levels], zip(codebook.books, features, strict=True)
    with torch.no_grad():
        codes = [book.quantise(f, scales) for book, f in pairs]  # type: ignore[operator]
    vectors = codebook.vectors([c for level in zip(*codes, strict=True) for c in level])
    return features, vectors, [levels_of_basis[0] for levels_of_basis in codes]


def straight_through(feature: Tensor, vector: Tensor) -> Tensor:
    """`vector` in value, `feature` in gradient (van den Oord et al. 2017, arXiv:1711.00937)."""
    return feature + (vector - feature).detach()


def codebook_loss(feature: Tensor, vector: Tensor, commitment: float, own_B: Tensor | None = None) -> Tensor:
    """‖sg(vector) − feature‖²·commitment + ‖vector − sg(feature)‖², means over all elements, in float32.

    feature, vector: B×C×H×W. own_B: B, bool or float in [0, 1]. Where given, the second part, which moves the codes,
    is the mean over all B images of own · value: images of other categories do not move the codes of a basis. The first
    part counts every image.
    """
    feature, vector = feature.float(), vector.float()
    moving = (vector - feature.detach()).square().flatten(1).mean(1)
    if own_B is not None:
        moving = moving * own_B.float()
    return commitment * F.mse_loss(feature, vector.detach()) + moving.mean()


def count_codes(codes: Tensor, num_codes: int, own_B: Tensor | None = None) -> Tensor:
    """How often each code occurs in integers of any shape: num_codes float32 on their device, without waiting for it.

    own_B: bool, which of the first dimension count; all if None. Exact up to 2²⁴ of a code; counts of several
    processes may be summed before `CodeUsage.update_counts`.
    """
    counted = torch.ones(codes.shape, device=codes.device)
    if own_B is not None:
        counted *= own_B.view(-1, *(1,) * (codes.ndim - 1))
    return torch.zeros(num_codes, device=codes.device).index_add_(0, codes.flatten(), counted.flatten())


class CodeUsage:
    """How often each code of a basis was chosen recently, and new places for codes that are never chosen.

    The first updates are averaged evenly: with an initial assumption, dead codes would not be noticed for hundreds of
    steps. Updates do not wait for `device`, which is the one that the codes are on; after an update, the first reading
    copies the shares from there, once.
    """

    def __init__(self, num_codes: int, decay: float = 0.99, device: torch.device | str = "cpu") -> None:
        self.share = torch.full((num_codes,), 1.0 / num_codes, device=device)
        self.updates = torch.zeros((), device=device)
        self.decay = decay
        self._read: Tensor | None = None

    def update_counts(self, counts: Tensor) -> None:
        """Takes in how often each code was chosen in a step: num_codes numbers. If all counts are 0, the step is
        ignored.
        """
        counts = counts.to(self.share)
        total = counts.sum()
        some = (total > 0).to(self.share)
        self.updates += some
        pace = (1 / self.updates.clamp(min=1)).clamp(min=1 - self.decay) * some
        self.share += pace * (counts / total.clamp(min=1) - self.share)
        self._read = None

    def state(self) -> Tensor:
        """All that `load` needs to continue from here: num_codes + 1 float32 numbers on the CPU, a copy."""
        return torch.cat((self.share, self.updates.unsqueeze(0))).cpu().clone()

    def load(self, state: Tensor) -> None:
        """Continues from a `state()`. Raises TrainingError if that had another number of codes."""
        if state.shape != (len(self.share) + 1,):
            what = f"the use of {state.numel() - 1} codes was recorded, but the basis has {len(self.share)}"
            raise TrainingError(what, hint="Continue a run with the settings that it began with.")
        self.share.copy_(state[:-1])
        self.updates.copy_(state[-1])
        self._read = None

    @property
    def perplexity(self) -> float:
        """exp(entropy) of the shares: how many codes are in use, from 1 to their number."""
        share = self._shares()
        return float(torch.special.entr(share / share.sum()).sum().exp())

    @property
    def used(self) -> float:
        """Share of the codes that are chosen at least a twentieth as often as in an even distribution."""
        share = self._shares()
        return float((share > USED_SHARE / len(share)).float().mean())

    def _shares(self) -> Tensor:
        if self._read is None:
            self._read = self.share.cpu().clone()
        return self._read

    @torch.no_grad()
    def reseed_dead(self, book: Codebook, cells_NC: Tensor, generator: torch.Generator) -> int:
        """Moves codes that are (almost) never chosen onto random live features; returns how many.

        cells_NC: N×C features of this basis. generator: of the CPU; equal shares, cells and generator states move
        equal codes to equal places, so processes with the same codes stay equal. A moved code counts as barely
        alive, so that the next check shows whether it has been chosen since. Waits for the device.
        """
        dead = (self.share < DEAD_SHARE / len(self.share)).nonzero().flatten()[: len(cells_NC)]
        if len(dead):
            picks = torch.randperm(len(cells_NC), generator=generator)[: len(dead)]
            weight = book.embedding.weight
            weight[dead.to(weight.device)] = cells_NC[picks.to(cells_NC.device)].to(weight)
            self.share[dead] = 2 * DEAD_SHARE / len(self.share)
            self._read = None
        return len(dead)


def health_warning(name: str, used: float, num_codes: int) -> str | None:
    """A warning for a basis that uses less than half of its codes, with what to do; None for other bases.

    name: the basis as the user calls it; used: `CodeUsage.used`, 0 to 1.
    """
    if used >= HEALTHY_USE:
        return None
    living = max(1, round(used * num_codes))
    enough = 1 << (living - 1).bit_length()
    return (
        f"the basis {name} uses {living} of its {num_codes} codes ({used:.0%}). Train it for more steps, on more "
        f"photographs of that category, or give it fewer codes (`--codes`; {enough} would be enough for those in use)."
    )
