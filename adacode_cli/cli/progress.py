"""The live line of a run on a terminal: how far, how fast, how much longer, and which file is at hand."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID
from rich.text import Text

from adacode_cli.cli.stderr import printable

# The line must not reach the terminal's edge: there the echo of Ctrl-C would begin a new line that is never erased.
_OTHER_COLUMNS = 70
_SHORTEST_PATH = 12


class LiveLine:
    """A progress line on `console`, which is a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            _Count(),
            BarColumn(bar_width=24),
            _Pace(),
            _CurrentFile(),
            console=console,
            transient=True,
        )
        self._path_width = max(_SHORTEST_PATH, console.width - _OTHER_COLUMNS)
        self._task: TaskID | None = None

    def begin(self, num_files: int) -> None:
        """Shows the line."""
        self._task = self._progress.add_task("", total=num_files, worked=0, path="")
        self._progress.start()

    def at(self, path: str) -> None:
        """Names the file at hand."""
        if self._task is not None:
            self._progress.update(self._task, path=_tail(printable(path), self._path_width))

    def step(self, *, worked: bool) -> None:
        """Counts one file; `worked` says that it took time, rather than being skipped."""
        if self._task is not None:
            so_far = self._progress.tasks[0].fields["worked"]
            self._progress.update(self._task, advance=1, worked=so_far + worked)

    def end(self) -> None:
        """Takes the line away; safe to call more than once."""
        self._progress.stop()


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:.0f}/{task.total or 0:.0f}", style="bold")


class _Pace(ProgressColumn):
    """Rate and remaining time from the files that were worked on; those skipped at once would flatter both."""

    def render(self, task: Task) -> Text:
        elapsed, worked = task.elapsed or 0.0, task.fields["worked"]
        if not worked or not elapsed:
            return Text(f"{duration(elapsed)} so far", style="cyan")
        remaining = ((task.total or 0) - task.completed) * elapsed / worked
        return Text(f"{rate(worked, elapsed)}, {duration(remaining)} left", style="cyan")


class _CurrentFile(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["path"], style="dim", no_wrap=True, overflow="ellipsis")


def _tail(path: str, width: int) -> str:
    """The end of a path, where files differ. Wide characters count twice on a terminal; rich crops what is too much."""
    return path if len(path) <= width else f"…{path[1 - width :]}"


def rate(num_files: int, seconds: float) -> str:
    """Files per second or, where that is below one, seconds per file."""
    per_second = num_files / seconds
    return f"{per_second:.1f} files/s" if per_second >= 1 else f"{1 / per_second:.1f} s/file"


def duration(seconds: float) -> str:
    """A time span in at most two units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
