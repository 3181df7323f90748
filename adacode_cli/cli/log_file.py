"""`--log-file`: what a run does, a line for each file with the time, appended to a file beside whatever is shown.

The tracebacks of failures are in it always, because a run of a night cannot be asked again with -v.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from adacode_cli import atomic
from adacode_cli.cli.run_text import awaited_line, failed_line, finished_lines, outcome_line
from adacode_cli.cli.stderr import printable
from adacode_cli.errors import AdaCodeError, OutputError

if TYPE_CHECKING:
    from adacode_cli.batch.events import Event

OnEvent = Callable[["Event"], None]


@contextmanager
def logged(path: Path | None, on_event: OnEvent) -> Iterator[OnEvent]:
    """Within the block, what handles events: `on_event`, and before it the log `path`, if there is one.

    Raises OutputError where the log cannot be written.
    """
    if path is None:
        yield on_event
        return
    try:
        file = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
    except OSError as error:
        raise _refused(path, error) from error
    with file:
        log = _Log(path, file)

        def both(event: Event) -> None:
            log.on_event(event)
            on_event(event)

        yield both


class _Log:
    def __init__(self, path: Path, file: TextIOWrapper) -> None:
        self._path, self._file = path, file
        self._total = self._count = 0
        self._roots: tuple[Path, ...] = ()

    def on_event(self, event: Event) -> None:
        """Appends the event's lines. Raises OutputError."""
        stamp = datetime.now().astimezone().isoformat(timespec="seconds")
        try:
            for text in self._texts(event):
                self._file.write(f"{stamp} {text}\n")
        except OSError as error:
            raise _refused(self._path, error) from error

    def _texts(self, event: Event) -> Iterator[str]:
        from adacode_cli.batch import events

        match event:
            case events.RunStarted(num_files, roots):
                self._total, self._roots = num_files, roots
                yield f"started: {num_files} files"
            case events.EntryPassedOver(path, reason):
                yield f"left out: {printable(str(path))}: {reason}"
            case events.FileAwaited(job, holder):
                yield awaited_line(job.source, holder).plain
            case events.FileFinished(outcome):
                self._count += 1
                if outcome.failure:
                    yield failed_line(outcome, hint_below=False).plain
                    yield outcome.failure.trace.rstrip()
                else:
                    yield outcome_line(outcome, self._count, self._total).plain
            case events.RunFinished(report):
                if isinstance(report.stopped_by, AdaCodeError):
                    yield f"error: {printable(str(report.stopped_by))}"
                yield finished_lines(report, self._roots).plain
            case events.FileStarted():
                return


def _refused(path: Path, error: OSError) -> OutputError:
    hint = "Choose another --log-file; the same command does the rest."
    return OutputError(f"cannot be written: {atomic.reason(error)}", path=path, hint=hint)
