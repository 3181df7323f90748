"""The program as a process of its own, with an environment that does not depend on who runs the tests."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from warm_program import Started, WarmProgram

ROOT = Path(__file__).parent.parent.parent
FAKE = [sys.executable, str(Path(__file__).parent / "fake_program.py")]
REAL = [sys.executable, "-m", "adacode_cli"]
_TIMEOUT_S = 300
# With these words, a run starts processes that find the program by how it was started itself.
_STARTING_OTHERS = {"--processes", "--engine"}


@cache
def _cache() -> str:
    """A folder that is removed when the tests end. What dry runs measure is kept there."""
    folder = tempfile.TemporaryDirectory(prefix="adacode-cache-")
    atexit.register(folder.cleanup)
    return folder.name


def environment(**more: str) -> dict[str, str]:
    """Nothing of the person who runs the tests: no colours, no settings, a fixed width, no network, one thread."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ADACODE_", "HF_"))}
    for name in ("FORCE_COLOR", "NO_COLOR", "PYTEST_CURRENT_TEST", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        kept.pop(name, None)
    paths = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    fixed = {
        "ADACODE_CACHE": _cache(),
        "ADACODE_CONFIG": "none",
        "COLUMNS": "100",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": paths,
        "TERM": "dumb",
    }
    return kept | fixed | more


def write_noise(folder: Path, name: str, size: tuple[int, int] = (24, 16)) -> Path:
    """Writes a noisy image of width × height below a folder; its pixels depend on its name. Returns its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(sum(os.fsencode(name))).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def own_terminal() -> None:
    """For `preexec_fn`, with a new session: standard input is a terminal, and its keys send signals."""
    import fcntl
    import termios

    default_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def default_signals() -> None:
    """For `preexec_fn`: tests in the background ignore SIGINT, or below nohup SIGHUP, and children inherit that."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@cache
def _warm() -> WarmProgram:
    return WarmProgram(environment())


class Program:
    """`adacode` in a working directory; `network=False` replaces the network by a nearest-neighbour restorer."""

    def __init__(self, directory: Path, *, network: bool) -> None:
        self.directory = directory
        self.command = REAL if network else FAKE

    def __call__(self, *arguments: str, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
        """A run to its end, forked from a process that has the libraries, or a fresh one where a fork would differ."""
        wanted = environment(**env)
        if warm := self._warm_one(wanted):
            place = {"directory": self.directory, "environment": wanted}
            return warm.run(self.command[1:], arguments, **place, stdin=stdin, timeout_s=_TIMEOUT_S)
        return subprocess.run(
            [*self.command, *arguments],
            cwd=self.directory,
            env=wanted,
            input=stdin,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )

    def start(
        self, *arguments: str, env: dict[str, str] | None = None, fresh: bool = False, **options
    ) -> subprocess.Popen[bytes]:
        """A run that goes on. fresh: by an interpreter of its own, also where a fork would do."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        wanted = environment(**(env or {}))
        starts_others = not _STARTING_OTHERS.isdisjoint(arguments)
        if not (fresh or starts_others) and Started.can_start_with(pipes) and (warm := self._warm_one(wanted)):
            return warm.start(self.command[1:], arguments, directory=self.directory, environment=wanted, **pipes)
        return subprocess.Popen([*self.command, *arguments], cwd=self.directory, env=wanted, **pipes)

    def _warm_one(self, wanted: dict[str, str]) -> WarmProgram | None:
        """The process to fork from, if a fork does what a fresh interpreter would do."""
        is_usual = self.command in (REAL, FAKE) and hasattr(os, "fork")
        return warm if is_usual and (warm := _warm()).can_run_in(wanted) else None
