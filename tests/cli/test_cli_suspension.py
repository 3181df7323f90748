"""Ctrl-Z: the terminal has its cursor while the program is stopped, and that time does not count as time of work."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time

import pytest
from adacode_process import Program, default_signals

if sys.platform == "win32":
    pytest.skip("Windows cannot stop a process so", allow_module_level=True)

SHOW, HIDE = b"\x1b[?25h", b"\x1b[?25l"
STOPPED_S = 6
WITHIN_S = 60


class Watched:
    """The program, with a terminal as its standard error."""

    def __init__(self, program: Program, *arguments: str) -> None:
        self._ours, theirs = os.openpty()
        # A process of a group that has no parent in its session would not stop.
        options = {"stderr": theirs, "preexec_fn": default_signals, "process_group": 0}
        self.process = program.start(*arguments, env={"TERM": "xterm"}, **options)
        os.close(theirs)
        self.received = b""

    def read(self, until: bytes | None) -> None:
        """Reads until the program has written this; None: until it ends."""
        end = time.monotonic() + WITHIN_S
        while until is None or until not in self.received:
            assert time.monotonic() < end, self.received
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    data = os.read(self._ours, 65536)
                except OSError:  # Linux reports so that the other end is closed
                    data = b""
                if not data:
                    return
                self.received += data

    def read_what_is_there(self) -> None:
        """Reads what the program has written by now."""
        while select.select([self._ours], [], [], 0.2)[0]:
            self.received += os.read(self._ours, 65536)


def test_ctrl_z_gives_the_cursor_back_and_its_time_does_not_count(adacode, photo):
    for i in range(8):
        photo(f"p/{i}.png", (200, 120))
    run = Watched(adacode, "sr", "p", "-o", "out", "--weights", "slow")
    run.read(b" left")
    run.process.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(run.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    run.read_what_is_there()
    assert run.received.rindex(SHOW) > run.received.rindex(HIDE)
    before = seconds_left(run.received)

    time.sleep(STOPPED_S)
    run.received = b""
    run.process.send_signal(signal.SIGCONT)
    run.read(None)
    assert run.process.wait(WITHIN_S) == 0
    assert HIDE in run.received
    after = seconds_left(run.received)
    assert after
    assert max(after) < before[-1] + STOPPED_S / 2
    assert run.received.rindex(SHOW) > run.received.rindex(HIDE)
    assert len(list((adacode.directory / "out").glob("*.png"))) == 8


def seconds_left(shown: bytes) -> list[int]:
    """Every time left that was shown, in seconds."""
    return [int(number) for number in re.findall(rb"(\d+) s left", shown)]
