"""Every job of a plan is carried out, with reading and writing beside inference, and no bad file stops the others.

Inference stays in the calling thread, where signals arrive and where events are emitted; decoding and encoding run in
small pools. At most `jobs` + 1 decoded images wait for the network and as many results for the disk, so memory does
not depend on the length of the run. Only what would fail every file alike ends a run early: impossible options,
unusable weights, a device that is gone, a full or read-only disk, a journal that cannot be written.
"""

from __future__ import annotations

import errno
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from adacode_cli.batch.events import EntryPassedOver, Event, FileFinished, FileStarted, RunFinished, RunStarted
from adacode_cli.batch.journal import Journal
from adacode_cli.batch.outcome import Outcome, Result, failure_of
from adacode_cli.batch.plan import Job, Plan
from adacode_cli.batch.report import Report, Tally
from adacode_cli.batch.stages import Stages, Work
from adacode_cli.errors import (
    AdaCodeError,
    DeviceError,
    InputError,
    JournalError,
    OutputError,
    UsageError,
    WeightsError,
)

# After an interruption: what the network has finished is worth writing, but nobody waits long for Ctrl-C.
_GRACE_S = 1.0
_DISK_IS_DONE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

OnEvent = Callable[[Event], None]


def run(plan: Plan, stages: Stages, *, jobs: int = 2, on_event: OnEvent) -> Report:
    """Carries out `plan`; `jobs` threads read and as many write.

    Raises UsageError, WeightsError, DeviceError, OutputError or JournalError when the run had to stop, and
    KeyboardInterrupt when it was told to, each after a last `RunFinished` event; what was restored until then is
    written, if that is quick.
    """
    running = _Run(plan, stages, jobs, on_event)
    on_event(RunStarted(plan.num_files, plan.roots))
    try:
        running.announce_what_is_left_out()
        running.execute()
    except (AdaCodeError, KeyboardInterrupt) as error:
        on_event(RunFinished(running.tally.report(stopped_by=error)))
        raise
    report = running.tally.report()
    on_event(RunFinished(report))
    return report


@dataclass(frozen=True)
class _Writing:
    work: Work
    future: Future[Outcome | None]


class _Run:
    def __init__(self, plan: Plan, stages: Stages, jobs: int, on_event: OnEvent) -> None:
        self._plan = plan
        self._stages = stages
        self._jobs = jobs
        self._on_event = on_event
        self._journal = Journal() if plan.has_tree else None
        self._writing: deque[_Writing] = deque()
        self._write_until = math.inf
        self.tally = Tally(plan.num_files)

    def announce_what_is_left_out(self) -> None:
        """Events and outcomes for what the plan does not restore: unreadable entries count as failed files."""
        for entry in self._plan.passed_over:
            if entry.failed:
                failure = failure_of(InputError(entry.reason, path=entry.path), entry.path)
                self._finished(Outcome(Result.FAILED, entry.path, None, failure=failure))
            else:
                self._on_event(EntryPassedOver(entry.path, entry.reason))
        for job in self._plan.to_skip:
            self._finished(Outcome(Result.SKIPPED, job.source, job.target))

    def execute(self) -> None:
        """Reads ahead, infers and writes until no job is left. Raises what ends a run, and KeyboardInterrupt.

        However it ends, every file that was written has its outcome and its journal line.
        """
        readers = ThreadPoolExecutor(self._jobs, thread_name_prefix="read")
        writers = ThreadPoolExecutor(self._jobs, thread_name_prefix="write")
        try:
            for work, reading in self._read_ahead(readers):
                self._infer(work, reading, writers)
                self._collect(at_most_waiting=self._jobs)
            self._collect(at_most_waiting=0)
        except KeyboardInterrupt:
            self._write_until = time.monotonic() + _GRACE_S
            raise
        finally:
            readers.shutdown(cancel_futures=True)
            writers.shutdown()
            self._account_for_what_was_written()

    def _read_ahead(self, readers: ThreadPoolExecutor) -> Iterator[tuple[Work, Future[Work]]]:
        """The jobs in order, each with its reading under way, and a few of the following ones too."""
        ahead: deque[tuple[Work, Future[Work]]] = deque()
        for job in self._plan.jobs:
            work = Work(job)
            ahead.append((work, readers.submit(self._stages.read, work)))
            if len(ahead) > self._jobs:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()

    def _infer(self, work: Work, reading: Future[Work], writers: ThreadPoolExecutor) -> None:
        if self._fails(work, reading.result):
            return
        self._on_event(FileStarted(work.job))
        if self._fails(work, lambda: self._stages.infer(work)):
            return
        self._writing.append(_Writing(work, writers.submit(self._write, work)))

    def _write(self, work: Work) -> Outcome | None:
        if time.monotonic() > self._write_until:
            return None
        outcome = self._stages.write(work)
        self._note(work.job, outcome)
        return outcome

    def _collect(self, *, at_most_waiting: int) -> None:
        """Accounts for finished writes in order, waiting for the oldest while too many are under way."""
        while self._writing and (len(self._writing) > at_most_waiting or self._writing[0].future.done()):
            writing = self._writing[0]
            failed = self._fails(writing.work, writing.future.result)
            self._writing.popleft()
            outcome = None if failed else writing.future.result()
            if outcome:
                self._finished(outcome)

    def _account_for_what_was_written(self) -> None:
        """After a stop: outputs that got their names still count; what failed on the way out is not looked at."""
        while self._writing:
            future = self._writing.popleft().future
            outcome = future.result() if future.exception() is None else None
            if outcome:
                self._finished(outcome)

    def _fails(self, work: Work, step: Callable[[], object]) -> bool:
        """True if `step` failed and the file is recorded as such; raises what would fail every file alike."""
        try:
            step()
        except Exception as error:  # a file that breaks us must not stop the ten thousand others
            if _ends_the_run(error):
                raise
            job = work.job
            failure = failure_of(error, job.source)
            outcome = Outcome(Result.FAILED, job.source, job.target, work.watch.seconds, failure=failure)
            self._note(job, outcome)
            self._finished(outcome)
            return True
        return False

    def _note(self, job: Job, outcome: Outcome) -> None:
        if self._journal:
            self._journal.record(job.root, outcome)

    def _finished(self, outcome: Outcome) -> None:
        self.tally.add(outcome)
        self._on_event(FileFinished(outcome))


def _ends_the_run(error: Exception) -> bool:
    if isinstance(error, OutputError):
        cause = error.__cause__
        return isinstance(cause, OSError) and cause.errno in _DISK_IS_DONE
    if isinstance(error, DeviceError | WeightsError):
        return not error.only_this_picture
    return isinstance(error, UsageError | JournalError)
