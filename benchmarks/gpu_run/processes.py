"""Runs a command as a separate process: its output goes to a file, and at its time limit it ends with its children."""

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

# From SIGTERM to SIGKILL. Training writes its checkpoint in that time.
GRACE_S = 5.0
_LOOK_EVERY_S = 0.1
_MAX_LOG_BYTES = 4 << 20
_NOT_STARTED = 127


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: its exit status, or minus the number of the signal that ended it.

    why: "itself", or the reason why it was stopped: "limit", or "interrupted" with this program.
    """

    seconds: float
    code: int
    why: Literal["itself", "limit", "interrupted"] = "itself"


class Interruption:
    """Records a request to end this program, so that it can still write its results."""

    def __init__(self) -> None:
        self.number = 0

    def __bool__(self) -> bool:
        return self.number != 0

    def listen(self) -> None:
        """From now on the usual signals are recorded and do not end the program. Call it in the main thread."""
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
    """Runs a command in a new session and appends its output to `log`. `meanwhile` is called while it runs.

    Its child processes end with it. A command that cannot be started ends with 127, as in a shell.
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
    """Until the process has ended, without taking its exit status: its PID must not be reused yet."""
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
    except (ProcessLookupError, PermissionError):  # all of them have ended; macOS raises the second error
        return


def shorten(log: Path) -> None:
    """Removes the middle of a file that is too large."""
    size = log.stat().st_size if log.is_file() else 0
    if size <= _MAX_LOG_BYTES:
        return
    half = _MAX_LOG_BYTES // 2
    with log.open("rb") as file:
        first = file.read(half)
        file.seek(size - half)
        last = file.read()
    log.write_bytes(first + f"\n[{size - 2 * half} bytes left out]\n".encode() + last)
