"""`--engine ray` without an address: a cluster of this machine for one run, with a restorer that fails on request."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from adacode_process import default_signals
from ray_cluster import FAULTY, PATIENCE_S, comes, until
from test_cluster_runs import events, journal, linux, tree

RAY = ("--engine", "ray", "--num-workers", "2")
ENV = {"PYTHONPATH": FAULTY, "FAULTY": "1"}
SIGNALLED = {"start_new_session": True, "preexec_fn": default_signals}


def sessions_of_clusters() -> set[int]:
    """The sessions of all clusters that runs have started on this machine (Linux)."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if b"adacode_cli.batch.cluster.local_cluster" in (path / "cmdline").read_bytes():
                found.add(os.getsid(int(path.name)))
    return found


def test_a_file_that_ends_two_workers_fails_by_name(adacode, photos, tmp_path):
    photos(24, 24, 33, 24, 24, 24)
    process = adacode.start("sr", "p", "--weights", "dies", "--json", *RAY, env=ENV)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 9, stderr
    assert stderr == b""
    (failed,) = (event for event in events(stdout) if event["event"] == "file-failed")
    assert failed["source"] == "p/02.png"
    assert "two workers ended while they restored it" in failed["error"]["message"]
    assert sorted(tree(tmp_path / "p-sr-x4")) == ["00.png", "01.png", "03.png", "04.png", "05.png"]


def test_a_device_error_that_every_file_meets_ends_the_run(adacode, photos, tmp_path):
    photos(24, 24, *[33] * 6)
    process = adacode.start("sr", "p", "--weights", "no-device", "--json", *RAY, env=ENV)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 5, stdout
    assert "the device is gone" in events(stdout)[-1]["error"]["message"]
    assert stderr == b""
    assert sorted(tree(tmp_path / "p-sr-x4")) == ["00.png", "01.png"]


@linux
def test_sigterm_to_all_processes_ends_the_run_and_its_cluster(adacode, photos, tmp_path):
    photos(*[24] * 3, *[33] * 5)
    before = sessions_of_clusters()
    with adacode.start("sr", "p", "--weights", "wait", *RAY, env=ENV, **SIGNALLED) as process:
        until(lambda: len(tree(tmp_path / "p-sr-x4")) == 3, process)
        time.sleep(0.5)  # The workers stand at a file each.
        os.killpg(process.pid, signal.SIGTERM)
        _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "interrupted: 3 restored, 5 not done" in stderr.decode()
    for noise in (b"Traceback", b"SIGTERM", b"raylet", b"ray."):
        assert noise not in stderr
    assert sorted(line["target"] for line in journal(tmp_path / "p-sr-x4")) == ["00.png", "01.png", "02.png"]
    assert comes(lambda: not sessions_of_clusters() - before)


@linux
@pytest.mark.parametrize("seconds", [3.0, 5.0])
def test_a_start_that_is_stopped_leaves_nothing(adacode, photos, tmp_path, seconds):
    photos(24, 24)
    folders, before = set(Path("/tmp").glob("adacode-ray-*")), sessions_of_clusters()
    with adacode.start("sr", "p", "--weights", "nearest", *RAY, env=ENV, **SIGNALLED) as process:
        until(lambda: sessions_of_clusters() - before, process)
        time.sleep(seconds)  # at different points of the start
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
    assert comes(lambda: not sessions_of_clusters() - before)
    assert set(Path("/tmp").glob("adacode-ray-*")) <= folders


@linux
def test_the_cluster_ends_with_a_run_that_is_killed(adacode, photos, tmp_path):
    photos(24, 33, 33)
    out = tmp_path / "p-sr-x4"
    written = out / ".adacode" / "journal.jsonl"
    before = sessions_of_clusters()
    with adacode.start("sr", "p", "--weights", "wait", *RAY, env=ENV) as process:
        until(lambda: written.exists() and len(journal(out)) == 1, process)
        process.kill()
        process.communicate(timeout=PATIENCE_S)
    assert comes(lambda: not sessions_of_clusters() - before)
    process = adacode.start("sr", "p", "--weights", "nearest", "--json", env=ENV)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, events(stdout)[-1]["done"]) == (0, 2), stderr
    assert len(tree(out)) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_unknown_weights_of_workers_end_the_run(adacode, photos, tmp_path):
    photos(24, 24)
    process = adacode.start("sr", "p", "--weights", "other-task", *RAY, env=ENV)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 4
    assert stderr.decode().count("other-task is not for sr") == 1
    assert f"on {socket.gethostname()}: other-task" in " ".join(stderr.decode().split())
    assert not (tmp_path / "p-sr-x4").exists()
