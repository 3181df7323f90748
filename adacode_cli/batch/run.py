"""Runs all jobs of a plan; a file that fails does not stop the others, and every outcome is reported.

This module is the coordinator: it emits events, takes claims, writes the journal, and decides when the run ends. An
executor (`batch.executor`) carries each job from its source to its output. A file is claimed before it is read, and the
claim is released when its journal line is written; files that another process has claimed are tried again at the end.
Only errors that every file would meet end a run early: impossible options, unusable weights, a lost device, a full or
read-only disk, a journal that cannot be written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from adacode_cli import atomic
from adacode_cli.batch.claims import Claim
from adacode_cli.batch.events import (
    EntryPassedOver,
    Event,
    FileAwaited,
    FileFinished,
    FileStarted,
    OthersLeftOut,
    PageFinished,
    RunFinished,
    RunStarted,
)
from adacode_cli.batch.executor import Assignment, Executor
from adacode_cli.batch.outcome import Outcome, Result, ends_the_run, failed_entry, failed_job
from adacode_cli.batch.plan import Job, Plan
from adacode_cli.batch.report import Report, Tally
from adacode_cli.batch.trees import Trees
from adacode_cli.errors import AdaCodeError

_POLL_INTERVAL_S = 0.1
# Another process often needs this long for one file; a longer wait is reported.
_REPORT_AFTER_S = 3.0

OnEvent = Callable[[Event], None]


def run(
    plan: Plan,
    executor: Executor,
    *,
    on_event: OnEvent,
    trees: Trees | None = None,
    log_error: Callable[[], AdaCodeError | None] = lambda: None,
) -> Report:
    """Carries out `plan` with `executor`.

    trees: knows what was done in the output trees.
    log_error: returns the error of a log that receives the events, if it had one so far.

    Raises UsageError, WeightsError, DeviceError, OutputError or JournalError if the run had to stop, and
    KeyboardInterrupt if it was interrupted, each after a last `RunFinished` event.
    """
    used_trees = (trees or Trees()) if plan.has_tree else None
    running, began = _Run(plan, executor, on_event, used_trees), datetime.now(UTC)

    def ended(stopped_by: AdaCodeError | KeyboardInterrupt | None) -> Report:
        """Writes the report, emits the last event, and writes the report again if the log is incomplete."""
        report = running.tally.report(stopped_by)
        if used_trees:
            used_trees.report(plan.roots, report, began)
        on_event(RunFinished(report))
        if (missing := log_error()) is not None:  # The error may come from the last event itself.
            report = replace(report, log_error=missing)
            if used_trees:
                used_trees.report(plan.roots, report, began)
        return report

    on_event(RunStarted(plan.num_files, plan.roots))
    try:
        running.report_left_out()
        running.execute()
    except (AdaCodeError, KeyboardInterrupt) as error:
        ended(error)
        raise
    return ended(None)


class _Run:
    """The coordinator of a run's executor."""

    def __init__(self, plan: Plan, executor: Executor, on_event: OnEvent, trees: Trees | None) -> None:
        self._plan = plan
        self._executor = executor
        self._on_event = on_event
        self._trees = trees
        # Of unfinished jobs; several threads change these dictionaries and sets.
        self._claims: dict[Job, Claim] = {}
        self._assignments: dict[Job, Assignment] = {}
        self._claimed_elsewhere: set[Job] = set()
        self.tally = Tally(plan.num_files, left_out=plan.left_out)

    def report_left_out(self) -> None:
        """Emits events and outcomes for files that are not restored; unreadable entries count as failed files."""
        if self._plan.left_out:
            self._on_event(OthersLeftOut(self._plan.left_out))
        for entry in self._plan.passed_over:
            if entry.failed:
                self.finished(failed_entry(entry))
            else:
                self._on_event(EntryPassedOver(entry.path, entry.reason, entry.is_unread))
        for refused in self._plan.refused:
            self.finished(failed_job(refused.job, refused.error))
        for job in self._plan.to_skip:
            self.finished(Outcome(Result.SKIPPED, job.source, job.target, reason="the output exists"))

    def execute(self) -> None:
        """Carries out every job. Raises errors that end a run, and KeyboardInterrupt.

        In any case, every file that was written has its outcome and its journal line.
        """
        self._clean()
        self._executor.execute(self._plan.jobs, self)
        # One at a time and without other claims, so that two processes never wait for each other.
        for job in [job for job in self._plan.jobs if job in self._claimed_elsewhere]:
            if self._wait_for_claim(job):
                self._executor.execute((job,), self)

    def take(self, job: Job) -> Assignment | None:
        """As `Coordinator.take`."""
        assignment = self._assignments.pop(job, None) or self._claimed(job)
        if assignment is None:
            self._claimed_elsewhere.add(job)
        return assignment

    def ended(self, job: Job, outcome: Outcome | None) -> None:
        """As `Coordinator.ended`."""
        if self._trees and outcome and outcome.result is not Result.SKIPPED:
            self._trees.note(job, outcome)
        if claim := self._claims.pop(job, None):
            claim.release()

    def started(self, job: Job) -> None:
        """As `Coordinator.started`."""
        self._on_event(FileStarted(job))

    def page_finished(self, job: Job, page: int, num_pages: int) -> None:
        """As `Coordinator.page_finished`."""
        self._on_event(PageFinished(job, page, num_pages))

    def finished(self, outcome: Outcome) -> None:
        """As `Coordinator.finished`."""
        self.tally.add(outcome)
        self._on_event(FileFinished(outcome))

    def _claimed(self, job: Job) -> Assignment | None:
        if self._trees is None:
            return Assignment(job)
        claim = self._trees.claim(job, self._executor.paths(job))
        if claim is None:
            return None
        self._claims[job] = claim
        return Assignment(job, self._trees.known(job))

    def _clean(self) -> None:
        """Removes temporary files of killed runs: in a tree, those that claims name; else, those of each output."""
        if self._trees:
            self._trees.clean(self._plan.jobs, self._executor.paths)
            return
        for job in self._plan.jobs:
            for path in self._executor.paths(job):
                atomic.remove_leftovers(path)

    def _wait_for_claim(self, job: Job) -> bool:
        """Waits until another process has released its claim on a job. Returns False if the job failed meanwhile."""
        began, reported = time.monotonic(), False
        try:
            while (assignment := self._claimed(job)) is None:
                if self._trees and not reported and time.monotonic() - began >= _REPORT_AFTER_S:
                    reported = True
                    self._on_event(FileAwaited(job, self._trees.holder(job)))
                time.sleep(_POLL_INTERVAL_S)
        except Exception as error:  # as in any stage of a file
            if ends_the_run(error):
                raise
            outcome = failed_job(job, error)
            self.ended(job, outcome)
            self.finished(outcome)
            return False
        self._assignments[job] = assignment
        return True
