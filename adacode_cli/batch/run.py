"""Every job of a plan is carried out, with reading and writing beside inference, and no bad file stops the others.

Inference stays in the calling thread, where signals arrive and where events are emitted, unless it takes more than one
thread to keep the device busy; decoding and encoding run in small pools. At most `jobs` + 1 decoded images wait for the
network and as many results for the disk, so memory does not depend on the length of the run. A file is claimed before
it is read and given up when its journal line is written; what another process has claimed is left to it, and looked at
again at the end. Only what would fail every file alike ends a run early: impossible options, unusable weights, a device
that is gone, a full or read-only disk, a journal that cannot be written.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from adacode_cli import atomic
from adacode_cli.batch.events import (
    EntryPassedOver,
    Event,
    FileAwaited,
    FileFinished,
    FileStarted,
    OthersLeftOut,
    RunFinished,
    RunStarted,
)
from adacode_cli.batch.outcome import (
    Outcome,
    OutputState,
    Result,
    ends_the_run,
    failed_entry,
    failed_job,
    failure_of,
)
from adacode_cli.batch.plan import Job, Plan
from adacode_cli.batch.report import Report, Tally
from adacode_cli.batch.stages import Stages, Work, out_of_memory
from adacode_cli.batch.trees import Trees
from adacode_cli.errors import AdaCodeError, DeviceError

# After an interruption: what the network has finished is worth writing, but nobody waits long for Ctrl-C.
_GRACE_S = 1.0
_LOOK_AGAIN_S = 0.1
# Another process may well need as long for one file; whoever waits for longer wants to know for whom.
_SAY_AFTER_S = 3.0
# Results that wait for the disk; large ones wait for one another rather than for more memory.
_MOST_WAITING_BYTES = 4 << 30
_FEW_JOBS, _MANY_JOBS = 2, 8
# Images with the network, and results of those that wait for an earlier one: of large images two keep it busy, and
# results are many times their size.
_MOST_INFERRING_BYTES = 64 << 20

OnEvent = Callable[[Event], None]


def run(
    plan: Plan,
    stages: Stages,
    *,
    jobs: int | None = None,
    on_event: OnEvent,
    trees: Trees | None = None,
    log_error: Callable[[], AdaCodeError | None] = lambda: None,
) -> Report:
    """Carries out `plan`; `jobs` threads read and as many write. None: two, or where the network takes several files
    at once, one a core up to eight. `trees` knows what is done in the output trees, `log_error` what a log that hears
    the events could not keep of them so far.

    Raises UsageError, WeightsError, DeviceError, OutputError or JournalError when the run had to stop, and
    KeyboardInterrupt when it was told to, each after a last `RunFinished` event; what was restored until then is
    written, if that is quick.
    """
    kept = (trees or Trees()) if plan.has_tree else None
    several = min(_MANY_JOBS, os.cpu_count() or _FEW_JOBS) if stages.lanes > 1 else _FEW_JOBS
    running, began = _Run(plan, stages, jobs or several, on_event, kept), datetime.now(UTC)

    def ended(stopped_by: AdaCodeError | KeyboardInterrupt | None) -> Report:
        """Writes the report, says that the run has ended, and writes the report anew where the log lacks something."""
        report = running.tally.report(stopped_by)
        if kept:
            kept.report(plan.roots, report, began)
        on_event(RunFinished(report))
        if (lacking := log_error()) is not None:  # perhaps only since the event of the end
            report = replace(report, log_error=lacking)
            if kept:
                kept.report(plan.roots, report, began)
        return report

    on_event(RunStarted(plan.num_files, plan.roots))
    try:
        running.announce_what_is_left_out()
        running.execute()
    except (AdaCodeError, KeyboardInterrupt) as error:
        ended(error)
        raise
    return ended(None)


@dataclass(frozen=True)
class _Writing:
    work: Work
    future: Future[Outcome | None]


class _Run:
    def __init__(self, plan: Plan, stages: Stages, jobs: int, on_event: OnEvent, trees: Trees | None) -> None:
        self._plan = plan
        self._stages = stages
        self._jobs = jobs
        self._on_event = on_event
        self._trees = trees
        self._ahead: deque[tuple[Work, Future[Work]]] = deque()
        self._at_hand: tuple[Work, Future[Work]] | None = None
        self._lanes = ThreadPoolExecutor(stages.lanes, thread_name_prefix="infer") if stages.lanes > 1 else None
        self._inferring: deque[tuple[Work, Future[Work]]] = deque()
        self._writing: deque[_Writing] = deque()
        self._claimed_elsewhere: list[Job] = []
        self._write_until = math.inf
        self.tally = Tally(plan.num_files, left_out=plan.left_out)

    def announce_what_is_left_out(self) -> None:
        """Events and outcomes for what the plan does not restore: unreadable entries count as failed files."""
        if self._plan.left_out:
            self._on_event(OthersLeftOut(self._plan.left_out))
        for entry in self._plan.passed_over:
            if entry.failed:
                self._finished(failed_entry(entry))
            else:
                self._on_event(EntryPassedOver(entry.path, entry.reason))
        for refused in self._plan.refused:
            self._finished(failed_job(refused.job, refused.error))
        for job in self._plan.to_skip:
            self._finished(Outcome(Result.SKIPPED, job.source, job.target, reason="the output exists"))

    def execute(self) -> None:
        """Reads ahead, infers and writes until no job is left. Raises what ends a run, and KeyboardInterrupt.

        However it ends, every file that was written has its outcome and its journal line.
        """
        readers = ThreadPoolExecutor(self._jobs, thread_name_prefix="read")
        writers = ThreadPoolExecutor(self._jobs, thread_name_prefix="write")
        try:
            self._clean()
            for work, reading in self._read_ahead(readers):
                self._infer(work, reading.result, writers)
                self._collect(at_most_waiting=self._jobs)
            self._finish_inference(writers)
            self._collect(at_most_waiting=0)
            for job in self._claimed_elsewhere:
                self._after_the_other_process(job, writers)
        except KeyboardInterrupt:
            self._write_until = time.monotonic() + _GRACE_S
            readers.shutdown(wait=False, cancel_futures=True)
            if self._lanes:
                self._lanes.shutdown(wait=False, cancel_futures=True)
            self._write_what_is_restored(writers)
            under_way: list[Future[Any]] = [reading for _, reading in self._ahead]
            under_way += [writing.future for writing in self._writing]
            # One that was cancelled never counts as done for those who wait.
            wait_for([f for f in under_way if not f.cancelled()], max(0.0, self._write_until - time.monotonic()))
            writers.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            self._wind_up(readers, writers)

    def _clean(self) -> None:
        """Removes what killed runs left half written: in a tree by its claims, of one file beside its own names."""
        if self._trees:
            self._trees.clean(self._plan.jobs, self._stages.paths)
            return
        for job in self._plan.jobs:
            for path in self._stages.paths(job):
                atomic.remove_leftovers(path)

    def _write_what_is_restored(self, writers: ThreadPoolExecutor) -> None:
        """After an interruption: what the lanes finish soon goes the way that it would have gone."""
        wait_for([future for _, future in self._inferring if not future.cancelled()], _GRACE_S / 2)
        left: deque[tuple[Work, Future[Work]]] = deque()
        for work, future in self._inferring:
            if future.done() and not future.cancelled() and not future.exception():
                self._writing.append(_Writing(work, writers.submit(self._write, work)))
            else:
                left.append((work, future))
        self._inferring = left

    def _wind_up(self, readers: ThreadPoolExecutor, writers: ThreadPoolExecutor) -> None:
        """After a stop: outputs that got their names still count; what failed on the way out is not looked at."""
        if self._write_until == math.inf:
            readers.shutdown(cancel_futures=True)
            if self._lanes:
                self._lanes.shutdown(cancel_futures=True)
            writers.shutdown()
        while self._writing:
            future = self._writing.popleft().future
            outcome = future.result() if future.done() and not future.cancelled() and not future.exception() else None
            if outcome:
                self._finished(outcome)
        for work, under_way in filter(None, (self._at_hand, *self._inferring, *self._ahead)):
            if under_way.done():
                _let_go(work)

    def _read_ahead(self, readers: ThreadPoolExecutor) -> Iterator[tuple[Work, Future[Work]]]:
        """The jobs in order, each with its reading under way, and a few of the following ones too."""
        for job in self._plan.jobs:
            work = Work(job)
            self._ahead.append((work, readers.submit(self._read, work)))
            if len(self._ahead) > self._jobs:
                yield self._next()
        while self._ahead:
            yield self._next()

    def _next(self) -> tuple[Work, Future[Work]]:
        self._at_hand = self._ahead.popleft()
        return self._at_hand

    def _read(self, work: Work) -> Work:
        if self._trees:
            work.claim = self._trees.claim(work.job, self._stages.paths(work.job))
            if work.claim is None:
                return work
        return self._stages.read(work, self._trees.found if self._trees else None)

    def _after_the_other_process(self, job: Job, writers: ThreadPoolExecutor) -> None:
        """One at a time and with no other claim in hand, so that two processes never wait for one another."""
        work = Work(job)
        reading, began, said = partial(self._read, work), time.monotonic(), False
        while not self._fails(work, reading) and work.claim is None:
            if self._trees and not said and time.monotonic() - began >= _SAY_AFTER_S:
                said = True
                self._on_event(FileAwaited(job, self._trees.holder(job)))
            time.sleep(_LOOK_AGAIN_S)
        if work.claim is not None:
            self._infer(work, lambda: work, writers)
            self._finish_inference(writers)
            self._collect(at_most_waiting=0)

    def _infer(self, work: Work, read: Callable[[], Work], writers: ThreadPoolExecutor) -> None:
        if self._fails(work, read):
            return
        if self._trees and work.claim is None:
            self._claimed_elsewhere.append(work.job)
            return
        if work.output is not OutputState.TO_MAKE:
            _let_go(work)
            job, why = work.job, str(work.output)
            # What is done already is no news; what somebody has changed is, also where a live line shows nothing else.
            notes = (why,) if work.output is OutputState.CHANGED else ()
            self._finished(Outcome(Result.SKIPPED, job.source, job.target, work.watch.seconds, 0, notes, reason=why))
            return
        self._on_event(FileStarted(work.job))
        if self._lanes is None:
            self._after_inference(work, partial(self._stages.infer, work), writers)
            return
        self._inferring.append((work, self._lanes.submit(self._stages.infer, work)))
        self._at_hand = None
        while self._lanes_are_full():
            self._next_inference(writers)

    def _lanes_are_full(self) -> bool:
        num_bytes = _bytes_of(work for work, _ in self._inferring)
        most = self._stages.lanes if num_bytes <= _MOST_INFERRING_BYTES else 2
        return len(self._inferring) >= most

    def _finish_inference(self, writers: ThreadPoolExecutor) -> None:
        while self._inferring:
            self._next_inference(writers)

    def _next_inference(self, writers: ThreadPoolExecutor) -> None:
        """Waits for the network to finish the oldest file that it was given."""
        work, future = self._inferring[0]
        wait_for([future])  # an interruption finds it among the others
        self._at_hand = self._inferring.popleft()
        self._after_inference(work, future.result, writers)

    def _after_inference(self, work: Work, infer: Callable[[], object], writers: ThreadPoolExecutor) -> None:
        if not self._fails(work, partial(self._with_room, work, infer)):
            self._at_hand = None  # from here on the writer gives up the claim
            self._writing.append(_Writing(work, writers.submit(self._write, work)))

    def _with_room(self, work: Work, infer: Callable[[], object]) -> None:
        """Infers, and once more where the memory did not suffice while results were waiting for the disk."""
        try:
            infer()
        except DeviceError as error:
            if not (error.only_this_picture and self._writing):
                raise
            self._collect(at_most_waiting=0)
            self._stages.infer(work)

    def _write(self, work: Work) -> Outcome | None:
        if time.monotonic() > self._write_until:
            return None
        outcome = self._stages.write(work)
        self._note(work.job, outcome)
        _let_go(work)
        return outcome

    def _collect(self, *, at_most_waiting: int) -> None:
        """Accounts for finished writes in order, waiting for the oldest while too many are under way."""
        while self._writing:
            writing = self._writing[0]
            full = (
                len(self._writing) > at_most_waiting
                or _bytes_of(writing.work for writing in self._writing) > _MOST_WAITING_BYTES
            )
            if not full and not writing.future.done():
                return
            failed = self._fails(writing.work, writing.future.result)
            self._writing.popleft()
            outcome = None if failed else writing.future.result()
            if outcome:
                self._finished(outcome)

    def _fails(self, work: Work, step: Callable[[], object]) -> bool:
        """True if `step` failed and the file is recorded as such; raises what would fail every file alike."""
        try:
            step()
        except Exception as error:  # a file that breaks us must not stop the ten thousand others
            if ends_the_run(error):
                raise
            job = work.job
            if isinstance(error, MemoryError):
                refused = out_of_memory(work)
                refused.__cause__, error = error, refused
            failure = failure_of(error, job.source)
            seconds = work.watch.seconds
            outcome = Outcome(Result.FAILED, job.source, job.target, seconds, failure=failure, made=work.made)
            self._note(job, outcome)
            _let_go(work)
            self._finished(outcome)
            return True
        return False

    def _note(self, job: Job, outcome: Outcome) -> None:
        if self._trees:
            self._trees.note(job, outcome)

    def _finished(self, outcome: Outcome) -> None:
        self.tally.add(outcome)
        self._on_event(FileFinished(outcome))


def _bytes_of(works: Iterable[Work]) -> int:
    images = (work.image for work in works)
    return sum(page.pixels.nbytes for image in images if image for page in image.pages)


def _let_go(work: Work) -> None:
    if work.claim:
        work.claim.release()
        work.claim = None
