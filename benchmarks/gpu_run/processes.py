"""A command as a process of its own: its output goes to a file, and at its limit it ends together with its children."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

# From the polite signal to the one that nobody can refuse. Training writes its checkpoint in that time.
GRACE_S = 5.0
_LOOK_EVERY_S = 0.1
_MAX_LOG_BYTES = 4 << 20
_NOT_STARTED = 127


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: its exit status, or minus the number of the signal that ended it.

    why: "itself", or that it was told to end: at its limit, or because this program was interrupted.
    """

    seconds: float
    code: int
    why: Literal["itself", "limit", "interrupted"] = "itself"


class Interruption:
    """Remembers that somebody wants this program to end, so that it can still say what it has found."""

    def __init__(self) -> None:
        self.number = 0

    def __bool__(self) -> bool:
        return self.number != 0

    def listen(self) -> None:
        """From now on the usual signals are remembered and end nothing by themselves. For the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._remember)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.number = number


def run(
    command: Sequence[str],
    log: Path,
    limit_s: float,
    interruption: Interruption,
    *,
    cwd: Path,
    environment: Mapping[str, str],
    meanwhile: Callable[[], None] = lambda: None,
) -> Ended:
    """Runs a command in a session of its own and appends what it prints to `log`. `meanwhile` is called while it runs.

    Whatever it has started ends with it. A command that cannot be started ends with 127, as a shell has it.
    """
    start = time.monotonic()
    with log.open("ab") as output:
        output.write(f"$ {shlex.join(command)}\n".encode())
        output.flush()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=cwd,
                env=dict(environment),
            )
        except OSError as error:
            output.write(f"could not be started: {error}\n".encode())
            return Ended(time.monotonic() - start, _NOT_STARTED)
        why = _wait(process, start + limit_s, interruption, meanwhile)
        if why != "itself":
            _signal_group(process, signal.SIGTERM)
            _wait(process, time.monotonic() + GRACE_S, Interruption(), lambda: None)
        _signal_group(process, signal.SIGKILL)
        code = process.wait()
        seconds = time.monotonic() - start
        output.write(f"[{seconds:.1f} s, {code}{'' if why == 'itself' else f', {why}'}]\n".encode())
    return Ended(seconds, code, why)


def _wait(
    process: subprocess.Popen[bytes], deadline: float, interruption: Interruption, meanwhile: Callable[[], None]
) -> Literal["itself", "limit", "interrupted"]:
    """Until the process has ended, without taking its exit status: its number must not go to another one yet."""
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if interruption:
            return "interrupted"
        if time.monotonic() > deadline:
            return "limit"
        meanwhile()
        time.sleep(_LOOK_EVERY_S)
    return "itself"


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # all of them have ended; macOS says it in the second way
        return


def shorten(log: Path) -> None:
    """Takes the middle out of a file that is too long to be sent home."""
    size = log.stat().st_size if log.is_file() else 0
    if size <= _MAX_LOG_BYTES:
        return
    half = _MAX_LOG_BYTES // 2
    with log.open("rb") as file:
        first = file.read(half)
        file.seek(size - half)
        last = file.read()
    log.write_bytes(first + f"\n[{size - 2 * half} bytes left out]\n".encode() + last)
