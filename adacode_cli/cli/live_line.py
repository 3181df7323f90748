"""The progress of a run on a terminal: a line for the run, and one for the tiles of a picture that takes long.

Both are made for the width of the terminal: what does not fit is left out or, for a path, cut off at its beginning. So
no word is broken, and the lines never reach the edge: there the echo of Ctrl-C would begin a new line that is never
erased.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from adacode_cli.cli.run_text import duration, rate, rough
from adacode_cli.cli.signals import suspendable
from adacode_cli.cli.streams import printable
from adacode_cli.cli.time_left import TimeLeft, Works

_FREE_AT_THE_EDGE = 4  # columns for the echo of Ctrl-C
_BAR, _NARROW_BAR, _WIDE_TERMINAL = 24, 10, 100
_SPINNER = 1
_ENOUGH_OF_A_PATH, _SHORTEST_PATH = 16, 8
_SHORTEST_NAME = 4  # beside a number of pages
_LONG_S = 2.0  # a picture that is at work for longer has a line of its own
_PER_SECOND = 10


@dataclass
class _File:
    """A file that the network computes.

    path: its source as it is shown. since: when the network began. pages: how many are restored, in words, or "".
    share: what is computed of it, from 0 to 1.
    """

    source: str
    path: str
    since: float
    pages: str = ""
    share: float = 0.0


class LiveLine:
    """The progress on `console`, which is a terminal. clock: in seconds, as that of `TimeLeft`.

    Another thread draws it, so what is drawn changes under a lock.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._awake, self._lock = console, clock, threading.Lock()
        self._suspended_s, self._suspendable = 0.0, ExitStack()
        self._spinner = Spinner("dots")
        self._works, self._time = Works(0), TimeLeft(Works(0))
        self._begun = self._clock()
        self._total = self._ended = 0
        self._at_work: dict[str, _File] = {}  # in the order in which they were begun
        self._shown_last = _File("", "", 0.0)
        self._live = Live(console=console, get_renderable=self._shown, refresh_per_second=_PER_SECOND, transient=True)

    def expect(self, num_files: int) -> Works:
        """The works of so many files, to which their sizes can be added."""
        with self._lock:
            self._works = Works(num_files)
            self._time = TimeLeft(self._works)
            return self._works

    def begin(self, num_files: int) -> None:
        """Shows the progress of so many files."""
        if self._works.num_files != num_files:
            self.expect(num_files)
        self._total, self._begun = num_files, self._clock()
        self._suspendable.enter_context(suspendable(self._suspended))
        self._live.start(refresh=True)

    def at(self, source: Path) -> None:
        """The network begins with a file."""
        with self._lock:
            name, now = str(source), self._clock()
            self._works.is_made(name)
            self._at_work[name] = _File(name, printable(name), now)
            self._time.started(name, now)

    def at_page(self, source: Path, page: int, num_pages: int) -> None:
        """So many pages of a document are restored."""
        with self._lock:
            if (file := self._at_work.get(str(source))) is not None:
                file.pages = f" ({page}/{num_pages})"

    def advanced(self, source: Path, share: float) -> None:
        """The network has computed this share of a file, from 0 to 1."""
        with self._lock:
            self._time.advanced(str(source), share, self._clock())
            if share >= 1:
                self._leave(source)
            elif (file := self._at_work.get(str(source))) is not None:
                file.share = max(share, file.share)

    def step(self, source: Path, *, worked: bool) -> None:
        """Counts one file; `worked` is False for a file that the network did not make."""
        with self._lock:
            self._ended += 1
            self._time.finished(str(source), self._clock(), worked=worked)
            self._leave(source)

    def _leave(self, source: Path) -> None:
        file = self._at_work.pop(str(source), None)
        if file is not None:
            file.share = 0.0
            self._shown_last = file  # until another one is begun

    @property
    def _current(self) -> _File:
        """The file that was begun last, of those at work."""
        return next(reversed(self._at_work.values()), self._shown_last)

    def end(self) -> None:
        """Removes the lines; safe to call more than once."""
        self._live.stop()
        self._suspendable.close()

    def _clock(self) -> float:
        """The time without that in which Ctrl-Z had stopped the process."""
        return self._awake() - self._suspended_s

    def _suspended(self, seconds: float) -> None:
        self._suspended_s += seconds

    def _shown(self) -> RenderableType:
        width = self._console.width - _FREE_AT_THE_EDGE
        bar_width = _BAR if self._console.width >= _WIDE_TERMINAL else _NARROW_BAR
        with self._lock:
            now = self._clock()
            lines = [self._run_line(now, width, bar_width)]
            if (tiles := self._tiles_line(now, bar_width)) is not None:
                lines.append(tiles)
        return Group(*lines)

    def _run_line(self, now: float, width: int, bar_width: int) -> RenderableType:
        count = f"{self._ended}/{self._total}"
        room = width - _SPINNER - 1 - cell_len(count) - 1 - bar_width - 1
        pace = self._pace(now, room)
        path = _fitted(self._current.path, self._current.pages, room - cell_len(pace) - 1)
        bar = ProgressBar(total=1, completed=self._time.share, width=bar_width)
        return _row(self._spinner, Text(count, "bold"), bar, Text(pace, "cyan"), Text(path, "dim"))

    def _pace(self, now: float, room: int) -> str:
        """How fast the run is, and the time that is left, as far as they are known and fit."""
        left = self._time.left(now)
        if left is None:
            return f"{duration(now - self._begun)} so far"
        short = f"{rough(left)} left"
        if not self._time.num_worked:
            return short
        long = f"{rate(self._time.num_worked, max(self._time.worked_s, 1e-3))}, {short}"
        wanted = min(cell_len(self._current.path), _ENOUGH_OF_A_PATH) + cell_len(self._current.pages)
        return long if cell_len(long) + 1 + wanted <= room else short

    def _tiles_line(self, now: float, bar_width: int) -> RenderableType | None:
        """The tiles of the current picture, if it takes long and some of them are done."""
        file = self._current
        share, megapixels = file.share, self._works.megapixels(file.source)
        if not share or now - file.since < _LONG_S:
            return None
        done = f"{share:.0%} of this file"
        if megapixels:
            done = f"{share * megapixels:.{_digits(megapixels)}f} of {megapixels:.{_digits(megapixels)}f} megapixels"
        bar = ProgressBar(total=1, completed=share, width=bar_width)
        return _row(Text(" "), bar, Text(done, "cyan"))


def _row(*cells: RenderableType) -> Table:
    """Cells beside one another; each is as wide as it is, and all of them fit."""
    row = Table.grid(padding=(0, 1), pad_edge=False)
    for _ in cells:
        row.add_column(no_wrap=True)
    row.add_row(*cells)
    return row


def _digits(megapixels: float) -> int:
    """Decimal places for a number of megapixels."""
    return 0 if megapixels >= 100 else 1 if megapixels >= 1 else 2


def _fitted(path: str, pages: str, room: int) -> str:
    """The end of a path, where files differ, and the number of pages; empty where there is no room for them."""
    if pages:
        room = max(room - cell_len(pages), _SHORTEST_NAME)
    elif room < _SHORTEST_PATH:
        return ""
    if cell_len(path) > room:
        path = f"…{_end(path, room - 1)}"
    return f"{path}{pages}"


def _end(text: str, room: int) -> str:
    """The longest end of `text` that takes at most `room` columns; wide characters take two."""
    start = len(text)
    while start > 0 and (room := room - cell_len(text[start - 1])) >= 0:
        start -= 1
    return text[start:]
