"""Stage III: a restoring encoder learns to find, in a worn picture, the codes of the clean one (paper, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from adacode_cli.model.network import AdaCode
from adacode_cli.training.batches import Batch
from adacode_cli.training.contrast import contrastive_loss
from adacode_cli.training.losses import code_loss, feature_loss
from adacode_cli.training.stages import Ground, Passed, Stage


class RestoreStage(Stage):
    """One task's network over stage II's codebooks and decoder, which are frozen.

    `teacher` is the stage-II network; what it makes of the clean picture is the target of codes and features.
    """

    frozen = ("codebook.books.", "codebook.after.", "decoder.")

    def __init__(self, network: AdaCode, ground: Ground, teacher: AdaCode) -> None:
        super().__init__(network, ground)
        self.teacher = teacher.eval().requires_grad_(False).to(self.device)

    def code_terms(self, passed: Passed, batch: Batch) -> dict[str, Tensor]:
        """Features are drawn to the clean picture's codes, their mixture to its feature before the decoder."""
        with torch.no_grad():
            latent = self.teacher.encoder(batch.target_BCHW).latent_BCHW
            mixture = self.teacher.codebook(latent)
            books = self.teacher.codebook.books
            targets = [book.look_up(c) for book, c in zip(books, mixture.codes, strict=True)]  # type: ignore[operator]
        pairs = zip(passed.features, targets, strict=True)
        code = torch.stack([code_loss(f, t, self.loss.commitment) for f, t in pairs]).mean()
        terms = {"codebook": code, "feature": feature_loss(passed.mixed_BCHW, mixture.latent_BCHW)}
        if self.loss.contrastive:
            restored, clean = (x.float().mean((2, 3)) for x in (passed.latent_BCHW, latent))
            gather = self.processes.gather  # a picture is told apart from those of all processes
            terms["contrastive"] = contrastive_loss(gather(restored), gather(clean))
        return terms
