"""A step of training on a GPU is the CPU's step, and a run whose photographs lie on the GPU can be gone on with."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from adacode_process import ROOT, environment
from gpu_networks import CPU
from tiny_families import FAMILIES
from tiny_recipes import PROVENANCE
from tiny_sessions import with_steps
from tiny_shards import save_shards

from adacode_cli.checkpoints.format import read_weights
from adacode_cli.engine.device import exact_arithmetic
from adacode_cli.training.batches import Batch
from adacode_cli.training.data import Data
from adacode_cli.training.initialise import fresh_network
from adacode_cli.training.loop import Pace
from adacode_cli.training.optimisation import Optimisation
from adacode_cli.training.processes import OneProcess
from adacode_cli.training.recipe import LossWeights, Optimiser, StageRecipe
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.runs import run_joint
from adacode_cli.training.session import Listeners, TrainingSession
from adacode_cli.training.shards import Shards
from adacode_cli.training.stages import FuseStage, RestoreStage, StageContext

pytestmark = pytest.mark.cuda

LOSS = LossWeights(contrastive=0.1, feature=0.1, grid=0.5)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return save_shards(tmp_path_factory.mktemp("data") / "shards")


def optimisation(family, task, scale, device, precision="fp32") -> Optimisation:
    """Stage II or III with first values that are the same everywhere."""
    recipe = StageRecipe(steps=10, batch=2, patch=64, loss=LOSS, optimiser=Optimiser(rate=1e-3, warmup=1))
    ground = StageContext(LOSS, None, OneProcess(device))
    fused = fresh_network(FAMILIES[family]("reconstruct"), 1)
    if task == "reconstruct":
        return Optimisation(FuseStage(fused, ground), recipe, 0, precision)
    network = fresh_network(FAMILIES[family](task, scale), 2)
    return Optimisation(RestoreStage(network, ground, fused), recipe, 0, precision)


def batch(family, task, scale, device) -> Batch:
    generator = torch.Generator().manual_seed(3)
    target = torch.nn.functional.interpolate(torch.rand(2, 3, 8, 8, generator=generator), (64, 64), mode="bicubic")
    target = target.clamp(0, 1)
    categories = torch.tensor([0, 1])
    if task == "sr":
        return Batch(torch.nn.functional.avg_pool2d(target, scale), target, None, categories).to(device)
    if task == "reconstruct":
        return Batch(target, target, None, categories).to(device)
    hole = torch.zeros(2, 1, 64, 64)
    hole[:, :, 20:40, 10:30] = 1
    masks = FAMILIES[family](task, scale).mask_channel
    degraded = torch.cat((target * (1 - hole), hole), 1) if masks else torch.maximum(target, hole)
    return Batch(degraded, target, hole, categories).to(device)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("task", "scale"), [("sr", 4), ("sr", 2), ("inpaint", 1), ("reconstruct", 1)])
def test_losses_and_gradients_of_a_step_are_those_of_the_cpu(family, task, scale, device):
    found = []
    for where in (CPU, device):
        one = optimisation(family, task, scale, where)
        with exact_arithmetic(device):  # rounded to TF32, other codes would be the nearest
            values = one.step(batch(family, task, scale, where), 0, 0.1)
        gradients = {name: p.grad.cpu() for name, p in one.network.named_parameters() if p.grad is not None}
        found.append(({name: float(value) for name, value in values.items()}, gradients))
    (losses, gradients), (theirs, their_gradients) = found
    assert theirs.keys() == losses.keys()
    for name, value in losses.items():
        assert theirs[name] == pytest.approx(value, rel=2e-3, abs=1e-6), name
    assert gradients.keys() == their_gradients.keys()
    ours = torch.cat([g.flatten() for g in gradients.values()])
    other = torch.cat([g.flatten() for g in their_gradients.values()])
    assert float((other - ours).norm() / ours.norm()) < 0.02


@pytest.mark.parametrize("task", ["sr", "reconstruct"])
def test_steps_in_bf16_go_the_same_way(task, device):
    totals = []
    for precision in ("fp32", "bf16"):
        one = optimisation("packed", task, 4, device, precision)
        made = batch("packed", task, 4, device)
        totals.append([float(one.step(made, step, 0.1)["total"]) for step in range(8)])
    for run in totals:
        assert np.isfinite(run).all()
        assert run[-1] < run[0]
    assert totals[1] == pytest.approx(totals[0], rel=0.1)


def session(shards, folder, device, recipe, stop=lambda: False) -> TrainingSession:
    processes = OneProcess(device)
    data = Data(Shards(shards), processes, "device", 2)
    return TrainingSession(
        folder, data, recipe, processes, None, PROVENANCE, Pace(log_every=1, validate_every=4), Listeners(stop=stop)
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_whose_photographs_lie_on_the_device_goes_on(shards, tmp_path, device, precision):
    recipe, asked = replace(with_steps(4), precision=precision), iter(range(100))
    folder = RunFolder(tmp_path)
    assert not run_joint(session(shards, folder, device, recipe, stop=lambda: next(asked) >= 1))
    assert run_joint(session(shards, RunFolder(tmp_path, resume=True), device, recipe))
    lines = [json.loads(line) for line in (tmp_path / "fused.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    tensors = read_weights(tmp_path / "fused.safetensors").tensors
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def test_the_program_trains_from_the_bundled_weights(shards, tmp_path, cuda):
    """On a CPU the rehearsal of benchmarks/on_gpu.py does."""
    weights = ROOT / "weights"
    starts = (
        "--fused",
        weights / "compact-stage2.safetensors",
        "--start",
        weights / "compact-inpaint.safetensors",
    )
    size = ("--batch", 8, "--steps", 6, "--patch", 64)
    how = ("--task", "inpaint", "--perceptual", "", "--cache", "device", "--device", "cuda", *size)
    command = [sys.executable, "-m", "adacode_cli", "train", "restore", shards, "-o", tmp_path / "run", *starts, *how]
    words = [str(word) for word in command]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = read_weights(tmp_path / "run" / "inpaint.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in made.tensors.values())
