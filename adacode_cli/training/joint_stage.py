"""Stages I and II at once: codebooks, and what mixes them, learnt together (an open direction of the paper)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from adacode_cli.training.batches import Batch
from adacode_cli.training.codebook_training import codebook_loss, count_codes
from adacode_cli.training.stages import MOST_FIRST_BATCHES, RESEED_EVERY, RESEED_UNTIL, Passed, Stage


class JointStage(Stage):
    """Stages I and II at once: every codebook learns too, but only pictures of its own category move its codes."""

    def _counted(self, k: int, codes_BHW: Tensor, batch: Batch) -> Tensor:
        assert batch.category_B is not None
        return count_codes(codes_BHW, len(self.usage[k].share), batch.category_B == k)

    def code_terms(self, passed: Passed, batch: Batch) -> dict[str, Tensor]:
        """Codebook terms, each basis for its category."""
        assert batch.category_B is not None
        pairs = enumerate(zip(passed.features, passed.vectors, strict=True))
        own = [codebook_loss(f, v, self.loss.commitment, batch.category_B == k) for k, (f, v) in pairs]
        return {"codebook": torch.stack(own).mean()}

    @torch.no_grad()
    def begin(self, draw: Callable[[int], Batch]) -> None:
        """k-means for every basis over features of its category."""
        found: list[list[Tensor]] = [[] for _ in self.usage]
        for i in range(MOST_FIRST_BATCHES):
            batch = draw(i)
            for k, cells in enumerate(found):
                cells.append(self._own(batch, k))
        for k, cells in enumerate(found):
            self._place_codes(k, torch.cat(cells))

    @torch.no_grad()
    def after_step(self, step: int, progress: float, batch: Batch) -> None:
        """As in stage I, for every basis."""
        if step % RESEED_EVERY == 0 and progress < RESEED_UNTIL:
            for k in range(len(self.usage)):
                self._move_dead_codes(k, self._own(batch, k))

    def _own(self, batch: Batch, k: int) -> Tensor:
        assert batch.category_B is not None
        return self._cells(batch, k, batch.category_B == k)
