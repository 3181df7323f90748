"""The three stages for the loop: a network, its trained parameters, and the losses of a batch (paper, section 3).

Random choices within a step come from torch's global generator, which the loop seeds for every step: all processes
make the same choices, and so does a resumed run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.evaluation.perceptual import PerceptualNetwork
from adacode_cli.model.codebook import Codebook
from adacode_cli.model.input import base_image, prepare_input
from adacode_cli.model.network import AdaCode, Trunk
from adacode_cli.model.ranges import Ranges
from adacode_cli.training.batches import Batch
from adacode_cli.training.codebooks import (
    CodeUsage,
    codebook_loss,
    count_codes,
    kmeans_codes,
    quantise,
    straight_through,
)
from adacode_cli.training.eight_bits import LearntRanges
from adacode_cli.training.losses import (
    SemanticHead,
    code_loss,
    contrastive_loss,
    feature_loss,
    grid_loss,
    hole_pixel_loss,
    pixel_loss,
    semantic_loss,
    tint_loss,
)
from adacode_cli.training.processes import Processes
from adacode_cli.training.recipe import Learns, LossWeights

# By how many pixels the part for the perceptual loss is smaller than a crop: there are at least as many places for it.
PHASES = 8
# The largest factor by which that part is enlarged.
MAX_ZOOM = 2.0
RESEED_EVERY = 100
# Later, the averaged weights would keep a moved code between its old place and its new one.
RESEED_UNTIL = 0.8
# k-means uses this number of features for each code, from at most this number of batches.
CELLS_A_CODE = 32
MAX_FIRST_BATCHES = 24
_COARSE_SHARE = 0.5


@dataclass(frozen=True)
class StageContext:
    """What every stage works with: loss weights, perceptual network (or None), the processes it is shared over.

    magnified: as in `recipe.StageRecipe`.
    """

    loss: LossWeights
    perceptual: PerceptualNetwork | None
    processes: Processes
    magnified: float = 0.6


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass. features, vectors, codes: one for each basis. mixed: the decoder's input. image: the result."""

    latent_BCHW: Tensor
    features: list[Tensor]
    vectors: list[Tensor]
    mixed_BCHW: Tensor
    image_BCHW: Tensor


class Stage:
    """Common to all stages: the network runs with straight-through codes, with pixel and perceptual losses.

    `extra` holds what a loss trains besides the network; it is kept in checkpoints, not in the resulting weights.
    `learnt_ranges`: of a stage that rounds to 8 bits; they belong to its result.
    """

    frozen: tuple[str, ...] = ()
    learnt_ranges: LearntRanges | None = None

    def __init__(self, network: AdaCode, context: StageContext) -> None:
        self.device = context.processes.device
        self.network = network.to(self.device)
        self.loss, self.perceptual, self.processes = context.loss, context.perceptual, context.processes
        self._magnified = context.magnified
        self.usage = [CodeUsage(n, device=self.device) for n, _ in network.config.codebooks]
        self.extra = nn.ModuleDict()
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not (self.frozen and name.startswith(self.frozen)))

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that this stage trains, by name."""
        every = dict(self.network.named_parameters()) | dict(self.extra.named_parameters(prefix="extra"))
        every |= self.learnt_ranges.named_parameters() if self.learnt_ranges else {}
        return {name: p for name, p in every.items() if p.requires_grad}

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Unweighted loss terms of a batch, by the names of `LossWeights`, and the image that was compared."""
        passed = self._run(batch)
        image = passed.image_BCHW
        if batch.hole_B1HW is not None:  # around a hole, the pixels are the known ones
            image = image * batch.hole_B1HW + batch.target_BCHW * (1 - batch.hole_B1HW)
        terms = self.image_terms(passed.image_BCHW, image, batch) | self.code_terms(passed, batch)
        return terms, image

    def _run(self, batch: Batch) -> ForwardPass:
        net, config = self.network, self.network.config
        prepared = self._prepared(batch.input_BCHW)
        encoded = net.encode(prepared)
        features, vectors, codes = quantise(net.codebook, encoded.latent_BCHW, self._levels())
        self._count([self._counted(k, c, batch) for k, c in enumerate(codes)])
        through = [straight_through(f, v) for f, v in zip(features, vectors, strict=True)]
        mixed = net.codebook.mix(through, net.codebook.weights(encoded.latent_BCHW))
        image = net.render(mixed, encoded.skips).float()
        base = base_image(prepared, config.base, config.scale)
        image = image if base is None else image + base
        return ForwardPass(encoded.latent_BCHW, features, vectors, mixed, image)

    def _levels(self) -> int:
        """Of how many levels of codes this step makes its images, at random, so that the decoder knows each number."""
        most = len(self.network.codebook.scales)
        return 1 + int(torch.randint(most, ())) if most > 1 else 1

    def _prepared(self, image_BCHW: Tensor, network: AdaCode | None = None) -> Tensor:
        """In half of the steps, holes are filled by the network at half the size, if it has coarse passes.

        Otherwise they are filled smoothly: the coarsest pass, and small images, begin with that. network: None for the
        one that learns.
        """
        network = network or self.network
        config = network.config
        if config.coarse_passes and bool(torch.rand(()) < _COARSE_SHARE):
            with torch.no_grad():
                return network.prepared(image_BCHW, 1).float()
        return prepare_input(image_BCHW, config.base)

    def _counted(self, k: int, codes_BHW: Tensor, batch: Batch) -> Tensor:
        """How often each code of the k-th basis was chosen in the places that count for its usage."""
        del batch
        return count_codes(codes_BHW, len(self.usage[k].share))

    def _count(self, counts: list[Tensor]) -> None:
        together = self.processes.sum(torch.cat(counts))
        for usage, count in zip(self.usage, torch.split(together, [len(c) for c in counts]), strict=True):
            usage.update_counts(count)

    def image_terms(self, image: Tensor, completed: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Pixel and perceptual terms; `completed` is the image with all known pixels in place."""
        target, hole = batch.target_BCHW, batch.hole_B1HW
        terms = {"pixel": pixel_loss(image, target) if hole is None else hole_pixel_loss(image, target, hole)}
        if self.perceptual is not None and self.loss.perceptual:
            terms["perceptual"] = self._perceptual_term(completed, target)
        if hole is not None and self.loss.tint:
            terms["tint"] = tint_loss(image, target, hole)
        if self.loss.grid:
            terms["grid"] = grid_loss(completed, target, self.network.config.cell_px)
        return terms

    def _perceptual_term(self, output: Tensor, target: Tensor) -> Tensor:
        # The feature network has strides of two, then of four pixels. With a random place, the loss does not depend on
        # where a crop begins; with an enlarged part, the strides skip no pixels.
        assert self.perceptual is not None
        # The same size for each place: oneDNN caches fewer convolutions than many sizes would need.
        size = output.shape[-1] - PHASES
        zoom = float(torch.empty(()).uniform_(1, MAX_ZOOM)) if bool(torch.rand(()) < self._magnified) else 1.0
        side = round(size / zoom)
        y, x = (int(v) for v in torch.randint(output.shape[-1] - side + 1, (2,)))
        pair = torch.cat((output, target))[..., y : y + side, x : x + side]
        if side < size:
            pair = F.interpolate(pair.float(), (size, size), mode="bicubic", align_corners=False)
        distances: Tensor = self.perceptual(*pair.chunk(2))
        return distances.mean()

    def code_terms(self, passed: ForwardPass, batch: Batch) -> dict[str, Tensor]:
        """Codebook terms."""
        del batch
        pairs = zip(passed.features, passed.vectors, strict=True)
        return {"codebook": torch.stack([codebook_loss(f, v, self.loss.commitment) for f, v in pairs]).mean()}

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Σ weight · term."""
        return torch.stack([getattr(self.loss, name) * term for name, term in terms.items()]).sum()

    @torch.no_grad()
    def begin(self, draw: Callable[[int], Batch]) -> None:
        """Called once, before the first step of a fresh run; `draw(i)` makes the i-th batch."""

    @torch.no_grad()
    def after_step(self, step: int, progress: float, batch: Batch) -> None:
        """Called after every step (from 1); `progress` is how much of the run is done, from 0 to 1."""

    def result(self, state: dict[str, Tensor], ranges: Ranges) -> tuple[dict[str, Tensor], Ranges]:
        """What the file of weights has: the network's state and ranges for 8 bits. Given are those that were learnt."""
        return state, ranges

    def report(self) -> dict[str, float]:
        """Perplexity and share of codes in use of every basis, for the log."""
        names = self.network.config.names()
        pairs = list(zip(names, self.usage, strict=True))
        used = {f"used/{name}": usage.used for name, usage in pairs}
        return {f"perplexity/{name}": usage.perplexity for name, usage in pairs} | used

    def _book(self, k: int) -> Codebook:
        book = self.network.codebook.books[k]
        assert isinstance(book, Codebook), "every basis has a codebook"
        return book

    def _cells(self, batch: Batch, k: int, rows_B: Tensor | None = None) -> Tensor:
        """N×dim features of all processes' images (of those in `rows_B`), before the k-th codebook."""
        latent = self.network.encode(batch.input_BCHW).latent_BCHW
        features = self.network.codebook.before[k](latent).float().permute(0, 2, 3, 1).contiguous()
        features = self.processes.gather(features)
        kept = features if rows_B is None else features[self.processes.gather(rows_B)]
        return kept.flatten(0, 2)

    def _place_codes(self, k: int, cells_NC: Tensor) -> None:
        book = self._book(k)
        codes = kmeans_codes(cells_NC, len(book.embedding.weight), torch.Generator().manual_seed(torch.initial_seed()))
        book.embedding.weight.copy_(codes)

    def _move_dead_codes(self, k: int, cells_NC: Tensor) -> None:
        generator = torch.Generator().manual_seed(torch.initial_seed() + k)
        self.usage[k].reseed_dead(self._book(k), cells_NC, generator)


class BasisStage(Stage):
    """Stage I: an autoencoder over one codebook, for one category."""

    def __init__(self, network: AdaCode, context: StageContext) -> None:
        super().__init__(network, context)
        if self.loss.semantic and self.perceptual is not None:
            dim = network.config.codebooks[0][1]
            self.extra["semantic"] = SemanticHead(dim, self.perceptual.semantic_channels).to(self.device)

    def code_terms(self, passed: ForwardPass, batch: Batch) -> dict[str, Tensor]:
        """Codebook term, and the semantic term: how well the codes predict the content."""
        terms = super().code_terms(passed, batch)
        if "semantic" in self.extra:
            assert self.perceptual is not None
            codes = straight_through(passed.features[0], passed.vectors[0])
            with torch.no_grad():
                wanted = self.perceptual.semantic(batch.target_BCHW)
            terms["semantic"] = semantic_loss(self.extra["semantic"](codes), wanted)
        return terms

    @torch.no_grad()
    def begin(self, draw: Callable[[int], Batch]) -> None:
        """k-means over the first features, so that every code starts near features."""
        wanted = CELLS_A_CODE * len(self._book(0).embedding.weight)
        cells: list[Tensor] = []
        while sum(map(len, cells)) < wanted and len(cells) < MAX_FIRST_BATCHES:
            cells.append(self._cells(draw(len(cells)), 0))
        self._place_codes(0, torch.cat(cells))

    @torch.no_grad()
    def after_step(self, step: int, progress: float, batch: Batch) -> None:
        """Dead codes move onto features of this batch, until late in the run."""
        if step % RESEED_EVERY == 0 and progress < RESEED_UNTIL:
            self._move_dead_codes(0, self._cells(batch, 0))


class FuseStage(Stage):
    """Stage II: encoder, predictor and decoder over the K frozen codebooks, on clean images of all categories."""

    frozen: tuple[str, ...] = ("codebook.books.",)


class DecoderStage(FuseStage):
    """A decoder of reconstruction's own learns on; the codes, and what turns images into them, stay as they are."""

    frozen = ("codebook.", "decoder.", "encoder.")

    def code_terms(self, passed: ForwardPass, batch: Batch) -> dict[str, Tensor]:
        """None: the codes do not change."""
        del passed, batch
        return {}


class ReconstructionStage(FuseStage):
    """All that reconstruction has of its own learns on: encoder, weight predictor and decoder, over the codebooks and
    projections that the tasks of a family share.
    """

    frozen = ("codebook.books.", "codebook.after.", "decoder.")


class JointStage(Stage):
    """Stages I and II at once: every codebook learns too, but only images of its own category move its codes."""

    def _counted(self, k: int, codes_BHW: Tensor, batch: Batch) -> Tensor:
        assert batch.category_B is not None
        return count_codes(codes_BHW, len(self.usage[k].share), batch.category_B == k)

    def code_terms(self, passed: ForwardPass, batch: Batch) -> dict[str, Tensor]:
        """Codebook terms, each basis for its category."""
        assert batch.category_B is not None
        pairs = enumerate(zip(passed.features, passed.vectors, strict=True))
        own = [codebook_loss(f, v, self.loss.commitment, batch.category_B == k) for k, (f, v) in pairs]
        return {"codebook": torch.stack(own).mean()}

    @torch.no_grad()
    def begin(self, draw: Callable[[int], Batch]) -> None:
        """k-means for every basis over features of its category."""
        found: list[list[Tensor]] = [[] for _ in self.usage]
        for i in range(MAX_FIRST_BATCHES):
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


class RestoreStage(Stage):
    """One task's network over stage II's codebooks and decoder, which are frozen.

    `teacher` is the stage-II network; its codes and features of the clean image are the targets.
    """

    frozen: tuple[str, ...] = ("codebook.books.", "codebook.after.", "decoder.")

    def __init__(self, network: AdaCode, context: StageContext, teacher: AdaCode, learns: Learns = "all") -> None:
        self._trunk = network.trunk if learns == "trunk" else None
        if self._trunk is not None:
            self.frozen = ("codebook.", "decoder.", "encoder.", "skips.", "trunk.join.")
        elif learns == "codes":
            self.frozen = (*self.frozen, "trunk.body.")
        super().__init__(network, context)
        self._codes_added: bool | None = None
        self.teacher = teacher.eval().requires_grad_(False).to(self.device)

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """As in every stage; if only the trunk learns, only those of the image."""
        if self._trunk is None:
            return super().losses(batch)
        prepared = prepare_input(batch.input_BCHW, self.network.config.base)
        image = self._detail(self._trunk, prepared).float()
        base = base_image(prepared, self.network.config.base, self.network.config.scale)
        image = image if base is None else image + base
        return self.image_terms(image, image, batch), image

    def _detail(self, trunk: Trunk, prepared_BCHW: Tensor) -> Tensor:
        """The image that is added to the base. Codes that add nothing yet are not computed, which saves half of a
        step's time.
        """
        if not self._codes_add(trunk):
            return trunk.finish(trunk.begin(prepared_BCHW), None)
        return self.network.detail(prepared_BCHW).image_BCHW

    def _codes_add(self, trunk: Trunk) -> bool:
        """Evaluated once, as an evaluation waits for the device: if only the trunk learns, the join is frozen."""
        if self._codes_added is None:
            self._codes_added = any(bool(parameter.any()) for parameter in trunk.join.parameters())
        return self._codes_added

    def report(self) -> dict[str, float]:
        """The usage of codes, if codes are computed."""
        return super().report() if self._trunk is None else {}

    def code_terms(self, passed: ForwardPass, batch: Batch) -> dict[str, Tensor]:
        """Distances of the features to the clean image's codes, and of their mixture to its decoder input."""
        with torch.no_grad():
            latent = self.teacher.encode(batch.target_BCHW).latent_BCHW
            codebook = self.teacher.codebook
            # A task has the first level alone.
            targets = codebook.vectors(codebook.nearest(latent)[: len(codebook.books)])
            mixed = codebook.mix(targets, codebook.weights(latent))
        pairs = zip(passed.features, targets, strict=True)
        code = torch.stack([code_loss(f, t, self.loss.commitment) for f, t in pairs]).mean()
        terms = {"codebook": code, "feature": feature_loss(passed.mixed_BCHW, mixed)}
        if self.loss.contrastive:
            restored, clean = (x.float().mean((2, 3)) for x in (passed.latent_BCHW, latent))
            gather = self.processes.gather  # the negatives are the images of all processes
            terms["contrastive"] = contrastive_loss(gather(restored), gather(clean))
        return terms
