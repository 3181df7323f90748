"""`adacode train` as people meet it: four commands after one another, and mistakes told with their exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import typer
from perceptual_fixture import save_perceptual
from tiny_families import CATEGORIES, picture, save_photos

from adacode_cli.checkpoints.format import read_weights
from adacode_cli.cli.main import app
from adacode_cli.errors import AdaCodeError, OutputError, TrainingError, UsageError, WeightsError

ROOT = Path(__file__).parent.parent.parent
QUICK = ["--steps", "1", "--batch", "1", "--patch", "64", "--precision", "fp32", "--threads", "1"]


def adacode(*arguments: object) -> None:
    """The command in this process; raises what the boundary would tell."""
    typer.main.get_command(app)([str(a) for a in arguments], standalone_mode=False)


def started(*arguments: object) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "TERM": "dumb"}
    command = [sys.executable, "-m", "adacode_cli", *(str(a) for a in arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=env, text=True, **pipes, preexec_fn=heed_interrupts)  # noqa: PLW1509


def heed_interrupts() -> None:
    """Tests may run in the background of a shell, where SIGINT is ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a process, once it has ended."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def small_photos(tmp_path_factory) -> Path:
    folder = save_photos(tmp_path_factory.mktemp("small"), each=1)
    (folder / "sky" / "broken.jpg").write_text("no picture")
    return folder


def printed(capfd) -> tuple[list[str], list[str]]:
    """Names of the files that standard output names, and the lines of standard error, since the last look."""
    out, err = capfd.readouterr()
    return [Path(line).name for line in out.splitlines()], err.splitlines()


@pytest.fixture(scope="module")
def finished(small_photos, tmp_path_factory) -> Path:
    """A run folder after stages I and II. Not to be changed."""
    run = tmp_path_factory.mktemp("finished")
    adacode("train", "basis", small_photos, "-o", run, *QUICK, "--quiet")
    adacode("train", "fuse", small_photos, "--basis", run, "-o", run, *QUICK, "--quiet")
    return run


def test_options_arrive_and_progress_is_told(small_photos, tmp_path, capfd):
    run, perceptual = tmp_path / "run", save_perceptual(tmp_path / "lpips.safetensors")
    more = ["--perceptual", perceptual, "--perceptual-weight", "0.125", "--seed", "5", "--learning-rate", "0.001"]
    adacode("train", "basis", small_photos, "-o", run, *QUICK, *more)
    out, err = printed(capfd)
    assert out == ["basis-start.safetensors", "basis-ground.safetensors", "basis-sky.safetensors"]
    assert err[0].startswith("left out: ")
    assert "broken.jpg" in err[0]
    assert "basis-sky step 1: total " in err[-1]
    assert err[-1].endswith(" steps/s")
    written = json.loads((run / "basis-start.json").read_text())
    assert (written["seed"], written["learning_rate"], written["precision"]) == (5, 0.001, "fp32")
    assert (written["loss"]["perceptual"], written["perceptual"]) == (0.125, str(perceptual))


def test_three_stages_and_a_bundle(small_photos, finished, tmp_path, capfd):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    fused, restore = run / "fused.safetensors", ("train", "restore", small_photos, "-o", run, *QUICK)
    printed(capfd)
    adacode(*restore, "--fused", fused, "--task", "sr", "--scale", 2, "--quiet")
    out, err = printed(capfd)
    assert (out, [line for line in err if not line.startswith("left out: ")]) == (["sr-x2.safetensors"], [])
    adacode(*restore, "--fused", fused, "--task", "inpaint")
    assert printed(capfd)[0] == ["inpaint.safetensors"]
    weights = read_weights(run / "sr-x2.safetensors")
    assert (weights.config.task, weights.config.scale, weights.config.categories) == ("sr", 2, CATEGORIES)
    assert weights.provenance.family == "compact"
    assert weights.provenance.trained_on == "2 photographs in 2 categories"
    adacode("train", "bundle", run, "-o", tmp_path / "mine")
    names = [f"compact-{part}.safetensors" for part in ("basis", "fused", "reconstruct", "sr-x2", "inpaint")]
    assert printed(capfd)[0] == names

    cv2.imwrite(str(tmp_path / "a.png"), picture(1, 20, 30))
    mine = tmp_path / "mine" / "compact-sr-x2.safetensors"
    code, _, err = ended(started("sr", tmp_path / "a.png", "-o", tmp_path / "b.png", "-s", 2, "-w", mine))
    assert code == 0, err
    assert cv2.imread(str(tmp_path / "b.png")).shape == (40, 60, 3)


def test_a_bundle_is_written_again_only_when_told(finished, tmp_path):
    adacode("train", "bundle", finished, "-o", tmp_path)
    with pytest.raises(OutputError, match="exists already"):
        adacode("train", "bundle", finished, "-o", tmp_path)
    adacode("train", "bundle", finished, "-o", tmp_path, "--overwrite")
    adacode("train", "bundle", finished, "-o", tmp_path, "--family", "other")
    assert (tmp_path / "other-reconstruct.safetensors").is_file()


def test_minutes_alone_end_a_run(small_photos, tmp_path):
    adacode("train", "basis", small_photos, "-o", tmp_path, *QUICK[2:], "--minutes", "1e-9")
    lines = (tmp_path / "basis-sky.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["basis", "PHOTOS", "-o", "RUN", "--patch", "100"], UsageError, "patch 100"),
        (["basis", "PHOTOS", "-o", "RUN", "--minutes", "0"], UsageError, "minutes"),
        (["basis", "PHOTOS", "-o", "RUN", "--family", "huge"], UsageError, "unknown family 'huge'"),
        (["basis", "PHOTOS", "-o", "RUN", "--perceptual", "NONE"], WeightsError, "cannot be read"),
        (["basis", "PHOTOS", "-o", "RUN", "--patch", "192"], TrainingError, "smaller than 192 px"),
        (["basis", "NONE", "-o", "RUN"], TrainingError, "no sub-folders"),
        (["fuse", "PHOTOS", "--basis", "NONE", "-o", "RUN"], TrainingError, "holds no basis-"),
        (["restore", "PHOTOS", "--fused", "NONE", "--task", "sr", "-o", "RUN"], WeightsError, "NONE"),
        (["restore", "PHOTOS", "--fused", "NONE", "--task", "sr", "--scale", "3", "-o", "RUN"], UsageError, "2 or 4"),
        (["restore", "PHOTOS", "--fused", "NONE", "--task", "inpaint", "--scale", "2", "-o", "RUN"], UsageError, "sr"),
        (["bundle", "NONE", "-o", "RUN"], TrainingError, "is missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_before_anything_is_written(small_photos, tmp_path, arguments, error, words):
    places = {"PHOTOS": small_photos, "RUN": tmp_path / "run", "NONE": tmp_path / "NONE"}
    with pytest.raises(AdaCodeError) as found:
        adacode("train", *(places.get(a, a) for a in arguments))
    assert type(found.value) is error
    assert words in str(found.value)
    assert found.value.hint or error is UsageError
    assert not (tmp_path / "run").exists()


def test_training_errors_end_the_program_with_code_8(tmp_path):
    code, out, err = ended(started("train", "basis", tmp_path, "-o", tmp_path / "run"))
    assert (code, out) == (8, "")
    assert err.startswith(f"error: {tmp_path}: has no sub-folders with photographs")
    assert "<category>" in err
    assert "Traceback" not in err


def test_an_interrupted_run_leaves_no_weights(small_photos, tmp_path):
    process = started("train", "basis", small_photos, "-o", tmp_path / "run", *QUICK[2:], "--steps", "1000000")
    while "step 50:" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"basis-start.json", "basis-start.jsonl"}
