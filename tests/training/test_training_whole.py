"""From shards through all three stages to restored images: every loss falls, every weight learns, files serve."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from perceptual_fixture import save_perceptual
from safetensors.torch import load_file
from tiny_families import CATEGORIES, picture
from tiny_sessions import TINY, tiny_session, with_steps
from tiny_shards import save_shards

from adacode_cli.engine.restorer import Restorer
from adacode_cli.evaluation.perceptual import load_perceptual
from adacode_cli.training.bundle import bundle
from adacode_cli.training.initialise import fresh_network
from adacode_cli.training.loop import Pace
from adacode_cli.training.recipe import LossWeights
from adacode_cli.training.runs import run_all

STEPS = 72
TASKS = (("sr", 2), ("sr", 4), ("inpaint", 1))
STAGES = ("basis-start", "basis-ground", "basis-sky", "fused", "sr-x2", "sr-x4", "inpaint")
# A game of two has no loss that must fall.
OPPONENTS = ("adversarial", "discriminator", "discriminator_gradient", "gradient")
LOSS = LossWeights(perceptual=0.01, adversarial=0.001)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder after all stages on two dozen crops, with every loss of the paper."""
    folder = tmp_path_factory.mktemp("whole")
    shards = save_shards(folder / "shards", each=12)
    recipe = with_steps(STEPS, optimiser=replace(TINY.basis.optimiser, rate=2e-3, ema=0.9))
    losses = {
        "basis": replace(LOSS, semantic=0.3),
        "fuse": LOSS,
        "restore": replace(LOSS, feature=0.1, contrastive=0.01),
    }
    for name, loss in losses.items():
        recipe = recipe.with_stage(name, replace(recipe.stage(name), loss=loss))
    session = tiny_session(shards, folder / "run", recipe, pace=Pace(log_every=1, validate_every=STEPS // 6))
    session.perceptual = load_perceptual(save_perceptual(folder / "lpips.safetensors"), for_training=True)
    assert run_all(session, TASKS)
    return folder / "run"


@pytest.mark.parametrize("name", STAGES)
def test_every_loss_falls_that_can(run, name):
    """Not that of the tests' perceptual network, whose weights are random; nor codes that spread out with features."""
    lines = [json.loads(line) for line in (run / f"{name}.jsonl").read_text().splitlines()]
    falling = {"pixel"}
    falling |= {"semantic"} if name.startswith("basis") else {"total", "codebook"}
    falling |= {"feature", "contrastive"} if name in STAGES[4:] else set()
    assert {*falling, *OPPONENTS, "total", "perceptual", "codebook"} <= lines[0].keys()
    part = len(lines) // 3
    for term in falling:
        first, last = (fmean(line[term] for line in some) for some in (lines[:part], lines[-part:]))
        assert last < first, (term, first, last)


@pytest.mark.parametrize("name", STAGES[3:])
def test_averaged_weights_get_better_on_held_out_images(run, name):
    lines = [json.loads(line) for line in (run / f"{name}.jsonl").read_text().splitlines()]
    first, *_, end = (line["validation/psnr"] for line in lines if "validation/psnr" in line)
    assert end > first


@pytest.mark.parametrize("name", STAGES[4:])
def test_every_weight_that_a_task_trains_has_moved(run, name):
    task, _, scale = name.partition("-x")
    clean = TINY.network.clean(CATEGORIES)
    fresh = fresh_network(TINY.network.restoring(task, int(scale or 1), clean), 0).state_dict()
    fused, trained = load_file(run / "fused.safetensors"), load_file(run / f"{name}.safetensors")
    for key, tensor in trained.items():
        frozen = key.startswith(("codebook.books.", "codebook.after.", "decoder."))
        if frozen:
            assert tensor.equal(fused[key]), key
        else:
            assert not tensor.equal(fused.get(key, fresh[key])), key


def test_the_bundle_restores_images(run, tmp_path):
    bundle(run, "mine", tmp_path)
    image, hole = picture(5, 40, 56), np.zeros((40, 56), np.bool_)
    hole[8:20, 10:30] = True
    for scale in (2, 4):
        restorer = Restorer.from_pretrained(str(tmp_path / f"mine-sr-x{scale}.safetensors"), device="cpu")
        assert restorer.sr(image, scale).shape == (40 * scale, 56 * scale, 3)
    filled = Restorer.from_pretrained(str(tmp_path / "mine-inpaint.safetensors"), device="cpu").inpaint(image, hole)
    assert np.array_equal(filled[~hole], image[~hole])
    rebuilt = Restorer.from_pretrained(str(tmp_path / "mine-reconstruct.safetensors"), device="cpu").reconstruct(image)
    assert rebuilt.shape == image.shape
