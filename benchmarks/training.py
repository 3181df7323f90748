"""The cost of data loading in training: images per second with data from shards, and of the same steps on one batch.

    python benchmarks/training.py SHARDS [--device cuda] [--cache memory] [--steps 20]

Prints one line for each stage: images/s of steps alone (always the same batch), images/s of the whole loop (cutting and
degrading batches, and waiting for them), and the ratio of the second to the first. Both are measured alternately.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import cv2
import torch

from adacode_cli.engine.device import choose_device, computes_bf16
from adacode_cli.training.batches import Batch, ordered
from adacode_cli.training.data import Data
from adacode_cli.training.initialise import fresh_network
from adacode_cli.training.optimisation import Optimisation
from adacode_cli.training.presets import named_recipe
from adacode_cli.training.processes import OneProcess
from adacode_cli.training.recipe import STAGES, Recipe, StageName
from adacode_cli.training.shards import Shards
from adacode_cli.training.stages import BasisStage, FuseStage, RestoreStage, Stage, StageContext

ROUNDS = 3


def optimisations(recipe: Recipe, data: Data) -> Iterator[tuple[str, Optimisation]]:
    """Each stage of a recipe with fresh networks, on its device."""
    family, clean = recipe.network, recipe.network.clean(data.shards.categories)
    tasks = {"sr-x4": ("sr", 4), "inpaint": ("inpaint", 1)}

    def ground(name: StageName) -> StageContext:
        return StageContext(recipe.stage(name).loss, None, data.processes)

    def optimisation(name: StageName, stage: Stage) -> Optimisation:
        return Optimisation(stage, recipe.stage(name), 0, recipe.precision)

    basis = BasisStage(fresh_network(family.basis(), 0), ground("basis"))
    yield "basis", optimisation("basis", basis)
    yield "fuse", optimisation("fuse", FuseStage(fresh_network(clean, 0), ground("fuse")))
    for name, (task, scale) in tasks.items():
        config = family.restoring(task, scale, clean)
        stage = RestoreStage(fresh_network(config, 0), ground("restore"), fresh_network(clean, 0))
        yield name, optimisation("restore", stage)


def seconds(optimisation: Optimisation, batches: Iterator[Batch], steps: int, device: torch.device) -> float:
    """Time of some steps, until the device has done them."""
    _wait(device)
    start = time.perf_counter()
    for i in range(steps):
        optimisation.step(next(batches).to(device), i, 0.5)
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cache", default="memory", choices=("none", "memory", "device"))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    device = choose_device(given.device)
    cv2.setNumThreads(1)
    recipe = named_recipe("compact")
    for name in STAGES:
        recipe = recipe.with_stage(name, replace(recipe.stage(name), batch=given.batch))
    recipe = replace(recipe, precision="bf16" if computes_bf16(device) else "fp32")
    data = Data(Shards(given.shards), OneProcess(device), given.cache, torch.get_num_threads())
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {torch.get_num_threads()} threads, {device}, torch {torch.__version__}")
    print(
        f"batch {given.batch}, {recipe.precision}, --cache {given.cache}, medians of {ROUNDS} times {given.steps} steps"
    )
    for name, optimisation in optimisations(recipe, data):
        make = data.batches(optimisation.network.config, recipe, optimisation.recipe, 0)
        same = make(0, 0).to(device)
        seconds(optimisation, repeat(same), 3, device)
        alone, fed = [], []
        with closing(ordered(make, 1, 1 if given.cache == "device" else data.workers)) as batches:
            next(batches)
            for _ in range(ROUNDS):
                alone.append(seconds(optimisation, repeat(same), given.steps, device))
                fed.append(seconds(optimisation, batches, given.steps, device))
        one, other = (given.batch * given.steps / sorted(times)[ROUNDS // 2] for times in (alone, fed))
        print(f"{name:8} steps alone {one:7.1f} images/s   with data {other:7.1f} images/s   {other / one:.0%}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
