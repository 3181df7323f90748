"""Trainers as processes: one at a time in a folder, one that is killed, and one whose shards are damaged."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from tiny_shards import save_shards
from training_commands import QUICK, ended, started

from adacode_cli.errors import OutputError, TrainingError
from adacode_cli.training.run_lock import RunLock

SMALL = ["network.channels=16,24", "network.code_dim=8", "network.fuse_depth=1", "network.decoder_depth=1"]
FIRST = [*QUICK[2:], "--codes", "16,24", *(word for name in SMALL for word in ("--set", name))]
NO_START = ("--set", "start_share=0", "--perceptual", "")
LOCK = ".trainer.lock"


def logged(process: subprocess.Popen[str], words: str) -> None:
    """Waits for a line of its standard error."""
    while words not in (line := process.stderr.readline()):
        assert process.poll() is None, line


def test_a_second_trainer_is_told_who_is_there_and_a_killed_one_does_not_block(shards, tmp_path):
    run = tmp_path / "run"
    command = ["train", "basis", shards, "-o", run, *FIRST, *NO_START, "--checkpoint-every", "0.01s"]
    first = started(*command, "--steps", "1000000")
    logged(first, "basis-ground step ")
    first.send_signal(signal.SIGSTOP)  # so that the others have its processor
    for more in (("--resume",), ("--overwrite",)):
        code, out, err = ended(started(*command, "--steps", "1000000", *more))
        assert (code, out) == (8, "")
        assert f"{run}: is being trained by process {first.pid} on {socket.gethostname()}, since 2" in err
    first.send_signal(signal.SIGKILL)
    assert ended(first)[0] == -signal.SIGKILL
    assert (run / LOCK).exists(), "nobody could remove it"
    done = json.loads((run / "basis-ground.jsonl").read_text().splitlines()[-1])["step"]
    code, out, err = ended(started(*command, "--steps", 2 * (done + 5), "--resume"))
    assert code == 0, err
    assert [Path(line).name for line in out.splitlines()] == ["basis-ground.safetensors", "basis-sky.safetensors"]
    steps = [json.loads(line)["step"] for line in (run / "basis-ground.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == done + 5
    assert not (run / LOCK).exists()


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path):
    first, second = RunLock.of_folder(tmp_path), RunLock.of_folder(tmp_path)
    first.take()
    first.take()  # once more changes nothing
    with pytest.raises(TrainingError, match=f"is being trained by process {os.getpid()} on ") as found:
        second.take()
    assert "--resume" in found.value.hint
    (tmp_path / LOCK).write_text("no JSON")
    with pytest.raises(TrainingError, match="is being trained by another process"):
        second.take()
    first.release()
    first.release()
    assert not list(tmp_path.iterdir())
    second.take()
    second.release()


def test_a_folder_that_is_not_there_yet_has_no_lock(tmp_path):
    lock = RunLock.of_folder(tmp_path / "run")
    lock.take()
    assert not list(tmp_path.iterdir())
    (tmp_path / "run").mkdir()
    lock.take()
    assert (tmp_path / "run" / LOCK).exists()
    lock.release()


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system cannot refuse links")
def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "other").write_text("mine")
    (tmp_path / LOCK).symlink_to(tmp_path / "other")
    with pytest.raises(OutputError, match="cannot be used as a lock"):
        RunLock.of_folder(tmp_path).take()
    assert (tmp_path / "other").read_text() == "mine"


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_nothing_is_learnt_from_a_shard_with_a_flipped_byte(cache, tmp_path):
    shards, run = save_shards(tmp_path / "shards"), tmp_path / "run"
    path = shards / "train-000000.tar"
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xd8") + 2000] ^= 0x20
    path.write_bytes(data)
    command = ["train", "basis", shards, "-o", run, *FIRST, *NO_START, "--steps", "4", "--cache", cache]
    code, out, err = ended(started(*command))
    assert (code, out) == (8, "")
    assert f"error: {path}: is damaged: its SHA-256 is not the one in manifest.json" in err
    assert "step 1 " not in err
    assert not list(tmp_path.glob("run/*.safetensors"))


def test_a_time_limit_has_an_exit_code_of_its_own(shards, tmp_path):
    command = ["train", "basis", shards, "-o", tmp_path / "run", *FIRST, *NO_START, "--steps", "1000000"]
    code, out, err = ended(started(*command, "--time-limit", "0.01s"))
    assert (code, out) == (75, "")
    assert "stopped: " in err
    assert "the same command with --resume continues" in err
    detect = ["train", "detect", shards, "-o", tmp_path / "marks.safetensors", "--patch", "64", "--batch", "1"]
    assert ended(started(*detect, "--time-limit", "0.01s"))[0] == 75
