"""Training of a prior: the codes of photographs of the shards, two small networks that predict them, a file of them.

The crops are encoded once, by the stage-II network whose family the prior is for. The networks learn in float, and
their result is rounded to the whole numbers that files of codes are packed with.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adacode_cli.checkpoints.format import Provenance
from adacode_cli.checkpoints.load import load_network
from adacode_cli.checkpoints.priors import StoredPrior, write_prior
from adacode_cli.codes.image import in_steps
from adacode_cli.codes.prior import MAX_CODES, Prior
from adacode_cli.errors import OutputError, TrainingError, UsageError
from adacode_cli.model.network import AdaCode
from adacode_cli.training.crops import Contents
from adacode_cli.training.loop import require_finite
from adacode_cli.training.optimisation import learning_rate
from adacode_cli.training.prior_networks import CodePrior, WeightPrior, start_from
from adacode_cli.training.prior_numbers import order_of, whole_numbers
from adacode_cli.training.recipe import Optimiser

# As many as take about 0.2 GB of memory, encoded from crops of 512 pixels.
_MAX_CROPS = 2048
_MAX_START_CELLS = 1 << 17

OnEncoded = Callable[[int, int], None]
OnLog = Callable[[str, int, float], None]


@dataclass(frozen=True)
class PriorRecipe:
    """Settings that change the result. Raises UsageError for impossible ones.

    steps: of each of the two networks. batch: windows of `patch`×`patch` cells in a step; smaller where crops are.
    """

    steps: int = 2000
    batch: int = 5
    patch: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.patch < 1:
            raise UsageError("steps, batch and patch are at least 1")

    def optimiser(self, rate: float) -> Optimiser:
        """The settings of one network's Adam."""
        return Optimiser(rate=rate, betas=(0.9, 0.99), warmup=50, final_share=0.0025)


@dataclass(frozen=True)
class PriorRun:
    """Where a training writes, and what does not change its result.

    on_encoded: gets the number of encoded crops, and of all. on_log: gets what learns (codes, mixing weights), the
    number of steps, and the mean bits of a cell since the line before. on_step: gets what learns and the number of
    steps after each of them.
    """

    path: Path
    device: torch.device
    overwrite: bool = False
    log_every: int = 100
    on_encoded: OnEncoded = lambda _done, _all: None
    on_log: OnLog = lambda _what, _steps, _bits: None
    on_step: Callable[[str, int], None] = lambda _what, _steps: None


@dataclass(frozen=True)
class EncodedCrops:
    """N crops as N×K×h×w codes and steps of their mixing weights."""

    codes: npt.NDArray[np.uint16]
    steps: npt.NDArray[np.int16]

    def window(self, recipe: PriorRecipe, step: int) -> tuple[Tensor, Tensor]:
        """A batch of random windows, which depends on the seed and the step alone: B×K×h×w int64 and B×h×w×K float."""
        rng = np.random.default_rng([recipe.seed, step])
        number, _, rows, columns = self.codes.shape
        height, width = min(recipe.patch, rows), min(recipe.patch, columns)
        codes, steps = [], []
        for _ in range(recipe.batch):
            crop, y, x = (rng.integers(n) for n in (number, rows - height + 1, columns - width + 1))
            codes.append(self.codes[crop, :, y : y + height, x : x + width])
            steps.append(self.steps[crop, :, y : y + height, x : x + width])
        codes_BKHW = torch.from_numpy(np.stack(codes).astype(np.int64))
        return codes_BKHW, torch.from_numpy(np.stack(steps).astype(np.float32)).permute(0, 2, 3, 1).contiguous()


def train_prior(contents: Contents, fused: Path, recipe: PriorRecipe, run: PriorRun, stated: Provenance) -> None:
    """Trains a prior for the stage-II network in the file `fused`, and writes it.

    stated: the provenance of the photographs; that of the network is added. Raises OutputError if the file exists and
    is not to be replaced, TrainingError for a network that needs more than codes, and for damaged shards.
    """
    if run.path.exists() and not run.overwrite:
        raise OutputError("exists already", path=run.path, hint="Add --overwrite, or choose another -o.")
    network, made_by = load_network((fused,))
    if not network.config.is_of_codes_alone:
        raise TrainingError("does not hold a stage-II network", path=fused, hint="Run `adacode train fuse` first.")
    sizes = tuple(size for size, _ in network.config.codebooks)
    if max(sizes) > MAX_CODES:
        raise TrainingError(f"has a codebook of {max(sizes)} codes; a prior has at most {MAX_CODES}", path=fused)
    crops = encoded_crops(contents, network, recipe.seed, run)
    torch.manual_seed(recipe.seed)
    codes, weights = CodePrior(order_of(sizes), sizes), WeightPrior(sizes)
    _start(network, crops, codes, weights)
    for each in (codes, weights):
        _learn(each.to(run.device), crops, recipe, run)
    tensors = whole_numbers(codes, weights)
    Prior(codes.order, sizes, tensors)  # what is written can be read
    described = replace(stated, family=made_by.family, recipe=json.dumps(asdict(recipe), sort_keys=True))
    write_prior(run.path, StoredPrior(codes.order, sizes, tensors, described.with_sources([stated, made_by])))


@torch.inference_mode()
def encoded_crops(contents: Contents, network: AdaCode, seed: int, run: PriorRun) -> EncodedCrops:
    """Crops of the shards, in random order if there are more than are used, through the network; codes of the first
    level.
    """
    network = network.to(run.device).eval()
    numbers = np.random.default_rng(seed).permutation(len(contents.crops))[:_MAX_CROPS]
    side = contents.crop_px // network.config.latent_stride
    codes, steps = [], []
    for done, number in enumerate(sorted(numbers), start=1):
        pixels = torch.from_numpy(contents.read(contents.crops[number])).to(run.device)
        restored = network(pixels.permute(2, 0, 1)[None].float() / 255)
        # Cells that lie in the crop as a whole; the rest is padding.
        codes.append(
            torch.cat(restored.codes[: network.config.num_bases])[:, :side, :side].cpu().numpy().astype(np.uint16)
        )
        steps.append(in_steps(restored.weights_BKHW[0, :, :side, :side].float().cpu().numpy()))
        run.on_encoded(done, len(numbers))
    return EncodedCrops(np.stack(codes), np.stack(steps))


def _start(network: AdaCode, crops: EncodedCrops, codes: CodePrior, weights: WeightPrior) -> None:
    state = network.state_dict()
    books = [state[f"codebook.books.{k}.embedding.weight"].cpu() for k in range(len(network.config.codebooks))]
    cells = crops.codes.transpose(1, 0, 2, 3).reshape(len(books), -1)
    every = -(-cells.shape[1] // _MAX_START_CELLS)
    start_from(books, torch.from_numpy(cells[:, ::every].astype(np.int64)), (codes, weights))


def _learn(network: CodePrior | WeightPrior, crops: EncodedCrops, recipe: PriorRecipe, run: PriorRun) -> None:
    settings, seen = recipe.optimiser(network.rate), list[Tensor]()
    adam = torch.optim.Adam(network.parameters(), settings.rate, settings.betas)
    for step in range(recipe.steps):
        for group in adam.param_groups:
            group["lr"] = learning_rate(settings, step, step / recipe.steps)
        codes, steps = (part.to(run.device) for part in crops.window(recipe, step))
        loss = network(codes, steps).mean((0, 1, 2)).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        seen.append(loss.detach())
        run.on_step(network.title, step + 1)
        if (step + 1) % run.log_every == 0 or step + 1 == recipe.steps:
            mean = float(torch.stack(seen).mean())
            require_finite({network.title: mean}, step + 1)
            run.on_log(network.title, step + 1, mean)
            seen = []
