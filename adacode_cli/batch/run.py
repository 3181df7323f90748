"""Runs all jobs of a plan; a file that fails does not stop the others, and every outcome is reported.

A watch is one run of many plans, which come one after another.

This module is the coordinator: it emits events, takes claims, writes the journal, and decides when the run ends. An
executor (`batch.executor`) carries each job from its source to its output. A file is claimed before it is read, and the
claim is released when its journal line is written; files that another process has claimed are tried again at the end.
Only errors that every file would meet end a run early: impossible options, unusable weights, a lost device, a full or
read-only disk, a journal that cannot be written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from adacode_cli.batch.events import (
    EntryPassedOver,
    Event,
    FileAdvanced,
    FileAwaited,
    FileFinished,
    FilesAdded,
    FileStarted,
    OthersLeftOut,
    PageFinished,
    RunFinished,
    RunStarted,
)
from adacode_cli.batch.executor import Assignment, Executor
from adacode_cli.batch.outcome import Outcome, Result, ends_the_run, failed_entry, failed_job
from adacode_cli.batch.output_files import make_directory, remove_leftovers
from adacode_cli.batch.plan import Job, Plan
from adacode_cli.batch.report import Report, Tally
from adacode_cli.batch.trees import Held, Trees
from adacode_cli.errors import AdaCodeError

_POLL_INTERVAL_S = 0.1
# Another process often needs this long for one file; a longer wait is reported.
_REPORT_AFTER_S = 3.0
# Of the failures of a watch, which may last for months; the journal has all of them.
_MAX_LISTED = 1000

OnEvent = Callable[[Event], None]


def run(
    plan: Plan,
    executor: Executor,
    *,
    on_event: OnEvent,
    trees: Trees | None = None,
    log_error: Callable[[], AdaCodeError | None] = lambda: None,
    places: Mapping[str, str] | None = None,
) -> Report:
    """Carries out `plan` with `executor`.

    trees: knows what was done in the output trees.
    log_error: returns the error of a log that receives the events, if it had one so far.
    places: as in `Report`.

    Raises UsageError, WeightsError, DeviceError, OutputError or JournalError if the run had to stop, and
    KeyboardInterrupt if it was interrupted, each after a last `RunFinished` event.
    """
    used_trees = (trees or Trees()) if plan.has_tree else None
    running = _Run(executor, on_event, used_trees, Tally(plan.num_files, left_out=plan.left_out, places=places or {}))

    def work() -> None:
        if plan.left_out:
            on_event(OthersLeftOut(plan.left_out))
        running.carry_out(plan)

    return _reported(work, running, plan.roots, plan.num_files, log_error)


def watch(
    looks: Iterable[Plan],
    executor: Executor,
    roots: tuple[Path, ...],
    *,
    on_event: OnEvent,
    trees: Trees,
    log_error: Callable[[], AdaCodeError | None] = lambda: None,
    places: Mapping[str, str] | None = None,
) -> Report:
    """Carries out each plan of `looks` with `executor` as soon as it comes, as one run into the output trees `roots`.

    looks: plans of the files that came in since the plan before (`batch.arrivals`). It waits between them, and may be
        endless: then the run ends only by an error or a KeyboardInterrupt.

    places: as in `Report`.

    Files that are removed before they are read count as skipped. Raises as `run` does.
    """
    running = _WatchRun(executor, on_event, trees, Tally(0, max_listed=_MAX_LISTED, places=places or {}))

    def work() -> None:
        """Carries out plans until they end; what lies beside the images is reported once."""
        is_first = True
        for plan in looks:
            if plan.left_out and is_first:
                on_event(OthersLeftOut(plan.left_out))
            is_first = False
            running.tally.left_out = plan.left_out
            if plan.num_files:
                running.tally.total += plan.num_files
                on_event(FilesAdded(plan.num_files))
            running.carry_out(plan)

    return _reported(work, running, roots, 0, log_error)


def _reported(
    work: Callable[[], None],
    running: _Run,
    roots: tuple[Path, ...],
    num_files: int,
    log_error: Callable[[], AdaCodeError | None],
) -> Report:
    """Does the work between the first and the last event of a run, and writes its report in any case."""
    began = datetime.now(UTC)

    def ended(stopped_by: AdaCodeError | KeyboardInterrupt | None) -> Report:
        """Writes the report, emits the last event, and writes the report again if the log is incomplete."""
        report = running.tally.report(stopped_by)
        running.write_report(roots, report, began)
        running.on_event(RunFinished(report))
        if (missing := log_error()) is not None:  # The error may come from the last event itself.
            report = replace(report, log_error=missing)
            running.write_report(roots, report, began)
        return report

    running.on_event(RunStarted(num_files, roots, running.tally.places))
    try:
        work()
    except (AdaCodeError, KeyboardInterrupt) as error:
        ended(error)
        raise
    return ended(None)


class _Run:
    """The coordinator of a run's executor."""

    def __init__(self, executor: Executor, on_event: OnEvent, trees: Trees | None, tally: Tally) -> None:
        self._executor = executor
        self.on_event = on_event
        self._trees = trees
        # Of unfinished jobs; several threads change these dictionaries and sets.
        self._claims: dict[Job, Held] = {}
        self._assignments: dict[Job, Assignment] = {}
        self._claimed_elsewhere: set[Job] = set()
        self.tally = tally

    def write_report(self, roots: Sequence[Path], report: Report, began: datetime) -> None:
        """Writes the report into the output trees, if there are any. Raises OutputError."""
        if self._trees:
            self._trees.report(roots, report, began)

    def carry_out(self, plan: Plan) -> None:
        """Reports what is left out of a plan, and carries out its jobs. Raises errors that end a run, and
        KeyboardInterrupt.

        In any case, every file that was written has its outcome and its journal line.
        """
        self._report_left_out(plan)
        if not plan.jobs:
            return
        if self._trees:
            for root in plan.roots:
                make_directory(root)
            self._trees.begin_galleries(plan.roots)
        self._clean(plan)
        self._claimed_elsewhere.clear()
        self._executor.execute(plan.jobs, self)
        # One at a time and without other claims, so that two processes never wait for each other.
        for job in [job for job in plan.jobs if job in self._claimed_elsewhere]:
            if self._wait_for_claim(job):
                self._executor.execute((job,), self)
        if self._trees:
            self._trees.flush()

    def _report_left_out(self, plan: Plan) -> None:
        """Emits events and outcomes for files that are not restored; unreadable entries count as failed files."""
        for entry in plan.passed_over:
            if entry.failed:
                self.finished(failed_entry(entry))
            else:
                self.on_event(EntryPassedOver(entry.path, entry.reason, entry.is_unread))
        for refused in plan.refused:
            self.finished(failed_job(refused.job, refused.error))
        for job in plan.to_skip:
            self.finished(Outcome(Result.SKIPPED, job.source, job.target, reason="the output exists"))

    def take(self, job: Job) -> Assignment | None:
        """As `Coordinator.take`."""
        assignment = self._assignments.pop(job, None) or self._claimed(job)
        if assignment is None:
            self._claimed_elsewhere.add(job)
        return assignment

    def ended(self, job: Job, outcome: Outcome | None) -> None:
        """As `Coordinator.ended`."""
        self.ended_together(((job, outcome),))

    def ended_together(self, ended: Sequence[tuple[Job, Outcome | None]]) -> None:
        """As `Coordinator.ended_together`."""
        noted = [(job, outcome) for job, outcome in ended if outcome and outcome.result is not Result.SKIPPED]
        if self._trees and noted:
            self._trees.note(noted)
        for job, _ in ended:
            if claim := self._claims.pop(job, None):
                claim.release()

    def started(self, job: Job) -> None:
        """As `Coordinator.started`."""
        self.on_event(FileStarted(job))

    def page_finished(self, job: Job, page: int, num_pages: int) -> None:
        """As `Coordinator.page_finished`."""
        self.on_event(PageFinished(job, page, num_pages))

    def advanced(self, job: Job, share: float) -> None:
        """As `Coordinator.advanced`."""
        self.on_event(FileAdvanced(job, share))

    def finished(self, outcome: Outcome) -> None:
        """As `Coordinator.finished`."""
        self.tally.add(outcome)
        self.on_event(FileFinished(outcome))

    def _claimed(self, job: Job) -> Assignment | None:
        if self._trees is None:
            return Assignment(job)
        claim = self._trees.claim(job, self._executor.paths(job))
        if claim is None:
            return None
        self._claims[job] = claim
        return Assignment(job, self._trees.known(job))

    def _clean(self, plan: Plan) -> None:
        """Removes temporary files of killed runs: in a tree, those that claims name; else, those of each output."""
        if self._trees:
            self._trees.clean(plan.jobs, self._executor.paths)
            return
        for job in plan.jobs:
            remove_leftovers(self._executor.paths(job))

    def _wait_for_claim(self, job: Job) -> bool:
        """Waits until another process has released its claim on a job. Returns False if the job failed meanwhile."""
        began, reported = time.monotonic(), False
        try:
            while (assignment := self._claimed(job)) is None:
                if self._trees and not reported and time.monotonic() - began >= _REPORT_AFTER_S:
                    reported = True
                    self.on_event(FileAwaited(job, self._trees.holder(job)))
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


class _WatchRun(_Run):
    """The coordinator of a watch: people may remove files from a folder of arrivals at any time."""

    def ended_together(self, ended: Sequence[tuple[Job, Outcome | None]]) -> None:
        """As `Coordinator.ended_together`."""
        super().ended_together([(job, outcome and _unless_removed(outcome)) for job, outcome in ended])

    def finished(self, outcome: Outcome) -> None:
        """As `Coordinator.finished`."""
        super().finished(_unless_removed(outcome))


def _unless_removed(outcome: Outcome) -> Outcome:
    """The outcome; a file that failed because it was removed before it was read is skipped instead."""
    is_of_a_read_file = outcome.made is not None
    is_a_folder = outcome.target is None
    if outcome.failure is None or is_of_a_read_file or is_a_folder or os.path.lexists(outcome.source):
        return outcome
    return Outcome(Result.SKIPPED, outcome.source, outcome.target, reason="it was removed before it was read")
