"""`adacode train` as people meet it: commands after one another, and mistakes reported with their exit codes."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from pathlib import Path

import cv2
import pytest
import torch
from perceptual_fixture import save_perceptual
from tiny_families import CATEGORIES, picture, save_photos
from tiny_shards import save_shards
from training_commands import QUICK, adacode, ended, started

from adacode_cli.checkpoints.format import read_weights
from adacode_cli.errors import AdaCodeError, OutputError, TrainingError, UsageError, WeightsError

SMALL = ["network.channels=16,24", "network.code_dim=8", "network.fuse_depth=1", "network.decoder_depth=1"]
TOO_SHORT = (
    "warning: {} ended at step 1, before the learning rate had risen (at step 100): it has learnt next to nothing, and "
    "images made with it are unusable"
)
FIRST = [*QUICK, "--codes", "16,24", *(word for name in SMALL for word in ("--set", name))]


def printed(capfd) -> tuple[list[str], list[str]]:
    """Names of the files that standard output names, and the lines of standard error, since the last look."""
    out, err = capfd.readouterr()
    return [Path(line).name for line in out.splitlines()], err.splitlines()


@pytest.fixture(scope="module")
def finished(shards, tmp_path_factory) -> Path:
    """A run folder after stages I and II. Not to be changed."""
    run = tmp_path_factory.mktemp("finished")
    adacode("train", "basis", shards, "-o", run, *FIRST, "--quiet")
    adacode("train", "fuse", shards, "--basis", run, "-o", run, *QUICK, "--quiet")
    return run


def test_options_arrive_and_progress_is_reported(shards, tmp_path, capfd):
    run, perceptual = tmp_path / "run", save_perceptual(tmp_path / "lpips.safetensors")
    more = ["--perceptual", perceptual, "--perceptual-weight", "0.125", "--seed", "5", "--learning-rate", "0.001"]
    adacode("train", "basis", shards, "-o", run, *FIRST, *more, "--set", "loss.semantic=0.1", "--validate-every", "1")
    out, err = printed(capfd)
    assert out == ["basis-start.safetensors", "basis-ground.safetensors", "basis-sky.safetensors"]
    last = next(line for line in reversed(err) if "basis-sky step 1 of 1: total " in line)
    assert all(
        word in last for word in ("semantic ", "validation/lpips ", "of codes used", "images/s", "waiting", "MB")
    )
    written = json.loads((run / "recipe.json").read_text())
    digest = hashlib.sha256(perceptual.read_bytes()).hexdigest()
    assert (written["seed"], written["precision"]) == (5, "fp32")
    assert written["perceptual"] == f"lpips.safetensors sha256:{digest}", "where it lies is nobody else's business"
    with pytest.raises(UsageError, match=r"with the file lpips\.safetensors, whose path"):
        adacode("train", "fuse", shards, "--basis", run, "-o", run, *QUICK)
    adacode("train", "fuse", shards, "--basis", run, "-o", run, *QUICK, "--perceptual", perceptual, "--quiet")
    assert (written["basis"]["optimiser"]["rate"], written["network"]["codes"]) == (0.001, [16, 24])
    assert (written["basis"]["loss"]["perceptual"], written["restore"]["loss"]["semantic"]) == (0.125, 0.1)


def test_fusing_goes_on_with_the_settings_of_its_start(shards, finished, tmp_path, capfd):
    printed(capfd)
    adacode("train", "fuse", shards, "--start", finished / "fused.safetensors", "-o", tmp_path, *QUICK, "--quiet")
    assert printed(capfd) == (["fused.safetensors"], [TOO_SHORT.format("fused")])
    earlier, later = (read_weights(folder / "fused.safetensors") for folder in (finished, tmp_path))
    assert later.config == earlier.config
    books = [key for key in earlier.tensors if key.startswith("codebook.books.")]
    assert books
    assert all(torch.equal(earlier.tensors[key], later.tensors[key]) for key in books)


def test_three_stages_and_a_bundle(shards, finished, tmp_path, capfd):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    restore = ("train", "restore", shards, "-o", run, *QUICK)
    printed(capfd)
    adacode(*restore, "--fused", run, "--task", "sr", "--scale", 2, "--quiet")
    assert printed(capfd) == (["sr-x2.safetensors"], [TOO_SHORT.format("sr-x2")])
    adacode(*restore, "--fused", run / "fused.safetensors", "--task", "inpaint")
    assert printed(capfd)[0] == ["inpaint.safetensors"]
    weights = read_weights(run / "sr-x2.safetensors")
    assert (weights.config.task, weights.config.scale, weights.config.categories) == ("sr", 2, CATEGORIES)
    assert weights.config.channels == (16, 24), "a later stage follows the recipe of the one before"
    assert (weights.provenance.family, weights.provenance.licence) == ("compact", "CC0-1.0")
    adacode("weights", "bundle", run, "-o", tmp_path / "mine", "--family", "mine")
    names = [f"mine-{part}.safetensors" for part in ("basis", "fused", "reconstruct", "sr-x2", "inpaint")]
    assert printed(capfd)[0] == [*names, "catalogue.json", "mine.md"]

    cv2.imwrite(str(tmp_path / "a.png"), picture(1, 20, 30))
    cv2.imwrite(str(tmp_path / "mask.png"), 255 * (picture(2, 20, 30)[..., 0] > 128))
    a, commands = tmp_path / "a.png", (("sr", "-s", 2), ("inpaint", "--mask", tmp_path / "mask.png"), ("reconstruct",))
    for command, *more in commands:
        part = "sr-x2" if command == "sr" else command
        file = tmp_path / "mine" / f"mine-{part}.safetensors"
        code, _, err = ended(started(command, a, "-o", tmp_path / f"{command}.png", *more, "-w", file))
        assert code == 0, err
    assert cv2.imread(str(tmp_path / "sr.png")).shape == (40, 60, 3)


def test_from_photographs_to_all_weights_in_two_commands(tmp_path, capfd):
    photos, data, run = save_photos(tmp_path / "photos", each=3), tmp_path / "shards", tmp_path / "run"
    adacode("train", "prepare", photos, "-o", data, "--crop", "160", "--licence", "CC0-1.0")
    adacode("train", "all", data, "-o", run, *FIRST, "--tasks", "inpaint", "--quiet")
    names = ["manifest.json", *(f"{n}.safetensors" for n in ("basis-start", "basis-ground", "basis-sky"))]
    assert printed(capfd)[0] == [*names, "fused.safetensors", "inpaint.safetensors"]
    adacode("train", "all", data, "-o", run, *FIRST, "--tasks", "inpaint,sr-x4", "--quiet", "--resume")
    assert printed(capfd)[0] == ["sr-x4.safetensors"]


def test_a_time_limit_stops_with_a_checkpoint_and_resuming_ends_it(shards, tmp_path, capfd):
    command = ["train", "basis", shards, "-o", tmp_path, *FIRST[2:], "--steps", "40", "--set", "start_share=0"]
    adacode(*command, "--time-limit", "0.01s")
    out, err = printed(capfd)
    assert out == []
    assert err[-1] == f"stopped: {tmp_path / 'basis-ground.checkpoint'}; the same command with --resume continues"
    with pytest.raises(OutputError, match="basis-ground is unfinished"):
        adacode(*command)
    with pytest.raises(TrainingError, match=r"basis\.patch: 64 → 128"):
        adacode(*command, "--resume", "--patch", "128")
    printed(capfd)
    adacode(*command, "--resume", "--learning-rate", "1e-5", "--batch", "2")
    out, err = printed(capfd)
    assert out == ["basis-ground.safetensors", "basis-sky.safetensors"]
    assert "basis-ground continues with another setting: basis.optimiser.rate: 0.0005 → 1e-05" in err
    assert "basis-ground continues with another setting: basis.batch: 1 → 2" in err


def test_minutes_alone_end_a_run(shards, tmp_path):
    adacode("train", "basis", shards, "-o", tmp_path, *FIRST[2:], "--minutes", "1e-9")
    lines = (tmp_path / "basis-sky.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["basis", "SHARDS", "-o", "RUN", "--patch", "100"], UsageError, "patch 100"),
        (["basis", "SHARDS", "-o", "RUN", "--minutes", "-1"], UsageError, "minutes"),
        (["basis", "SHARDS", "-o", "RUN", "-c", "huge"], UsageError, "unknown preset 'huge'"),
        (["basis", "SHARDS", "-o", "RUN", "-c", "NONE.json"], UsageError, "cannot be read as a recipe"),
        (["basis", "SHARDS", "-o", "RUN", "--set", "loss.pixle=1"], UsageError, "pixle"),
        (["basis", "SHARDS", "-o", "RUN", "--time-limit", "soon"], UsageError, "'soon' is not a length of time"),
        (["basis", "SHARDS", "-o", "RUN", "--resume", "--overwrite"], UsageError, "contradict"),
        (["basis", "SHARDS", "-o", "RUN", "--perceptual", "NONE"], WeightsError, "NONE"),
        (["basis", "SHARDS", "-o", "RUN", "--patch", "192"], TrainingError, "192 px are wanted from crops of 160 px"),
        (
            ["all", "SHARDS", "-o", "RUN", "--set", "restore.patch=192"],
            TrainingError,
            "224 px are wanted from crops of 160 px",
        ),
        (["basis", "NONE", "-o", "RUN"], TrainingError, "NONE"),
        (["fuse", "SHARDS", "--basis", "NONE", "-o", "RUN"], TrainingError, "does not hold any basis-"),
        (["fuse", "SHARDS", "-o", "RUN"], UsageError, "source of the codebooks"),
        (["fuse", "SHARDS", "-o", "RUN", "--joint", "--start", "NONE"], UsageError, "source of the codebooks"),
        (["fuse", "SHARDS", "-o", "RUN", "--start", "NONE"], WeightsError, "NONE"),
        (["restore", "SHARDS", "--fused", "NONE", "--task", "sr", "-o", "RUN"], WeightsError, "NONE"),
        (["restore", "SHARDS", "--fused", "NONE", "--task", "sr", "--scale", "3", "-o", "RUN"], UsageError, "2 or 4"),
        (["restore", "SHARDS", "--fused", "NONE", "--task", "inpaint", "--scale", "2", "-o", "RUN"], UsageError, "sr"),
        (["all", "SHARDS", "-o", "RUN", "--tasks", "sr-x3"], UsageError, "unknown task 'sr-x3'"),
        (["all", "SHARDS", "-o", "RUN", "--set", "restore.learns=trunk"], TrainingError, "this network has none"),
        (
            ["all", "SHARDS", "-o", "RUN", "--set", "restore.learns=trunk", "--set", "restore.optimiser.trunk_share=0"],
            UsageError,
            "no trunk learns",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_reported_before_anything_is_written(shards, tmp_path, arguments, error, words):
    places = {"SHARDS": shards, "RUN": tmp_path / "run", "NONE": tmp_path / "NONE", "NONE.json": tmp_path / "N.json"}
    with pytest.raises(AdaCodeError) as found:
        adacode("train", *(places.get(a, a) for a in arguments))
    assert type(found.value) is error
    assert words in str(found.value)
    assert found.value.hint or error is UsageError
    assert not (tmp_path / "run").exists()


def test_training_errors_end_the_program_with_code_8(tmp_path):
    code, out, err = ended(started("train", "basis", tmp_path, "-o", tmp_path / "run"))
    assert (code, out) == (8, "")
    assert err.startswith(f"error: {tmp_path}")
    assert "adacode train prepare" in err
    assert "Traceback" not in err


def test_an_interrupted_run_leaves_a_checkpoint_and_goes_on(tmp_path):
    data = save_shards(tmp_path / "shards")
    command = ["train", "basis", data, "-o", tmp_path / "run", *FIRST[2:], "--set", "start_share=0"]
    process = started(*command, "--steps", "1000000")
    while "step 50 of" not in (line := process.stderr.readline()):
        assert process.poll() is None, line
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert "with --resume continues" in err
    assert not list((tmp_path / "run").glob("*.safetensors"))
    done = [json.loads(line)["step"] for line in (tmp_path / "run" / "basis-ground.jsonl").read_text().splitlines()]
    checkpoint = (tmp_path / "run" / "basis-ground.checkpoint").read_bytes()
    code, out, err = ended(started(*command, "--resume", "--steps", 2))
    assert (code, out) == (8, "")
    assert "steps already, and would have to end after 1" in err
    assert (tmp_path / "run" / "basis-ground.checkpoint").read_bytes() == checkpoint
    code, out, err = ended(started(*command, "--resume", "--steps", 2 * done[-1] + 2))
    assert code == 0, err
    assert [Path(line).name for line in out.splitlines()] == ["basis-ground.safetensors", "basis-sky.safetensors"]
