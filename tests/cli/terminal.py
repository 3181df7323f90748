"""A program in a pseudo-terminal, and what a person sees of it: pyte interprets what is written, as a terminal does."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pyte
from adacode_process import Program, own_terminal

_ENDS_WITHIN_S = 120
CTRL_C = b"\x03"
Look = Callable[[list[str]], bytes | None]
"""(the lines that a person sees) → keys that the person presses now, if any."""


@dataclass
class Seen:
    """What was on the screen: every picture of it that differs from the one before, and the last one.

    Each is a list of lines, without empty ones at the end. cursor_shown: whether the terminal shows its cursor again.
    """

    pictures: list[list[str]] = field(default_factory=list)
    returncode: int | None = None
    cursor_shown: bool = False

    @property
    def last(self) -> list[str]:
        """The last picture."""
        return self.pictures[-1]


def seen(
    program: Program,
    *arguments: str,
    columns: int,
    rows: int = 24,
    look: Look = lambda _lines: None,
    env: dict[str, str] | None = None,
    fresh: bool = False,
) -> Seen:
    """Runs the program to its end in a terminal of this size. env: further variables. fresh: as in `Program.start`."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    variables = {"TERM": "xterm", "COLUMNS": str(columns), "LINES": str(rows)} | (env or {})
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = program.start(
        *arguments, env=variables, fresh=fresh, start_new_session=True, preexec_fn=own_terminal, **streams
    )
    os.close(theirs)
    try:
        return _watched(process, ours, pyte.Screen(columns, rows), look)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _watched(process: subprocess.Popen[bytes], ours: int, screen: pyte.Screen, look: Look) -> Seen:
    stream, found, until = pyte.ByteStream(screen), Seen([[]]), time.monotonic() + _ENDS_WITHIN_S
    while time.monotonic() < until:
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(ours, 65536)
        except OSError:  # Linux reports so that the other end is closed
            data = b""
        if not data:
            found.returncode = process.wait(_ENDS_WITHIN_S)
            found.cursor_shown = not screen.cursor.hidden
            return found
        stream.feed(data)
        lines = "\n".join(line.rstrip() for line in screen.display).rstrip("\n").split("\n")
        if lines != found.last:
            found.pictures.append(lines)
        if keys := look(lines):
            os.write(ours, keys)
    raise AssertionError(f"the program has not ended: {found.last}")
