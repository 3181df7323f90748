"""`--engine ray` without an address: a cluster of this machine for one run, which leaves nothing, however it ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest
from adacode_process import default_signals
from ray_cluster import FAULTY, PATIENCE_S, comes, until
from test_cluster_runs import events, journal, linux, tree

from adacode_cli.batch.cluster.local_cluster import local_cluster

RAY = ("--engine", "ray", "--num-workers", "2")
ENV = {"PYTHONPATH": FAULTY, "FAULTY": "1"}
SIGNALLED = {"start_new_session": True, "preexec_fn": default_signals}
pytestmark = linux


class Leftovers:
    """What runs have left since this was made: clusters, their folders, and shared memory."""

    def __init__(self) -> None:
        self._sessions, self._files = self._all_sessions(), self._all_files()

    def sessions(self, run: int | None = None) -> set[int]:
        """The sessions of processes of clusters that runs have started, or that one run has, by its process number."""
        return self._all_sessions(run) - self._sessions

    def nothing(self) -> bool:
        """Whether there is nothing, and no process of such a cluster."""
        return not self.sessions() and not self._all_files() - self._files

    def open_to_others(self) -> list[Path]:
        """The folders of clusters that other users may look into."""
        found = []
        for path in self._all_files() - self._files:
            with suppress(OSError):  # a cluster has ended meanwhile
                found += [path] if path.stat().st_mode & 0o077 and path.is_dir() else []
        return found

    def _all_sessions(self, run: int | None = None) -> set[int]:
        found = set()
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                is_cluster = b"adacode_cli.batch.cluster.local_cluster" in (path / "cmdline").read_bytes()
                if is_cluster and run in (None, parent):
                    found.add(os.getsid(int(path.name)))
        return found

    def _all_files(self) -> set[Path]:
        return {*Path("/tmp").glob("adacode-ray-*"), *Path("/dev/shm").glob("*plasma*")}


def processes_of(session: int) -> dict[str, int]:
    """The processes of a session, by the names of their programs."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getsid(int(path.name)) == session:
                found[(path / "comm").read_text().strip()] = int(path.name)
    return found


def listening(processes: Iterable[int]) -> set[str]:
    """The addresses where these processes listen, in hexadecimal."""
    sockets = set()
    for number in processes:
        for path in Path(f"/proc/{number}/fd").iterdir():
            with suppress(OSError):
                sockets.add(str(path.readlink()).removeprefix("socket:[").removesuffix("]"))
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and line[9] in sockets}


@pytest.fixture
def left():
    return Leftovers()


def test_sigterm_to_all_processes_ends_the_run_and_its_cluster(adacode, photos, tmp_path, left):
    photos(*[24] * 3, *[33] * 5)
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
    assert comes(left.nothing)


def test_a_start_that_is_stopped_leaves_nothing(adacode, photos, left):
    photos(24, 24)
    with adacode.start("sr", "p", "--weights", "nearest", *RAY, env=ENV, **SIGNALLED) as process:
        until(lambda: left.sessions(process.pid), process)
        time.sleep(3.0)  # It imports Ray, or connects, or waits for its workers.
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
    assert comes(left.nothing)


def test_the_cluster_ends_with_a_run_that_is_killed(adacode, photos, tmp_path, left):
    photos(24, 33, 33)
    out = tmp_path / "p-sr-x4"
    written = out / ".adacode" / "journal.jsonl"
    with adacode.start("sr", "p", "--weights", "wait", *RAY, env=ENV) as process:
        until(lambda: written.exists() and len(journal(out)) == 1, process)
        assert left.open_to_others() == []
        process.kill()
        process.communicate(timeout=PATIENCE_S)
    assert comes(left.nothing)
    result = adacode("sr", "p", "--weights", "nearest", "--json")
    assert (result.returncode, events(result.stdout)[-1]["done"]) == (0, 2), result.stderr
    assert len(tree(out)) == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_cluster_whose_first_process_is_ended_leaves_nothing(left, monkeypatch, number):
    """Ray kills this process if one of its own fails during a run. Who stops a service sends SIGTERM to all."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.setenv(name, "")  # to be restored
    with local_cluster(cpus=1, gpus=0):
        (holder,) = left.sessions(os.getpid())
        (started,) = Path(f"/proc/{holder}/task/{holder}/children").read_text().split()
        for process in (int(started), *([holder] if number == signal.SIGTERM else [])):
            os.kill(process, number)
        assert comes(left.nothing)


def test_a_cluster_that_is_gone_ends_the_run_which_the_same_command_finishes(adacode, photos, tmp_path, left):
    photos(24, 33, 24, 33)
    out, go_on = tmp_path / "p-sr-x4", tmp_path / "go on"
    env = {**ENV, "PAUSE": str(go_on), "LOOK_EVERY": "0.3"}
    command = ("sr", "p", "--weights", "pause", "--json", *RAY)
    with adacode.start(*command, env=env) as process:
        until(lambda: tree(out), process)
        (session,) = left.sessions(process.pid)
        addresses = listening([process.pid, *processes_of(session).values()])
        assert addresses
        assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1 in both families
        for name in ("gcs_server", "raylet"):
            os.kill(processes_of(session)[name], signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 5, stdout
    message = events(stdout)[-1]["error"]["message"]
    assert message.startswith("the Ray cluster at 127.0.0.1:")
    assert message.endswith(" does not answer any more")
    assert stderr == b""
    go_on.touch()
    with adacode.start(*command, env=env) as process:
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, stderr) == (0, b"")
    last = events(stdout)[-1]
    assert last["done"] + last["skipped"] == 4
    assert len(tree(out)) == 4
    assert comes(left.nothing)
