"""Sessions of training on a family small enough for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tiny_recipes import CPU, FAMILY, PROVENANCE

from adacode_cli.training.data import Data
from adacode_cli.training.loop import Pace
from adacode_cli.training.recipe import Optimiser, Recipe, StageRecipe
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.session import Listeners, TrainingSession
from adacode_cli.training.shards import Shards

_STAGE = StageRecipe(
    steps=6, batch=2, patch=64, discriminator_channels=4, optimiser=Optimiser(rate=1e-3, warmup=1), adversarial_from=0.0
)
TASKS = (("sr", 2), ("sr", 4), ("inpaint", 1))
NAMES = ["basis-start", "basis-ground", "basis-sky", "fused", "sr-x2", "sr-x4", "inpaint"]
TINY = Recipe(preset="tiny", network=FAMILY, basis=_STAGE, fuse=_STAGE, restore=_STAGE)


def with_steps(steps: int, recipe: Recipe = TINY, **changes) -> Recipe:
    """`recipe` with other numbers in all three stages."""
    for name in ("basis", "fuse", "restore"):
        recipe = recipe.with_stage(name, replace(recipe.stage(name), steps=steps, **changes))
    return recipe


def tiny_session(shards: Path, folder: Path | RunFolder, recipe: Recipe = TINY, **changes) -> TrainingSession:
    """A session in this process, on the CPU, that logs every second step."""
    run = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    data = Data(Shards(shards), CPU, "memory", 2)
    pace = changes.pop("pace", Pace(log_every=2, validate_every=10**6))
    listeners = changes.pop("listeners", Listeners())
    return TrainingSession(run, data, recipe, CPU, None, PROVENANCE, pace, listeners, **changes)
