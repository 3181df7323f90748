"""The report of a run: the outcomes of its files, and the exit code.

A run that reached its end exits with 0, or with 9 if some files failed; if there is only one file and it failed, the
exit code is that of its error. A run that restored all files and could not write its log exits with the code of that
error.

`.adacode/report.json` contains the report for other programs (docs/report.schema.json).
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from adacode_cli import atomic
from adacode_cli.batch.lease import check_leases
from adacode_cli.batch.left_out import LeftOut
from adacode_cli.batch.outcome import Outcome, Result
from adacode_cli.batch.record import Settings, peak_memory_bytes
from adacode_cli.batch.state_files import STATE
from adacode_cli.errors import EXIT_DONE, EXIT_INTERRUPTED, AdaCodeError, PartialFailure
from adacode_cli.sizes import AS_LARGE, Fate
from adacode_cli.storage import objects
from adacode_cli.storage.path import is_remote
from adacode_cli.version import __version__

REPORT = STATE / "report.json"
SCHEMA_VERSION = 1
# The journal has all notes.
_MAX_NOTED = 1000
# The counts have all of them; a folder may hold a million.
_MAX_UNREAD = 1000


@dataclass(frozen=True)
class Report:
    """The counts of a run.

    total: the number of planned files; a run that was stopped leaves `untouched` files.
    unlisted: the number of failures that are not in `failed`, because a watch keeps only the first of them.
    num_noted: the number of files that were restored with notes; `noted` are the first of them.
    left_out: the numbers of other files in the inputs' folders.
    precisions: in which the network made images, with the number of files; a file with pages of two counts for both.
    fates: how many files were copied, shrunk or left out, because they were as large already as was asked for.
    log_error: why the requested log is incomplete.
    places: where options were set that the command line does not give, by their names: files, presets, variables.
    """

    total: int
    done: int
    skipped: int
    failed: tuple[Outcome, ...]
    seconds: float
    stopped_by: AdaCodeError | KeyboardInterrupt | None
    log_error: AdaCodeError | None = None
    num_noted: int = 0
    noted: tuple[Outcome, ...] = ()
    left_out: LeftOut = field(default_factory=LeftOut)
    precisions: Mapping[str, int] = field(default_factory=dict)
    fates: Mapping[Fate, int] = field(default_factory=dict)
    unlisted: int = 0
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_failed(self) -> int:
        """The number of files that failed."""
        return len(self.failed) + self.unlisted

    @property
    def untouched(self) -> int:
        """Files that the run did not reach or finish."""
        return self.total - self.done - self.skipped - self.num_failed

    @property
    def as_large(self) -> dict[str, int]:
        """`fates` as programs get them: all of them, with names without spaces."""
        return {fate.name.lower(): self.fates.get(fate, 0) for fate in AS_LARGE}

    @property
    def exit_code(self) -> int:
        """The exit code of the run as a whole."""
        if isinstance(self.stopped_by, AdaCodeError):
            return self.stopped_by.exit_code
        if self.stopped_by is not None:
            return EXIT_INTERRUPTED
        if not self.failed:
            return self.log_error.exit_code if self.log_error else EXIT_DONE
        only = self.failed[0].failure if self.total == 1 else None
        return only.exit_code if only else PartialFailure.exit_code


@dataclass
class Tally:
    """Counts outcomes, and keeps only failed ones and the first notes, so that its size stays small.

    max_listed: the number of failures that are kept; None: all of them.
    """

    total: int
    max_listed: int | None = None
    done: int = 0
    skipped: int = 0
    failed: list[Outcome] = field(default_factory=list)
    num_noted: int = 0
    noted: list[Outcome] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    precisions: Counter[str] = field(default_factory=Counter)
    fates: Counter[Fate] = field(default_factory=Counter)
    unlisted: int = 0
    places: Mapping[str, str] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def add(self, outcome: Outcome) -> None:
        """Counts one outcome."""
        if outcome.fate in AS_LARGE:
            self.fates[outcome.fate] += 1
        if outcome.result is Result.DONE:
            self.done += 1
            self.precisions.update(outcome.precisions)
            self._add_notes(outcome)
        elif outcome.result is Result.SKIPPED:
            self.skipped += 1
        elif self.max_listed is None or len(self.failed) < self.max_listed:
            self.failed.append(outcome)
        else:
            self.unlisted += 1

    def _add_notes(self, outcome: Outcome) -> None:
        if outcome.notes:
            self.num_noted += 1
            if len(self.noted) < _MAX_NOTED:
                self.noted.append(outcome)

    def report(self, stopped_by: AdaCodeError | KeyboardInterrupt | None = None) -> Report:
        """The counts so far, as the run's report."""
        seconds = time.monotonic() - self._began
        return Report(
            self.total,
            self.done,
            self.skipped,
            tuple(self.failed),
            seconds,
            stopped_by,
            num_noted=self.num_noted,
            noted=tuple(self.noted),
            left_out=self.left_out,
            precisions=dict(self.precisions),
            fates=dict(self.fates),
            unlisted=self.unlisted,
            places=self.places,
        )


def write_report(root: Path, report: Report, settings: Settings, began: datetime) -> None:
    """Writes the report of a run into the tree `root`, if it exists.

    Raises OutputError, and JournalError if the run may not write to a store any more.
    """
    if not is_remote(root) and (not (root / STATE).is_dir() or (root / STATE).is_symlink()):
        return  # Nothing was done there, or the folder is not from adacode.
    fields = {
        "version": SCHEMA_VERSION,
        "tool": __version__,
        "began": began.isoformat(timespec="milliseconds"),
        "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "options_sha256": settings.options,
        "set_elsewhere": dict(report.places),
        "weights_sha256": settings.weights,
        "files": report.total,
        "done": report.done,
        "skipped": report.skipped,
        "failed": report.num_failed,
        "untouched": report.untouched,
        "seconds": round(report.seconds, 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "exit_code": report.exit_code,
        "stopped_by": _error_or_none(report.stopped_by),
        "log_error": _error_or_none(report.log_error),
        "failures": [_failure(outcome) for outcome in report.failed],
        "left_out": report.left_out.counts,
        "unread": report.left_out.unread[:_MAX_UNREAD],
        "precisions": report.precisions,
        "as_large": report.as_large,
        "noted": report.num_noted,
        "notes": [{"source": str(outcome.source), "notes": outcome.notes} for outcome in report.noted],
    }
    data = json.dumps(fields, indent=1).encode("ascii") + b"\n"
    if is_remote(root):
        objects.write(root / REPORT, data, media_type="application/json", before=check_leases)
    else:
        atomic.write_bytes(root / REPORT, data)


def _error_or_none(error: AdaCodeError | KeyboardInterrupt | None) -> dict[str, object] | None:
    if isinstance(error, AdaCodeError):
        path = None if error.path is None else str(error.path)
        return _error(error.kind, error.exit_code, error.message, error.hint, path)
    return None if error is None else _error("interrupted", EXIT_INTERRUPTED, "interrupted", "", None)


def _failure(outcome: Outcome) -> dict[str, object]:
    failure = outcome.failure
    assert failure is not None, "only failed outcomes are kept"
    source = str(outcome.source)
    return {
        "source": source,
        "target": None if outcome.target is None else str(outcome.target),
        "error": _error(failure.kind, failure.exit_code, failure.message, failure.hint, source),
    }


def _error(kind: str, exit_code: int, message: str, hint: str, path: str | None) -> dict[str, object]:
    return {"kind": kind, "exit_code": exit_code, "message": message, "path": path, "hint": hint}
