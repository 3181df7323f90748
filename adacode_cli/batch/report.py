"""What became of every file of a run, and the exit code that says so.

A run that reached its end exits with 0, or with 9 when some files failed; when the only file failed there is nothing
partial about it and the exit code is that of its own error. A run that restored all and could not keep its log exits
with that error's code.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from adacode_cli.batch.left_out import LeftOut
from adacode_cli.batch.outcome import Outcome, Result
from adacode_cli.errors import EXIT_DONE, EXIT_INTERRUPTED, AdaCodeError, PartialFailure

# The journal has the notes of all.
_MOST_NOTED = 1000


@dataclass(frozen=True)
class Report:
    """The counts of a run. `total` is what was planned; a run that was stopped leaves `untouched` files.

    `num_noted` files were restored with notes for a person; `noted` are the first of them. `left_out` counts
    files of other kinds in the inputs' folders. `log_error` says what is missing in the log that was asked for.
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

    @property
    def untouched(self) -> int:
        """Files that the run never came to, or dropped in flight."""
        return self.total - self.done - self.skipped - len(self.failed)

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
    """Counts outcomes as they come; keeps the failed ones and a few, so that its size does not grow with the run."""

    total: int
    done: int = 0
    skipped: int = 0
    failed: list[Outcome] = field(default_factory=list)
    num_noted: int = 0
    noted: list[Outcome] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    _began: float = field(default_factory=time.monotonic)

    def add(self, outcome: Outcome) -> None:
        """Counts one outcome."""
        if outcome.result is Result.DONE:
            self.done += 1
            self._add_notes(outcome)
        elif outcome.result is Result.SKIPPED:
            self.skipped += 1
        else:
            self.failed.append(outcome)

    def _add_notes(self, outcome: Outcome) -> None:
        if outcome.notes:
            self.num_noted += 1
            if len(self.noted) < _MOST_NOTED:
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
        )
