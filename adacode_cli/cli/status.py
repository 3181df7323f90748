"""A line on a terminal that says what a command is doing, so that nothing is silent for long.

It is on standard error, has a spinner, and disappears when the step ends. Elsewhere, as in a pipe or with TERM=dumb,
nothing is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.text import Text

from adacode_cli.cli.run_text import rough
from adacode_cli.cli.signals import suspendable
from adacode_cli.cli.streams import printable, stderr_console

_BESIDE_TEXT = 6  # columns: the spinner, and the echo of Ctrl-C
Show = Callable[[str], None]
"""Replaces the text of the line."""


@contextmanager
def showing(what: str, *, quiet: bool = False) -> Iterator[Show]:
    """Within the block, a terminal shows `what`, or what the function is given that the block gets.

    quiet: nothing is shown.
    """
    console = stderr_console()
    if quiet or not console.can_change_lines:
        yield lambda _text: None
        return
    with suspendable(), console.status(_line(what, console.width)) as status:
        yield lambda text: status.update(_line(text, console.width))


@dataclass
class TimedCount:
    """Images that are treated one after the other: how many of `total` were begun, and when the first one was."""

    total: int = 0
    number: int = 0
    began: float = field(default_factory=time.monotonic)

    def next(self) -> str:
        """Begins the next one: "3/10, 2 min left" if the others take as long as those before."""
        done, now = self.number, time.monotonic()
        self.began = self.began if done else now
        self.number += 1
        left = f", {rough((now - self.began) / done * (self.total - done))} left" if done else ""
        return f"{self.number}/{self.total}{left}"

    def left_by_an_interruption(self) -> str:
        """What a measurement of these images says if it is interrupted."""
        return f"{max(0, self.number - 1)} of {self.total} images were measured; no figures are shown"


def _line(text: str, width: int) -> Text:
    """One line; what does not fit is cut off at its end."""
    line = Text(f"{printable(text)} …")
    line.truncate(max(1, width - _BESIDE_TEXT), overflow="ellipsis")
    return line
