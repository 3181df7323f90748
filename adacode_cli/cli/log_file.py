"""`--log-file`: what a run does, one line with the time for each file, appended to a file in addition to the console.

It always contains the tracebacks of failures, because a long run is not repeated only to see them with -vv. Their lines
are indented; every other line begins with the time, also if a name contains a line break. If the log cannot be written
any more, no image is affected: the run goes on, counts the missing entries, and ends with exit code 6.
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
    """Handles the events of a run: it writes them to the log, if there is one, and passes them to `on_event`."""

    def __init__(self, on_event: OnEvent, path: Path | None, file: FileIO | None) -> None:
        self._on_event, self._path, self._file = on_event, path, file
        self._total = self._count = self._num_missing = 0
        self._incomplete = False
        self._reason = ""
        self._roots: tuple[Path, ...] = ()

    def on_event(self, event: Event) -> None:
        """Appends the lines of the event and passes it on; `RunFinished` receives the error of the log."""
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
        hint = "The images are complete. Free some disk space, or choose another --log-file."
        message = f"{entries} of the log could not be written: {self._reason}"
        return OutputError(message, path=self._path, hint=hint)

    def close(self) -> None:
        """Closes the file; some file systems report a full disk only now. It may be called again."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._missed(error)

    def _append(self, file: FileIO, data: bytes) -> None:
        """Tries to write each entry, as a disk may have room again; an incomplete one is ended before the next one."""
        left = memoryview(b"\n" + data if self._incomplete else data)
        try:
            while left:
                written = file.write(left) or 0
                self._incomplete = True
                left = left[written:]
            self._incomplete = False
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
            case events.FilesAdded(num_files):
                self._total += num_files
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
                    yield outcome_line(outcome, self._count, self._total, detailed=True).plain
            case events.RunFinished(report):
                if isinstance(report.stopped_by, AdaCodeError):
                    yield printable(f"error: {report.stopped_by}")
                yield finished_lines(report, self._roots, detailed=True).plain
            case events.FileStarted() | events.PageFinished() | events.FileAdvanced() | events.OthersLeftOut():
                return  # the summary has the last


def _opened(path: Path) -> FileIO:
    """The file, opened for appending; a pipe without a reader is an error. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = FileIO(os.open(path, flags, 0o666), "ab")
    if hasattr(os, "set_blocking"):
        os.set_blocking(file.fileno(), True)  # from now on the run waits for a full pipe, and loses no lines
    return file


@contextmanager
def logged(path: Path | None, on_event: OnEvent) -> Iterator[Log]:
    """The log within the block. Raises OutputError where `path` cannot be opened."""
    try:
        file = None if path is None else _opened(path)
    except OSError as error:
        hint = "Choose another --log-file and run the command again."
        why = "no program reads from this pipe" if error.errno == errno.ENXIO else reason(error)
        raise OutputError(f"cannot be written: {why}", path=path, hint=hint) from error
    log = Log(on_event, path, file)
    try:
        yield log
    finally:
        log.close()
