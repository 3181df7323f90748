"""Sessions of training on a family small enough for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from adacode_cli.checkpoints.format import Provenance
from adacode_cli.model.config import SwinConfig
from adacode_cli.training.data import Data
from adacode_cli.training.family import Family
from adacode_cli.training.loop import Pace
from adacode_cli.training.processes import OneProcess
from adacode_cli.training.recipe import Optimiser, Recipe, StageRecipe
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.session import Session, Telling
from adacode_cli.training.shards import Shards

_SWIN = SwinConfig(groups=1, blocks=2, heads=2)
TINY_FAMILY = Family(
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
    steps=6, batch=2, patch=64, discriminator_channels=4, optimiser=Optimiser(rate=1e-3, warmup=1), adversarial_from=0.0
)
TINY = Recipe(preset="tiny", network=TINY_FAMILY, basis=_STAGE, fuse=_STAGE, restore=_STAGE)
PROVENANCE = Provenance(family="tiny", trained_on="drawn pictures", licence="CC0-1.0", source="a test")


def with_steps(steps: int, recipe: Recipe = TINY, **changes) -> Recipe:
    """`recipe` with other numbers in all three stages."""
    for name in ("basis", "fuse", "restore"):
        recipe = recipe.with_stage(name, replace(recipe.stage(name), steps=steps, **changes))
    return recipe


def tiny_session(shards: Path, folder: Path | RunFolder, recipe: Recipe = TINY, **changes) -> Session:
    """A session in this process, on the CPU, that logs every second step."""
    run = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    processes = OneProcess(torch.device("cpu"))
    data = Data(Shards(shards), processes, "memory", 2)
    pace = changes.pop("pace", Pace(log_every=2, validate_every=10**6))
    telling = changes.pop("telling", Telling())
    return Session(run, data, recipe, processes, None, PROVENANCE, pace, telling, **changes)
