"""Stage III: a restoring encoder learns to find, in a worn picture, the codes of the clean one (paper, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from adacode_cli.model.input import base_picture, prepare_input
from adacode_cli.model.network import AdaCode, Trunk
from adacode_cli.training.batches import Batch
from adacode_cli.training.contrast import contrastive_loss
from adacode_cli.training.losses import code_loss, feature_loss
from adacode_cli.training.recipe import Learns
from adacode_cli.training.stages import Ground, Passed, Stage


class RestoreStage(Stage):
    """One task's network over stage II's codebooks and decoder, which are frozen.

    `teacher` is the stage-II network; what it makes of the clean picture is the target of codes and features.
    """

    frozen: tuple[str, ...] = ("codebook.books.", "codebook.after.", "decoder.")

    def __init__(self, network: AdaCode, ground: Ground, teacher: AdaCode, learns: Learns = "all") -> None:
        self._trunk = network.trunk if learns == "trunk" else None
        if self._trunk is not None:
            self.frozen = ("codebook.", "decoder.", "encoder.", "skips.", "trunk.join.")
        elif learns == "codes":
            self.frozen = (*self.frozen, "trunk.body.")
        super().__init__(network, ground)
        self._codes_added: bool | None = None
        self.teacher = teacher.eval().requires_grad_(False).to(self.device)

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """As of every stage; where the trunk alone learns, those of the picture alone."""
        if self._trunk is None:
            return super().losses(batch)
        prepared = prepare_input(batch.input_BCHW, self.network.config.base)
        picture = self._detail(self._trunk, prepared).float()
        base = base_picture(prepared, self.network.config.base, self.network.config.scale)
        picture = picture if base is None else picture + base
        return self.picture_terms(picture, picture, batch), picture

    def _detail(self, trunk: Trunk, prepared_BCHW: Tensor) -> Tensor:
        """What is added to the base. Codes that add nothing yet are not computed: half of the time of a step."""
        if not self._codes_add(trunk):
            return trunk.finish(trunk.begin(prepared_BCHW), None)
        return self.network.detail(prepared_BCHW).image_BCHW

    def _codes_add(self, trunk: Trunk) -> bool:
        """Asked once, as every answer waits for the device: where the trunk alone learns, the join is frozen."""
        if self._codes_added is None:
            self._codes_added = any(bool(parameter.any()) for parameter in trunk.join.parameters())
        return self._codes_added

    def report(self) -> dict[str, float]:
        """The use of codes, where they are chosen."""
        return super().report() if self._trunk is None else {}

    def code_terms(self, passed: Passed, batch: Batch) -> dict[str, Tensor]:
        """Features are drawn to the clean picture's codes, their mixture to its feature before the decoder."""
        with torch.no_grad():
            latent = self.teacher.encode(batch.target_BCHW).latent_BCHW
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
