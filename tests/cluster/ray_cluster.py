"""A real Ray cluster of two machines, both of them this one, for the tests; and what waits for a run."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FAULTY = os.pathsep.join([str(HERE / "faulty"), str(ROOT)])
PATIENCE_S = 300.0  # no machine is too slow for this


class Cluster:
    """The cluster of `two_machines.py`. env: with which a driver can connect. variables: those of all machines."""

    def __init__(self, **variables: str) -> None:
        password = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.env = {"RAY_USAGE_STATS_ENABLED": "0", **password}
        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": FAULTY, "FAULTY": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "two_machines.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**os.environ, **own, **self.env, **variables},
        )
        self.address = self._process.stdout.readline().strip()
        assert self.address, "the cluster did not start"
        self._number = 0
        self.have(2)

    def gain(self, **variables: str) -> None:
        """One more machine with two CPUs."""
        self._say("gain " + " ".join(f"{name}={value}" for name, value in variables.items()))
        self._number += 1

    def lose(self) -> None:
        """The machine that came last is gone."""
        self._say("lose")
        self._number -= 1

    def have(self, number: int) -> None:
        """There are so many machines with CPUs."""
        while self._number > number:
            self.lose()
        while self._number < number:
            self.gain()

    def _say(self, command: str) -> None:
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline()

    def workers(self) -> list[int]:
        """The process numbers of the actors, on all machines."""
        return workers_of(self._process.pid)

    def close(self) -> None:
        """Ends all processes."""
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)


def workers_of(session: int) -> list[int]:
    """The process numbers of the actors of adacode in a session of processes (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            number = int(path.name)
            if os.getsid(number) == session and b"ray::WorkerActor" in (path / "cmdline").read_bytes():
                found.append(number)
        except OSError:
            continue
    return found


def until(condition, process: subprocess.Popen[bytes]) -> None:
    """Waits for a condition while a process runs."""
    began = time.monotonic()
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() - began < PATIENCE_S
        time.sleep(0.02)


def comes(condition) -> bool:
    """Whether a condition comes true; it waits long for that."""
    began = time.monotonic()
    while not (is_true := condition()) and time.monotonic() - began < PATIENCE_S:
        time.sleep(0.1)
    return bool(is_true)


def write_photos(folder: Path, widths: Sequence[int]) -> None:
    """Writes noisy images, which are the same each time, into a new folder."""
    folder.mkdir()
    for number, width in enumerate(widths):
        pixels = np.random.default_rng(number).integers(0, 256, (32, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
