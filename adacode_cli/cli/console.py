"""What a run shows: to a person on standard error, to a program as JSON lines on standard output.

A terminal shows a live line with failures above it; a file receives one plain line for each image. With `--quiet`
only failures are shown. Standard output receives data only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from rich.text import Text

from adacode_cli.cli import json_events
from adacode_cli.cli.cost import cost_lines, too_small_line
from adacode_cli.cli.live_line import LiveLine
from adacode_cli.cli.run_text import awaited_line, failed_line, finished_lines, outcome_line
from adacode_cli.cli.signals import say_at_a_signal
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import error_text, printable, printable_trace, stderr_console, whole, write_line
from adacode_cli.sizes import AS_LARGE, Fate

if TYPE_CHECKING:
    from adacode_cli.batch.events import Event
    from adacode_cli.batch.left_out import LeftOut
    from adacode_cli.batch.outcome import Outcome
    from adacode_cli.batch.plan import Job
    from adacode_cli.cli.cost import Cost
    from adacode_cli.cli.time_left import Works


# For a second signal, and for a run that does not end soon after the first one.
_ENDED_AT_ONCE = "interrupted: ended at once; the same command does the rest"


class Console(Protocol):
    """Shows what a command does. It is entered for the time of a run."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def on_event(self, event: Event) -> None:
        """Shows one event of a run."""

    def planned(self, job: Job, fate: Fate | None = None) -> None:
        """Shows one job of a dry run. fate: None if it is not known."""

    def left_out(self, source: Path, target: Path | None, reason: str, *, is_unread: bool = False) -> None:
        """Shows a file that a dry run would not restore. `is_unread`: as in `PassedOver`."""

    def others_left_out(self, left_out: LeftOut) -> None:
        """Shows how many files of other kinds a dry run has found."""

    def would_fail(self, outcome: Outcome) -> None:
        """Shows a file of which a dry run knows that it would fail."""

    def estimated(self, cost: Cost) -> None:
        """Shows what the run of a dry run needs."""

    @contextmanager
    def expecting(self, num_files: int, read: Callable[[Works], Iterator[None]]) -> Iterator[None]:
        """Within the block, a run over so many files is shown. `read` adds their sizes, one at each step; it is called
        only where the time that is left is shown, in another thread.
        """

    def note(self, name: str, text: str) -> None:
        """Shows a note about one file."""

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Shows that a step without events is running."""


def console_for(task: str, *, quiet: bool, verbose: int, as_json: bool, live: bool = True) -> Console:
    """The console that the options ask for. verbose: the number of -v. live: whether a terminal has a live line."""
    return JsonConsole(task) if as_json else HumanConsole(quiet=quiet, verbose=verbose, live=live)


class JsonConsole:
    """Every event is a line on standard output (`json_events` documents them); standard error stays empty."""

    def __init__(self, task: str) -> None:
        self._task = task

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def on_event(self, event: Event) -> None:
        line = json_events.line_of(event, self._task)
        if line is not None:
            write_line(line)

    def planned(self, job: Job, fate: Fate | None = None) -> None:
        write_line(json_events.planned(job, fate))

    def left_out(self, source: Path, target: Path | None, reason: str, *, is_unread: bool = False) -> None:
        del is_unread
        write_line(json_events.skipped(source, target, reason))

    def others_left_out(self, left_out: LeftOut) -> None:
        write_line(json_events.others_left_out(left_out))

    def would_fail(self, outcome: Outcome) -> None:
        write_line(json_events.failed(outcome))

    def estimated(self, cost: Cost) -> None:
        write_line(json_events.estimated(cost))

    @contextmanager
    def expecting(self, num_files: int, read: Callable[[Works], Iterator[None]]) -> Iterator[None]:
        del num_files, read
        yield

    def note(self, name: str, text: str) -> None:
        """Notes are part of `file-done`."""

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        del what
        yield


class HumanConsole:
    """For a person: a live line on a terminal, a line per file elsewhere, failures always.

    verbose: 1 shows more about each file, 2 also tracebacks.
    """

    def __init__(self, *, quiet: bool, verbose: int, live: bool = True) -> None:
        self._console = stderr_console()
        self._quiet = quiet
        self._verbose = verbose
        self._live = LiveLine(self._console) if self._console.can_change_lines and live and not quiet else None
        self._total = 0
        self._counted = 0
        self._roots: tuple[Path, ...] = ()
        self._hints: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.end()

    def on_event(self, event: Event) -> None:
        """Shows an event of a run to a person: the live bar, a line a file, the summary."""
        from adacode_cli.batch import events

        match event:
            case events.RunStarted(num_files, roots):
                self._total, self._roots = num_files, roots
                say_at_a_signal("" if self._quiet else _ENDED_AT_ONCE)
                if self._live:
                    self._live.begin(num_files)
            case events.FilesAdded(num_files):
                self._total += num_files
            case events.EntryPassedOver(path, reason, is_unread):
                self.left_out(path, None, reason, is_unread=is_unread)
            case events.OthersLeftOut():
                return  # the summary has them
            case events.FileStarted() | events.PageFinished() | events.FileAdvanced():
                self._show_place(event)
            case events.FileAwaited(job, holder):
                self._say(awaited_line(job.source, holder))
            case events.FileFinished(outcome):
                self._finished(outcome)
            case events.RunFinished(report):
                say_at_a_signal("")
                if self._live:
                    self._live.end()
                is_interrupted = isinstance(report.stopped_by, KeyboardInterrupt)
                only_an_error = report.stopped_by and not is_interrupted and report.untouched == report.total
                if report.failed or not (self._quiet or only_an_error):
                    self._print(finished_lines(report, self._roots, detailed=self._verbose > 0))
                if report.log_error:
                    self._print(error_text(report.log_error))

    def _show_place(self, event: Event) -> None:
        """Names the current file, and how much of it is restored, on the live line."""
        from adacode_cli.batch import events

        if self._live is None:
            return
        match event:
            case events.FileStarted(job):
                self._live.at(job.source)
            case events.PageFinished(job, page, num_pages):
                self._live.at_page(job.source, page, num_pages)
            case events.FileAdvanced(job, share):
                self._live.advanced(job.source, share)

    def planned(self, job: Job, fate: Fate | None = None) -> None:
        without_network = f" ({fate})" if fate in AS_LARGE else ""
        write_line(f"{job.source} -> {job.target}{without_network}")

    def left_out(self, source: Path, target: Path | None, reason: str, *, is_unread: bool = False) -> None:
        del target
        if self._verbose or not is_unread:  # Otherwise the counts by kind say enough.
            self._say(Text.assemble("left out: ", whole(source), printable(f": {reason}"), style="dim"))

    def others_left_out(self, left_out: LeftOut) -> None:
        self._say(Text("\n".join(filter(None, (printable(left_out.text), left_out.advice))), style="dim"))

    def would_fail(self, outcome: Outcome) -> None:
        self._show_failure(outcome, "would fail: ")

    def estimated(self, cost: Cost) -> None:
        for line in cost_lines(cost):
            self._say(line)
        for disk in cost.disks:
            if disk.is_too_small:
                self._print(too_small_line(disk))

    def note(self, name: str, text: str) -> None:
        self._say(Text.assemble(whole(name), printable(f": {text}"), style="dim"))

    @contextmanager
    def expecting(self, num_files: int, read: Callable[[Works], Iterator[None]]) -> Iterator[None]:
        """As `Console.expecting`; the sizes are read while the run goes on."""
        if self._live is None:
            yield
            return
        works, is_over = self._live.expect(num_files), threading.Event()

        def read_all() -> None:
            """Ten thousand headers take a second, for which the run does not wait."""
            for _ in read(works):
                if is_over.is_set():
                    return

        reading = threading.Thread(target=read_all, daemon=True, name="sizes")
        reading.start()
        try:
            yield
        finally:
            is_over.set()

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        with showing(what, quiet=self._quiet):
            yield

    def _finished(self, outcome: Outcome) -> None:
        self._counted += 1
        if self._live:
            is_made = outcome.result.value == "done" and outcome.fate is Fate.RESTORED
            self._live.step(outcome.source, worked=is_made)
        if outcome.failure:
            self._show_failure(outcome, "failed: ")
            if self._verbose > 1:
                self._print(Text(printable_trace(outcome.failure.trace), style="dim"))
        elif self._verbose or not self._live:
            self._say(outcome_line(outcome, self._counted, self._total, detailed=self._verbose > 0))
        elif outcome.notes:
            self.note(str(outcome.source), "; ".join(outcome.notes))

    def _show_failure(self, outcome: Outcome, begins: str) -> None:
        """Shows a failed file; what to do next is said once, because many files may fail for the same reason."""
        hint = outcome.failure.hint if outcome.failure else ""
        is_new = hint not in self._hints
        self._hints.add(hint)
        self._print(failed_line(outcome, hint_below=self._console.is_terminal, begins=begins, hinted=is_new))

    def _say(self, text: Text) -> None:
        if not self._quiet:
            self._print(text)

    def _print(self, text: Text) -> None:
        self._console.print(text)
