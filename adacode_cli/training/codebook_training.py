"""What training does with codebooks and the network itself need not know: gradients, first values, dead codes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from adacode_cli.model.codebook import AdaptiveCodebook, Codebook

# A code is dead when it is chosen this much less often than an even spread would, and in use from the other on.
DEAD_SHARE = 0.02
USED_SHARE = 0.05


def straight_through(feature: Tensor, vector: Tensor) -> Tensor:
    """`vector` in value, `feature` in gradient (van den Oord et al. 2017, arXiv:1711.00937)."""
    return feature + (vector - feature).detach()


def codebook_loss(feature: Tensor, vector: Tensor, commitment: float) -> Tensor:
    """‖sg(vector) − feature‖²·commitment + ‖vector − sg(feature)‖², means over all elements, in float32."""
    feature, vector = feature.float(), vector.float()
    return commitment * F.mse_loss(feature, vector.detach()) + F.mse_loss(vector, feature.detach())


def quantise(codebook: AdaptiveCodebook, latent: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """latent B×C×H×W → for each basis: projected features, vectors of their nearest codes, codes B×H×W."""
    features = [before(latent).float() for before in codebook.before]
    with torch.no_grad():
        codes = [book.nearest(f) for book, f in zip(codebook.books, features, strict=True)]  # type: ignore[operator]
    vectors = [book.look_up(c) for book, c in zip(codebook.books, codes, strict=True)]  # type: ignore[operator]
    return features, vectors, codes


@torch.no_grad()
def kmeans_codes(book: Codebook, feature_BCHW: Tensor, rounds: int = 10) -> None:
    """Sets a codebook to k-means centres of live features; with fewer of them than codes, some codes are equal."""
    cells = _cells(feature_BCHW)
    weight = book.embedding.weight
    picks = torch.randperm(len(cells))[: len(weight)]
    weight.copy_(cells[picks.repeat(-(-len(weight) // len(picks)))[: len(weight)]])
    for _ in range(rounds):
        nearest = torch.cdist(cells, weight).argmin(1)
        count = torch.bincount(nearest, minlength=len(weight)).unsqueeze(1)
        total = torch.zeros_like(weight).index_add_(0, nearest, cells)
        weight.copy_(torch.where(count > 0, total / count.clamp(min=1), weight))


class CodeUsage:
    """How often each code of a basis was chosen lately, and new places for those that never are.

    The first updates are averaged evenly: an assumption about codes that nothing has chosen yet would hide for
    hundreds of steps that they are dead.
    """

    def __init__(self, num_codes: int, decay: float = 0.99) -> None:
        self.share = torch.full((num_codes,), 1.0 / num_codes)
        self.decay, self.updates = decay, 0

    def update(self, codes: Tensor) -> None:
        """Counts one batch's codes (integers, any shape)."""
        self.updates += 1
        count = torch.bincount(codes.flatten().cpu(), minlength=len(self.share)).float()
        self.share.lerp_(count / count.sum(), max(1 - self.decay, 1 / self.updates))

    @property
    def perplexity(self) -> float:
        """exp(entropy) of the shares: how many codes are in use, from 1 to their number."""
        p = self.share / self.share.sum()
        return float(torch.special.entr(p).sum().exp())

    @property
    def used(self) -> float:
        """Part of the codes chosen at least a twentieth as often as an even spread would."""
        return float((self.share > USED_SHARE / len(self.share)).float().mean())

    @torch.no_grad()
    def reseed_dead(self, book: Codebook, feature_BCHW: Tensor) -> int:
        """Moves codes that are (almost) never chosen onto random live features; returns how many.

        A moved code counts as barely alive, so that the next look finds out whether it was chosen meanwhile.
        """
        dead = (self.share < DEAD_SHARE / len(self.share)).nonzero().flatten()
        cells = _cells(feature_BCHW)
        dead = dead[: len(cells)]
        if len(dead):
            picks = torch.randperm(len(cells))[: len(dead)]
            book.embedding.weight[dead.to(cells.device)] = cells[picks]
            self.share[dead] = 2 * DEAD_SHARE / len(self.share)
        return len(dead)


def _cells(feature_BCHW: Tensor) -> Tensor:
    return feature_BCHW.permute(0, 2, 3, 1).flatten(0, 2).float()
