"""Runs that train for 8 bits: stopped, gone on with, refused, and what their files hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_families import picture
from tiny_ranges import ranged_file
from tiny_recipes import after, tiny_recipe, tiny_session
from tiny_trunks import TRUNKED, plain_trunk, save_trunk, trunk_state
from training_commands import QUICK, adacode, ended, started

from adacode_cli.checkpoints.format import read_weights, write_weights
from adacode_cli.checkpoints.load import load_network
from adacode_cli.engine.device import has_openvino
from adacode_cli.errors import AdaCodeError, TrainingError, UsageError
from adacode_cli.evaluation.calibration import in_eight_bits, through
from adacode_cli.training.checkpoint import read_checkpoint, write_checkpoint
from adacode_cli.training.loop import Pace
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.runs import run_all, run_basis, run_fuse_again, run_joint, run_restore

STEPS, HALF = 8, 3
SR = {"task": "sr", "scale": 2}
MEASURED = ("images_per_s", "waiting", "memory_mb", "seconds")
ONE_STEP = replace(tiny_recipe(steps=1), network=TRUNKED)


def rounding(**settings):
    recipe = tiny_recipe(**({"steps": STEPS, "restore__int8": "true"} | settings))
    return replace(recipe, network=TRUNKED)


@pytest.fixture(scope="module")
def fused(shards, tmp_path_factory) -> Path:
    """A stage-II network of the packed family, trained for a step. Not to be changed."""
    folder = tmp_path_factory.mktemp("fused")
    assert run_joint(tiny_session(shards, RunFolder(folder), tiny_recipe(steps=1)))
    return folder / "fused.safetensors"


@pytest.fixture(scope="module")
def start(shards, fused, tmp_path_factory) -> Path:
    """Super-resolution with a trunk and ranges, whose codes add nothing yet. Not to be changed."""
    recipe = replace(ONE_STEP, restore=replace(ONE_STEP.restore, learns="trunk"))
    return ranged_file(tmp_path_factory.mktemp("start"), shards, fused, recipe)


@pytest.fixture(scope="module")
def start_with_codes(shards, fused, tmp_path_factory) -> Path:
    """The same after a step of all of it. Not to be changed."""
    return ranged_file(tmp_path_factory.mktemp("codes"), shards, fused, ONE_STEP)


@pytest.fixture(scope="module")
def start_of_holes(shards, fused, tmp_path_factory) -> Path:
    """Inpainting with a coarse pass and ranges. Not to be changed."""
    recipe = tiny_recipe(steps=1, network__coarse_passes=1)
    return ranged_file(tmp_path_factory.mktemp("holes"), shards, fused, recipe, task="inpaint", scale=1)


def learnt_lines(folder: Path, name: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in lines]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("start", {"restore__learns": "trunk"}),
        ("start_with_codes", {"restore__learns": "trunk"}),
        ("start_with_codes", {"restore__optimiser__range_share": 0.0, "precision": "bf16"}),
        ("start_of_holes", {"network__coarse_passes": 1}),
    ],
    ids=["without codes", "trunk alone", "bf16", "holes"],
)
def test_stopped_and_gone_on_with_is_bit_for_bit_the_run_that_never_stopped(
    kind, settings, shards, fused, tmp_path, request
):
    file = request.getfixturevalue(kind)
    task, name, recipe = SR, "sr-x2", rounding(**settings)
    if kind == "start_of_holes":
        task, name = {"task": "inpaint", "scale": 1}, "inpaint"
        recipe = tiny_recipe(steps=STEPS, restore__int8="true", **settings)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_restore(tiny_session(shards, RunFolder(whole), recipe), fused, **task, start=file)
    assert not run_restore(tiny_session(shards, RunFolder(parts), recipe, after(HALF)), fused, **task, start=file)
    assert read_checkpoint(parts / f"{name}.checkpoint").steps == HALF
    assert run_restore(tiny_session(shards, RunFolder(parts, resume=True), recipe), fused, **task, start=file)
    assert learnt_lines(parts, name) == learnt_lines(whole, name)
    first, second = (load_file(folder / f"{name}.safetensors") for folder in (whole, parts))
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    earlier = load_file(file)
    assert [key for key in earlier if not key.startswith("int8.") and not torch.equal(first[key], earlier[key])] == []
    assert {key for key in earlier if key.startswith("int8.")} <= first.keys()
    learnt = {name for name, one in read_weights(whole / f"{name}.safetensors").ranges.items() if one.filters}
    assert learnt
    assert all(name.startswith("trunk.") for name in learnt) == ("restore__learns" in settings)
    steps = [key for key in first if key.endswith(".steps")]
    same = [torch.allclose(first[key], earlier[key], rtol=1e-6, atol=0) for key in steps]
    assert all(same) if "restore__optimiser__range_share" in settings else not all(same)


def test_a_slim_checkpoint_has_the_averaged_ranges_and_learning_goes_on(shards, fused, start, tmp_path):
    recipe = rounding()
    for folder in (RunFolder(tmp_path / "full"), RunFolder(tmp_path / "slim", slim=True)):
        assert not run_restore(tiny_session(shards, folder, recipe, after(HALF)), fused, **SR, start=start)
    full, slim = (read_checkpoint(tmp_path / name / "sr-x2.checkpoint") for name in ("full", "slim"))
    steps = {key: tensor for key, tensor in slim.tensors.items() if key.endswith(".log_steps")}
    assert steps
    for key, tensor in steps.items():
        averaged = full.tensors["average." + key.removesuffix(".log_steps")]
        assert torch.equal(tensor, averaged)
    session = tiny_session(shards, RunFolder(tmp_path / "slim", resume=True), recipe)
    assert run_restore(session, fused, **SR, start=start)
    assert read_weights(tmp_path / "slim" / "sr-x2.safetensors").ranges.keys() == read_weights(start).ranges.keys()


def test_the_file_gives_the_image_that_the_last_validation_showed(shards, fused, start_with_codes, tmp_path):
    session = tiny_session(shards, RunFolder(tmp_path), rounding(restore__optimiser__rate=0.01))
    session.pace = Pace(validate_every=10**6)
    assert run_restore(session, fused, **SR, start=start_with_codes)
    network, _ = load_network((tmp_path / "sr-x2.safetensors",))
    recorded = json.loads(read_weights(tmp_path / "sr-x2.safetensors").provenance.recipe)
    assert recorded["restore"]["int8"] is True
    batch = session.data.validation(network.config, session.recipe, None)[0]
    with in_eight_bits(network, network.ranges):
        image = through(network, batch.input_BCHW)[0].clamp(0, 1)
    wanted = (255 * image).round().permute(1, 2, 0).byte().numpy()
    sheet = np.asarray(Image.open(tmp_path / "samples" / "sr-x2" / f"{STEPS:06d}.png"))
    height, width = wanted.shape[:2]
    shown = sheet[:height, width + 2 : 2 * width + 2]  # input | output | target, with lines of two pixels
    # Filters are stored as whole numbers and factors: a last bit can be another one, and then a rounding.
    assert np.abs(shown.astype(int) - wanted).mean() < 0.02
    exact = through(network, batch.input_BCHW)[0].clamp(0, 1)
    assert np.abs((255 * exact).round().permute(1, 2, 0).numpy() - wanted).mean() > 0.1


def test_without_it_a_result_has_no_ranges_of_earlier_weights(shards, fused, start, tmp_path):
    assert read_weights(start).ranges
    assert run_restore(tiny_session(shards, RunFolder(tmp_path), ONE_STEP), fused, **SR, start=start)
    assert read_weights(tmp_path / "sr-x2.safetensors").ranges == {}


def test_a_run_of_an_earlier_version_continues(shards, fused, tmp_path):
    """Its recipe does not have the new settings."""
    recipe = tiny_recipe(steps=STEPS)
    assert not run_restore(tiny_session(shards, RunFolder(tmp_path), recipe, after(HALF)), fused, **SR)
    path = tmp_path / "sr-x2.checkpoint"
    found = read_checkpoint(path)
    for name in ("basis", "fuse", "restore"):
        del found.recipe[name]["int8"]
        del found.recipe[name]["optimiser"]["range_share"]
    write_checkpoint(path, found)
    assert run_restore(tiny_session(shards, RunFolder(tmp_path, resume=True), recipe), fused, **SR)


def test_a_run_that_began_without_it_does_not_go_on_with_it(shards, fused, start, tmp_path):
    recipe = replace(rounding(), restore=replace(rounding().restore, int8=False))
    assert not run_restore(tiny_session(shards, RunFolder(tmp_path), recipe, after(HALF)), fused, **SR, start=start)
    with pytest.raises(TrainingError, match=r"restore\.int8: false → true"):
        run_restore(tiny_session(shards, RunFolder(tmp_path, resume=True), rounding()), fused, **SR, start=start)


def test_a_run_does_not_go_on_with_ranges_of_other_convolutions(shards, fused, start, tmp_path):
    assert not run_restore(tiny_session(shards, RunFolder(tmp_path), rounding(), after(2)), fused, **SR, start=start)
    weights = read_weights(start)
    fewer = dict(list(weights.ranges.items())[1:])
    write_weights(tmp_path / "fewer.safetensors", replace(weights, ranges=fewer))
    session = tiny_session(shards, RunFolder(tmp_path, resume=True), rounding())
    with pytest.raises(TrainingError, match="ranges of other convolutions"):
        run_restore(session, fused, **SR, start=tmp_path / "fewer.safetensors")


def test_a_run_does_not_go_on_from_other_weights_or_ranges(shards, fused, start, tmp_path):
    """With the names and sizes of the first ones, so nothing else would tell."""
    assert not run_restore(tiny_session(shards, RunFolder(tmp_path), rounding(), after(2)), fused, **SR, start=start)
    weights = read_weights(start)
    key = next(key for key in weights.tensors if key.startswith("trunk.body."))
    others = {
        "weights": replace(weights, tensors=weights.tensors | {key: weights.tensors[key] + 1e-3}),
        "ranges": replace(weights, ranges={k: replace(v, steps_C=v.steps_C * 1.01) for k, v in weights.ranges.items()}),
    }
    for name, other in others.items():
        write_weights(tmp_path / f"{name}.safetensors", other)
        session = tiny_session(shards, RunFolder(tmp_path, resume=True), rounding())
        with pytest.raises(TrainingError, match="began with other weights or ranges"):
            run_restore(session, fused, **SR, start=tmp_path / f"{name}.safetensors")


def test_an_adversarial_loss_is_refused(shards, fused, start, tmp_path):
    """Its discriminator compares with photographs."""
    recipe = rounding(restore__loss__adversarial=0.1)
    with pytest.raises(UsageError, match="adversarial"):
        run_restore(tiny_session(shards, RunFolder(tmp_path / "run"), recipe), fused, **SR, start=start)
    assert not (tmp_path / "run").exists()


def test_a_start_without_ranges_is_refused(shards, fused, start, tmp_path):
    plain = tmp_path / "plain.safetensors"
    write_weights(plain, replace(read_weights(start), ranges={}))
    with pytest.raises(TrainingError, match="has no ranges for 8 bits") as found:
        run_restore(tiny_session(shards, RunFolder(tmp_path / "run"), rounding()), fused, **SR, start=plain)
    assert found.value.path == plain
    assert "adacode weights quantize" in found.value.hint
    assert not (tmp_path / "run").exists()


def test_no_start_and_another_trunk_are_refused(shards, fused, start, tmp_path):
    trunk = save_trunk(tmp_path / "tiny.safetensors", trunk_state(plain_trunk()))
    for more, words in (({}, "needs weights to start from"), ({"start": start, "trunk": trunk}, "another trunk")):
        with pytest.raises(UsageError, match=words) as found:
            run_restore(tiny_session(shards, RunFolder(tmp_path / "run"), rounding()), fused, **SR, **more)
        assert "weights quantize" in found.value.hint
    assert not (tmp_path / "run").exists()


def test_other_stages_refuse_it_before_they_begin(shards, fused, tmp_path):
    folder = tmp_path / "run"

    def session(stage: str):
        return tiny_session(shards, RunFolder(folder), tiny_recipe(**{f"{stage}__int8": "true"}))

    attempts = [
        ("basis", run_basis),
        ("fuse", run_joint),
        ("fuse", lambda one: run_fuse_again(one, fused)),
        ("basis", lambda one: run_all(one, [("sr", 2)])),
        ("fuse", lambda one: run_all(one, [("sr", 2)])),
        ("restore", lambda one: run_all(one, [("sr", 2)])),
    ]
    for stage, attempt in attempts:
        with pytest.raises(UsageError, match=rf"{stage}\.int8: only `train restore` can round"):
            attempt(session(stage))
    assert not folder.exists()


def test_a_command_without_a_start_names_what_to_do(shards, fused, tmp_path):
    command = ["train", "restore", shards, "--fused", fused, "--task", "sr", "-o", tmp_path / "run", *QUICK]
    code, out, err = ended(started(*command, "--set", "restore.int8=true"))
    assert (code, out) == (2, "")
    assert "restore.int8 needs weights to start from" in " ".join(err.split())
    with pytest.raises(AdaCodeError, match=r"restore\.int8"):
        adacode(*command, "--set", "restore.int8=maybe")


@pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed")
def test_from_ranges_over_training_to_images_in_8_bits(shards, fused, start, tmp_path):
    """The commands of docs/int8.md on a tiny network."""
    for i in range(8):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(picture(i, 72, 80)).save(tmp_path / "photos" / f"{i}.png")
    plain, ranged, run = tmp_path / "plain.safetensors", tmp_path / "ranged.safetensors", tmp_path / "run"
    write_weights(plain, replace(read_weights(start), ranges={}))
    adacode("weights", "quantize", plain, "--photos", tmp_path / "photos", "-o", ranged)
    train = ["train", "restore", shards, "--fused", fused, "--task", "sr", "--scale", 2, "--start", ranged, "-o", run]
    adacode(*train, *QUICK, "--learning-rate", "1e-5", "--set", "restore.int8=true", "--quiet")
    trained = run / "sr-x2.safetensors"
    assert read_weights(trained).ranges.keys() == read_weights(ranged).ranges.keys()
    assert read_weights(trained).int8_psnr_db is None
    out = tmp_path / "stated.safetensors"
    adacode("weights", "quantize", trained, "--photos", tmp_path / "photos", "--keep-ranges", "-o", out)
    learnt, kept = (load_file(path) for path in (trained, out))
    assert learnt.keys() == kept.keys()
    assert all(torch.equal(kept[key], learnt[key]) for key in learnt if not key.endswith(".factor"))
    assert read_weights(out).int8_psnr_db > 20
    trained, made = out, {}
    for precision in ("int8", "fp32"):
        out = tmp_path / precision
        restore = ["sr", tmp_path / "photos", "--scale", 2, "-o", out, "--weights", trained, "--no-guard"]
        code, _, err = ended(started(*restore, "--precision", precision))
        assert code == 0, err
        made[precision] = [np.asarray(Image.open(path)).astype(float) for path in sorted(out.glob("*.png"))]
    for eight, exact in zip(made["int8"], made["fp32"], strict=True):
        assert eight.shape == (144, 160, 3)
        assert 0 < np.abs(eight - exact).mean() < 8
