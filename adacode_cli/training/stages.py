"""The three stages as the loop sees them: a network, what of it learns, and the loss of a batch (paper, section 3)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from adacode_cli.model.base import base_picture, prepare_input
from adacode_cli.model.codebook import Codebook
from adacode_cli.model.network import AdaCode
from adacode_cli.model.perceptual import Lpips
from adacode_cli.training.batches import Batch
from adacode_cli.training.codebook_training import CodeUsage, codebook_loss, kmeans_codes, quantise, straight_through
from adacode_cli.training.losses import feature_loss, hole_pixel_loss, pixel_loss
from adacode_cli.training.settings import LossWeights

# Offsets of a crop on each axis before it is compared by perception; the deepest features step by 16 pixels.
PHASES = 8
RESEED_EVERY = 100
# Later the averaged weights would keep a moved code somewhere between its old place and its new one.
RESEED_UNTIL = 0.8


class Stage:
    """Common to all stages: the network runs with straight-through codes, pixels and perception are compared."""

    frozen: tuple[str, ...] = ()

    def __init__(self, network: AdaCode, weights: LossWeights, perceptual: Lpips | None) -> None:
        self.network = network
        self.weights = weights
        self.perceptual = perceptual
        self.usage = [CodeUsage(n) for n, _ in network.config.codebooks]
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not (self.frozen and name.startswith(self.frozen)))

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that this stage trains."""
        return [p for p in self.network.parameters() if p.requires_grad]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Unweighted loss terms of a batch, by the names of `LossWeights`."""
        net, config = self.network, self.network.config
        prepared = prepare_input(batch.input_BCHW, config.base)
        encoded = net.encoder(prepared)
        features, vectors, codes = quantise(net.codebook, encoded.latent_BCHW)
        for usage, c in zip(self.usage, codes, strict=True):
            usage.update(c)
        through = [straight_through(f, v) for f, v in zip(features, vectors, strict=True)]
        mixed = net.codebook.mix(through, net.codebook.weights(encoded.latent_BCHW))
        output = net.render(mixed, encoded.skips).float()
        base = base_picture(prepared, config.base, config.scale)
        output = output if base is None else output + base
        terms = self.picture_terms(output, batch)
        return terms | self.code_terms(batch, features, vectors, mixed)

    def picture_terms(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Pixel and perceptual terms; inside a hole, the pixels around it are the known ones."""
        target, hole = batch.target_BCHW, batch.hole_B1HW
        if hole is None:
            terms = {"pixel": pixel_loss(output, target)}
        else:
            terms = {"pixel": hole_pixel_loss(output, target, hole)}
            output = output * hole + target * (1 - hole)
        if self.perceptual is not None and self.weights.perceptual:
            terms["perceptual"] = self._perceptual_term(output, target)
        return terms

    def _perceptual_term(self, output: Tensor, target: Tensor) -> Tensor:
        # The feature network looks at every second pixel, then at every fourth. A random phase keeps the loss from
        # depending on where a crop begins; whether it helps against a mesh of four pixels is not settled (docs/log.md).
        assert self.perceptual is not None
        y, x = (int(v) for v in torch.randint(PHASES, (2,)))
        distances: Tensor = self.perceptual(output[..., y:, x:], target[..., y:, x:])
        return distances.mean()

    def code_terms(
        self, batch: Batch, features: list[Tensor], vectors: list[Tensor], mixed: Tensor
    ) -> dict[str, Tensor]:
        """Codebook terms; `batch` and `mixed` serve the stages that compare with a clean picture's codes."""
        del batch, mixed
        pairs = zip(features, vectors, strict=True)
        return {"codebook": torch.stack([codebook_loss(f, v, self.weights.commitment) for f, v in pairs]).mean()}

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Σ weight · term."""
        return torch.stack([getattr(self.weights, name) * term for name, term in terms.items()]).sum()

    @torch.no_grad()
    def begin(self, batch: Batch) -> None:
        """Called once, before the first step, with a batch of its own."""

    @torch.no_grad()
    def after_step(self, step: int, progress: float, batch: Batch) -> None:
        """Called after every step (from 1); `progress` is how much of the run is done, from 0 to 1."""

    def report(self) -> dict[str, float]:
        """Code usage for the log: mean perplexity and mean share of codes in use."""
        num = len(self.usage)
        return {
            "perplexity": sum(u.perplexity for u in self.usage) / num,
            "used": sum(u.used for u in self.usage) / num,
        }


class BasisStage(Stage):
    """Stage I: an autoencoder over one codebook, for one category."""

    @torch.no_grad()
    def begin(self, batch: Batch) -> None:
        """k-means over the first features, so that every code starts where features are."""
        kmeans_codes(self._book, self._features(batch))

    @torch.no_grad()
    def after_step(self, step: int, progress: float, batch: Batch) -> None:
        """Codes that nothing chooses move onto features of this batch, until late in the run."""
        if step % RESEED_EVERY == 0 and progress < RESEED_UNTIL:
            self.usage[0].reseed_dead(self._book, self._features(batch))

    @property
    def _book(self) -> Codebook:
        book = self.network.codebook.books[0]
        assert isinstance(book, Codebook), "a basis network has one codebook"
        return book

    def _features(self, batch: Batch) -> Tensor:
        features: Tensor = self.network.codebook.before[0](self.network.encoder(batch.input_BCHW).latent_BCHW)
        return features


class FuseStage(Stage):
    """Stage II: encoder, predictor and decoder over the K frozen codebooks, on clean pictures of all categories."""

    frozen = ("codebook.books.",)


class RestoreStage(Stage):
    """Stage III: a restoring encoder for one task; codebooks and decoder are frozen.

    `teacher` is the stage-II network; what it makes of the clean picture is the target of codes and features.
    """

    frozen = ("codebook.books.", "codebook.after.", "decoder.")

    def __init__(self, network: AdaCode, weights: LossWeights, perceptual: Lpips | None, teacher: AdaCode) -> None:
        super().__init__(network, weights, perceptual)
        self.teacher = teacher.eval().requires_grad_(False)

    def code_terms(
        self, batch: Batch, features: list[Tensor], vectors: list[Tensor], mixed: Tensor
    ) -> dict[str, Tensor]:
        """Features are drawn to the clean picture's codes, their mixture to its feature before the decoder."""
        del vectors
        with torch.no_grad():
            latent = self.teacher.encoder(batch.target_BCHW).latent_BCHW
            mixture = self.teacher.codebook(latent)
            books = self.teacher.codebook.books
            targets = [book.look_up(c) for book, c in zip(books, mixture.codes, strict=True)]  # type: ignore[operator]
        apart = [(f.float() - t.float()).square().mean() for f, t in zip(features, targets, strict=True)]
        code = self.weights.commitment * torch.stack(apart).mean()
        return {"codebook": code, "feature": feature_loss(mixed, mixture.latent_BCHW)}
