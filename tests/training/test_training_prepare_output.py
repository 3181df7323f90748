"""The output folder of `train prepare`: refused in use, complete or without a manifest, and the command itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from prepared_photos import SMALL, contents, made, save, save_good

from adacode_cli.errors import OutputError, TrainingError
from adacode_cli.training.prepare import run
from adacode_cli.training.shards import Shards

ROOT = Path(__file__).parents[2]


@pytest.fixture
def photos(tmp_path):
    return save_good(tmp_path / "photos")


def test_an_output_in_use_is_refused_and_untouched(photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match=r"mine\.txt"):
        made(photos, out)
    assert contents(out) == {"mine.txt": b"keep"}


def test_overwriting_replaces_shards_and_keeps_foreign_files(photos, tmp_path):
    out = tmp_path / "out"
    made(photos, out, shard_mb=0.05)
    many = set(contents(out))
    (out / "mine.txt").write_text("keep")
    (out / "foreign.tar").write_text("keep too")
    made(photos, out, overwrite=True)
    made(photos, tmp_path / "fresh")
    left = contents(out)
    assert left.pop("mine.txt") == b"keep"
    assert left.pop("foreign.tar") == b"keep too"
    assert left == contents(tmp_path / "fresh")
    assert len(left) < len(many)


class _StopError(Exception):
    pass


@pytest.mark.parametrize("stage", ["reading", "writing"])
def test_a_failed_run_leaves_no_manifest_and_a_new_one_goes_through(stage, photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    target = "examine" if stage == "reading" else "write_shard"
    real, calls = getattr(run, target), iter(range(100))

    def failing(*args, **more):
        if next(calls) == 2:
            raise _StopError
        return real(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(run, target, failing)
        with pytest.raises(_StopError):
            made(photos, out, shard_mb=0.05)
    assert contents(out) == {}
    made(photos, out, shard_mb=0.05)
    for shard in Shards(out).manifest["shards"]:
        assert sha256((out / shard["file"]).read_bytes()).hexdigest() == shard["sha256"]


def test_a_failure_while_reading_leaves_the_shards_that_were_there(photos, tmp_path, monkeypatch):
    made(photos, tmp_path / "out")
    before = contents(tmp_path / "out")
    monkeypatch.setattr(run, "duplicates", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made(photos, tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == before


_KILLED = """
import os, signal, sys
from itertools import pairwise
from pathlib import Path
from adacode_cli.training.prepare import run
from prepared_photos import SMALL
from dataclasses import replace
real, calls = run.write_shard, iter(range(100))
def write(*args, **more):
    if next(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **more)
run.write_shard = write
run.prepare(Path(sys.argv[1]), Path(sys.argv[2]), replace(SMALL, shard_mb=0.05))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_run_leaves_no_manifest_and_overwriting_clears_its_files(photos, tmp_path):
    out = tmp_path / "out"
    paths = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
    command = [sys.executable, "-c", _KILLED, str(photos), str(out)]
    killed = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    left = contents(out)
    assert "train-000001.tar" in left
    with pytest.raises(TrainingError, match="not a complete folder"):
        Shards(out)
    with pytest.raises(OutputError, match="not empty"):
        run.prepare(photos, out, SMALL)
    made(photos, out, overwrite=True)
    made(photos, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def program(*arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command = [sys.executable, "-m", "adacode_cli", "train", "prepare", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_command_reports_what_it_did_on_stderr_and_the_manifest_on_stdout(photos, tmp_path):
    save(photos / "sky/flat.png", np.full((100, 100, 3), 90, np.uint8))
    out = tmp_path / "out"
    done = program(photos, "-o", out, "--crop", 64, "--licence", "CC0-1.0", "--source", "my camera", "-v")
    assert (done.returncode, done.stdout) == (0, f"{out / 'manifest.json'}\n"), done.stderr
    assert "left out: sky/flat.png: flat (0, limit 2)" in done.stderr
    assert "8 photographs" in done.stderr
    described = Shards(out).describe()
    assert "CC0-1.0" in described
    assert "my camera" in described
    again = program(photos, "-o", out, "--crop", 64)
    assert (again.returncode, again.stdout) == (6, "")
    assert "--overwrite" in again.stderr
