"""Recipes, sessions and stages small enough for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from tiny_families import packed

from adacode_cli.checkpoints.format import Provenance
from adacode_cli.model.config import SwinConfig
from adacode_cli.training.data import Data
from adacode_cli.training.family import Family
from adacode_cli.training.initialise import fresh_network
from adacode_cli.training.loop import Pace
from adacode_cli.training.optimisation import Optimisation
from adacode_cli.training.overrides import overridden
from adacode_cli.training.processes import OneProcess
from adacode_cli.training.recipe import LossWeights, Optimiser, Recipe, StageRecipe
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.session import Listeners, TrainingSession
from adacode_cli.training.shards import Shards
from adacode_cli.training.stages import BasisStage, RestoreStage, StageContext

_SWIN = SwinConfig(groups=1, blocks=2, heads=2)
FAMILY = Family(
    channels=(16, 24),
    grid=4,
    stem="shuffle",
    norm="none",
    codes=(16, 24),
    code_dim=8,
    stem_depth=1,
    clean_depth=1,
    restore_depth=1,
    up_depth=1,
    decoder_depth=1,
    fuse_depth=1,
    head_depth=1,
    skip="fuse",
    num_skips=1,
    add_base=True,
    mask_channel=True,
    encoder_swin=_SWIN,
    predictor_swin=_SWIN,
)
_STAGE = StageRecipe(
    steps=4, batch=2, patch=64, discriminator_channels=4, optimiser=Optimiser(rate=1e-3, warmup=2, ema=0.9)
)
PROVENANCE = Provenance(family="tiny", trained_on="drawn images", licence="CC0-1.0", source="a test")
CPU = OneProcess(torch.device("cpu"))


def tiny_recipe(**overrides: object) -> Recipe:
    """A recipe of the packed family; names as after --set, with __ for dots: restore__loss__adversarial=0.1."""
    recipe = Recipe("tiny", FAMILY, _STAGE, _STAGE, _STAGE)
    return overridden(recipe, [f"{name.replace('__', '.')}={value}" for name, value in overrides.items()])


def tiny_optimisation(recipe: StageRecipe = _STAGE, seed: int = 0, precision: str = "fp32") -> Optimisation:
    """Stage I of the packed family, without shards."""
    stage = BasisStage(fresh_network(packed("basis"), seed), StageContext(recipe.loss, None, CPU))
    return Optimisation(stage, recipe, seed, precision)


def tiny_restoring(adversarial: float = 0.1, precision: str = "fp32") -> Optimisation:
    """Stage III (sr ×2) of the packed family with an adversary and contrast, without shards."""
    loss = LossWeights(adversarial=adversarial, contrastive=1.0)
    recipe = replace(_STAGE, loss=loss, adversarial_from=0.0)
    fused, network = fresh_network(packed("reconstruct"), 1), fresh_network(packed("sr", 2), 2)
    return Optimisation(RestoreStage(network, StageContext(loss, None, CPU), fused), recipe, 0, precision)


def tiny_session(
    shards: Path, folder: RunFolder, recipe: Recipe, stop: Callable[[], bool] = lambda: False
) -> TrainingSession:
    """A session of one process that logs every step and scores at the end alone."""
    data = Data(Shards(shards), CPU, "memory", 1)
    pace = Pace(log_every=1, validate_every=10**6)
    return TrainingSession(folder, data, recipe, CPU, None, PROVENANCE, pace, Listeners(stop=stop))


def after(steps: int) -> Callable[[], bool]:
    """A `stop` that says so once it was asked `steps` times: the loop asks after each."""
    asked = iter(range(1, 10**9))
    return lambda: next(asked) >= steps
