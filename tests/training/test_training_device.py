"""The whole training with the corpus in the device's memory: on the CPU everywhere, on a GPU where there is one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tiny_recipes import PROVENANCE
from tiny_sessions import with_steps

from adacode_cli.checkpoints.format import read_weights
from adacode_cli.training.data import Data
from adacode_cli.training.loop import Pace
from adacode_cli.training.processes import OneProcess
from adacode_cli.training.recipe import LossWeights
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.runs import run_all, run_joint
from adacode_cli.training.session import Listeners, TrainingSession
from adacode_cli.training.shards import Shards

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]
TASKS = (("sr", 2), ("sr", 4), ("inpaint", 1))
EVERY_LOSS = LossWeights(adversarial=0.1, feature=1.0, contrastive=1.0)


def session(shards, folder, device: str, recipe, *, stop=lambda: False) -> TrainingSession:
    processes = OneProcess(torch.device(device))
    data = Data(Shards(shards), processes, "device", 2)
    pace = Pace(log_every=1, validate_every=3)
    return TrainingSession(folder, data, recipe, processes, None, PROVENANCE, pace, Listeners(stop=stop))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_all_stages_train_where_the_corpus_lies(shards, tmp_path, device, precision):
    recipe = replace(with_steps(3), precision=precision)
    recipe = recipe.with_stage("restore", replace(recipe.restore, loss=EVERY_LOSS))
    one = session(shards, RunFolder(tmp_path), device, recipe)
    assert run_all(one, TASKS)
    for name in one.written:
        tensors = read_weights(tmp_path / f"{name}.safetensors").tensors
        assert all(bool(torch.isfinite(t).all()) for t in tensors.values()), name
        lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        assert "validation/psnr" in lines[-1]
    assert run_joint(session(shards, RunFolder(tmp_path / "joint"), device, recipe))


@pytest.mark.parametrize("device", DEVICES)
def test_a_stopped_stage_goes_on_where_it_was(shards, tmp_path, device):
    """Step by step the same losses; a GPU adds up in no fixed order, so not the same bits there."""
    recipe = with_steps(6)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_joint(session(shards, RunFolder(whole), device, recipe))
    asked = iter(range(100))
    assert not run_joint(session(shards, RunFolder(parts), device, recipe, stop=lambda: next(asked) >= 2))
    assert run_joint(session(shards, RunFolder(parts, resume=True), device, recipe))
    totals = [
        [json.loads(line)["total"] for line in (folder / "fused.jsonl").read_text().splitlines()]
        for folder in (whole, parts)
    ]
    assert len(totals[0]) == 6
    assert totals[1] == pytest.approx(totals[0], rel=1e-6 if device == "cpu" else 1e-2)


@needs_cuda
def test_first_losses_are_those_of_the_cpu(shards, tmp_path):
    recipe = replace(with_steps(2), start_share=0.0)
    totals = []
    for device in ("cpu", "cuda"):
        folder = tmp_path / device
        assert run_joint(session(shards, RunFolder(folder), device, recipe))
        totals.append(json.loads((folder / "fused.jsonl").read_text().splitlines()[0])["total"])
    assert totals[1] == pytest.approx(totals[0], rel=0.02)
