"""`--log-file`: what a run does, a line for each file with the time, appended to a file beside whatever is shown.

The tracebacks of failures are in it always, because a run of a night cannot be asked again with -v. Their lines are
indented; all others begin with the time, whatever names say. A log that cannot be written to any more stops no image:
the run goes on, counts what is missing, and ends with exit code 6.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from adacode_cli.cli.run_text import awaited_line, failed_line, finished_lines, outcome_line
from adacode_cli.cli.streams import printable, printable_trace
from adacode_cli.errors import AdaCodeError, OutputError, reason

if TYPE_CHECKING:
    from adacode_cli.batch.events import Event

OnEvent = Callable[["Event"], None]


class Log:
    """What handles a run's events: `on_event`, and before it the log, if there is one."""

    def __init__(self, on_event: OnEvent, path: Path | None, file: FileIO | None) -> None:
        self._on_event, self._path, self._file = on_event, path, file
        self._total = self._count = self._num_missing = 0
        self._torn = False
        self._reason = ""
        self._roots: tuple[Path, ...] = ()

    def on_event(self, event: Event) -> None:
        """Appends the event's lines and passes the event on, to which the end of the run adds what the log lacks."""
        from adacode_cli.batch import events

        if self._file is not None:
            stamp = datetime.now().astimezone().isoformat(timespec="seconds")
            for text in self._texts(event):
                self._append(self._file, f"{stamp} {text}\n".encode("utf-8", "backslashreplace"))
        if isinstance(event, events.RunFinished):
            self.close()
            event = events.RunFinished(replace(event.report, log_error=self.error()))
        self._on_event(event)

    def error(self) -> OutputError | None:
        """What is missing in the log, or None."""
        if not self._num_missing:
            return None
        entries = "1 entry" if self._num_missing == 1 else f"{self._num_missing} entries"
        hint = "No image depends on it. Make room for the next log, or choose another --log-file."
        message = f"{entries} of the log could not be written: {self._reason}"
        return OutputError(message, path=self._path, hint=hint)

    def close(self) -> None:
        """Some file systems say only now that there was no room. May be called again."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._missed(error)

    def _append(self, file: FileIO, data: bytes) -> None:
        """Each entry is tried, as a disk may have room again; one that is torn gets an end before the next one."""
        left = memoryview(b"\n" + data if self._torn else data)
        try:
            while left:
                written = file.write(left) or 0
                self._torn = True
                left = left[written:]
            self._torn = False
        except OSError as error:
            self._missed(error)

    def _missed(self, error: OSError) -> None:
        self._num_missing += 1
        self._reason = reason(error)

    def _texts(self, event: Event) -> Iterator[str]:
        from adacode_cli.batch import events

        match event:
            case events.RunStarted(num_files, roots):
                self._total, self._roots = num_files, roots
                yield f"started: {num_files} files"
            case events.EntryPassedOver(path, why):
                yield printable(f"left out: {path}: {why}")
            case events.FileAwaited(job, holder):
                yield awaited_line(job.source, holder).plain
            case events.FileFinished(outcome):
                self._count += 1
                if outcome.failure:
                    trace = printable_trace(outcome.failure.trace).rstrip("\n")
                    yield f"{failed_line(outcome, hint_below=False).plain}\n{trace}"
                else:
                    yield outcome_line(outcome, self._count, self._total).plain
            case events.RunFinished(report):
                if isinstance(report.stopped_by, AdaCodeError):
                    yield printable(f"error: {report.stopped_by}")
                yield finished_lines(report, self._roots).plain
            case (
                events.FileStarted() | events.PageFinished() | events.OthersLeftOut()
            ):  # the summary says what was left out
                return


def _opened(path: Path) -> FileIO:
    """The file at its end; a pipe is not waited for. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = FileIO(os.open(path, flags, 0o666), "ab")
    if hasattr(os, "set_blocking"):
        os.set_blocking(file.fileno(), True)  # from here on a full pipe makes the run wait, not lose lines
    return file


@contextmanager
def logged(path: Path | None, on_event: OnEvent) -> Iterator[Log]:
    """The log within the block. Raises OutputError where `path` cannot be opened."""
    try:
        file = None if path is None else _opened(path)
    except OSError as error:
        hint = "Choose another --log-file; the same command does the rest."
        why = "no program reads from this pipe" if error.errno == errno.ENXIO else reason(error)
        raise OutputError(f"cannot be written: {why}", path=path, hint=hint) from error
    log = Log(on_event, path, file)
    try:
        yield log
    finally:
        log.close()
