"""The executor of this process: files are read and written in threads while the network computes.

Inference runs in the calling thread, which receives signals and emits events, unless several threads are needed to keep
the device busy; decoding and encoding run in small pools. At most `jobs` + 1 decoded images wait for the
network and as many results for the disk, so the memory does not depend on the length of the run.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from adacode_cli.batch.executor import Coordinator, JobPassage
from adacode_cli.batch.outcome import Outcome, ends_the_run
from adacode_cli.batch.plan import Job
from adacode_cli.batch.stages import Inferred, Read, Stages
from adacode_cli.errors import DeviceError

# After an interruption, finished results are still written, but only for this long.
_GRACE_S = 1.0
# Results that wait for the disk; with more, the next image is not computed until one is written.
_MAX_WAITING_BYTES = 4 << 30
_REPORT_EVERY_S = 0.2  # interval at which pages restored by lanes, and shares of files, are reported
_FEW_JOBS, _MANY_JOBS = 2, 8
# Images that are computed or whose results wait for an earlier one. Two large images keep the network busy, and
# results are many times as large.
_MAX_INFERRING_BYTES = 64 << 20

Reading = Future[Read | Outcome | None]
"""The result of reading a job: None if another process works on it."""


class LocalExecutor:
    """The executor of this process.

    jobs: the number of reading and of writing threads. None: two, or, if the network computes several files at once,
        one for each core, at most eight.
    """

    def __init__(self, stages: Stages, *, jobs: int | None = None) -> None:
        several = min(_MANY_JOBS, os.cpu_count() or _FEW_JOBS) if stages.lanes > 1 else _FEW_JOBS
        self._stages = stages
        self._jobs = jobs or several

    def paths(self, job: Job) -> tuple[Path, ...]:
        """As `Executor.paths`."""
        return self._stages.paths(job)

    def execute(self, jobs: Iterable[Job], coordinator: Coordinator) -> None:
        """As `Executor.execute`. After an interruption, finished results are written if this takes little time."""
        _Execution(self._stages, self._jobs, coordinator).run(jobs)


@dataclass(frozen=True)
class _OutOfMemory:
    """The memory was insufficient for this image; it may be sufficient when waiting results are written."""

    error: DeviceError
    read: Read


@dataclass(frozen=True)
class _Inferring:
    passage: JobPassage
    future: Future[Inferred | _OutOfMemory]


@dataclass(frozen=True)
class _Writing:
    passage: JobPassage
    future: Future[Outcome | None]


class _Cancelled(Exception):  # noqa: N818 (it stays in this module)
    """The run was interrupted while a lane computed a document."""


class _Execution:
    """One call of `execute`. A passage that is in none of the queues is finished or cancelled."""

    def __init__(self, stages: Stages, jobs: int, coordinator: Coordinator) -> None:
        self._stages = stages
        self._jobs = jobs
        self._coordinator = coordinator
        self._readers = ThreadPoolExecutor(jobs, thread_name_prefix="read")
        self._writers = ThreadPoolExecutor(jobs, thread_name_prefix="write")
        self._lanes = ThreadPoolExecutor(stages.lanes, thread_name_prefix="infer") if stages.lanes > 1 else None
        self._ahead: deque[tuple[JobPassage, Reading]] = deque()
        self._current: tuple[JobPassage, Future[Any]] | None = None
        self._inferring: deque[_Inferring] = deque()
        self._writing: deque[_Writing] = deque()
        self._thread = threading.current_thread()
        self._pages: deque[tuple[Job, int, int]] = deque()  # restored but not reported yet
        self._shares: dict[Job, float] = {}  # likewise; several threads change it
        self._shares_reported = 0.0
        self._write_until = math.inf

    def run(self, jobs: Iterable[Job]) -> None:
        """Reads, infers and writes until no job is left. Raises errors that end a run, and KeyboardInterrupt."""
        try:
            for passage in self._read_ahead(jobs):
                self._infer(passage)
                self._collect(max_waiting=self._jobs)
            while self._inferring:
                self._next_inference()
            self._collect(max_waiting=0)
        except KeyboardInterrupt:
            self._interrupted()
            raise
        finally:
            self._shut_down()

    def _read_ahead(self, jobs: Iterable[Job]) -> Iterator[JobPassage]:
        """Yields the jobs in order, while each and a few of the following ones are being read."""
        for job in jobs:
            passage = JobPassage(
                self._stages, job, partial(self._page_restored, job), partial(self._share_computed, job)
            )
            self._ahead.append((passage, self._readers.submit(self._read, passage)))
            if len(self._ahead) > self._jobs:
                self._current = self._ahead.popleft()
                yield self._current[0]
        while self._ahead:
            self._current = self._ahead.popleft()
            yield self._current[0]

    def _read(self, passage: JobPassage) -> Read | Outcome | None:
        assignment = self._coordinator.take(passage.job)
        return passage.read(assignment.known) if assignment else None

    def _infer(self, passage: JobPassage) -> None:
        """Restores the current image. Afterwards nothing refers to the decoded input, which may be large."""
        assert self._current is not None, "it has been read"
        reading: Reading = self._current[1]
        if self._fails(passage, reading.result):
            return
        read = reading.result()
        if isinstance(read, Outcome):
            self._end(passage.job, read)
        elif read is not None:
            self._coordinator.started(passage.job)
            if self._lanes is None:
                self._submit_result(passage, partial(_inferred, passage, read))
                return
            self._inferring.append(_Inferring(passage, self._lanes.submit(_inferred, passage, read)))
            self._current = None
            del reading, read
            while self._lanes_are_full():
                self._next_inference()

    def _lanes_are_full(self) -> bool:
        num_bytes = sum(one.passage.num_bytes for one in self._inferring)
        limit = self._stages.lanes if num_bytes <= _MAX_INFERRING_BYTES else 2
        return len(self._inferring) >= limit

    def _next_inference(self) -> None:
        """Waits until the network has finished the oldest file."""
        # It stays in the queue until then, where an interruption handles it.
        while not wait_for([self._inferring[0].future], _REPORT_EVERY_S).done:
            self._report_progress()
        self._report_progress()
        oldest = self._inferring.popleft()
        self._current = oldest.passage, oldest.future
        self._submit_result(oldest.passage, oldest.future.result)

    def _page_restored(self, job: Job, page: int, num_pages: int) -> None:
        """Called in the thread of the network. After an interruption, it cancels a document in a lane."""
        if self._write_until != math.inf:
            raise _Cancelled
        self._pages.append((job, page, num_pages))
        if threading.current_thread() is self._thread:
            self._report_progress()

    def _share_computed(self, job: Job, share: float) -> None:
        """Called in the thread of the network. Tiles may be small, so not each of them is reported."""
        self._shares[job] = share
        is_due = share == 1 or time.monotonic() - self._shares_reported >= _REPORT_EVERY_S
        if is_due and threading.current_thread() is self._thread:
            self._report_progress()

    def _report_progress(self) -> None:
        """Reports pages and shares, in the thread of the run."""
        while self._pages:
            self._coordinator.page_finished(*self._pages.popleft())
        self._shares_reported = time.monotonic()
        while self._shares:
            self._coordinator.advanced(*self._shares.popitem())

    def _submit_result(self, passage: JobPassage, infer: Callable[[], Inferred | _OutOfMemory]) -> None:
        """Passes a result to the writers, if there is one."""
        results: list[Inferred] = []
        if not self._fails(passage, lambda: results.append(self._retried(passage, infer()))):
            self._current = None  # From here on the writer releases the claim.
            self._writing.append(_Writing(passage, self._writers.submit(self._write, passage, results.pop())))

    def _retried(self, passage: JobPassage, result: Inferred | _OutOfMemory) -> Inferred:
        """The result; if the memory was insufficient while results waited for the disk, it is computed again."""
        if isinstance(result, Inferred):
            return result
        if not self._writing:
            raise result.error
        self._collect(max_waiting=0)
        return passage.infer(result.read)

    def _write(self, passage: JobPassage, inferred: Inferred) -> Outcome | None:
        if time.monotonic() > self._write_until:
            return None
        outcome = passage.write(inferred)
        self._coordinator.ended(passage.job, outcome)
        return outcome

    def _collect(self, *, max_waiting: int) -> None:
        """Reports finished writes in order, and waits for the oldest one while there are too many."""
        while self._writing:
            writing = self._writing[0]
            num_bytes = sum(one.passage.num_bytes for one in self._writing)
            is_full = len(self._writing) > max_waiting or num_bytes > _MAX_WAITING_BYTES
            if not is_full and not writing.future.done():
                return
            failed = self._fails(writing.passage, writing.future.result)
            self._writing.popleft()
            outcome = None if failed else writing.future.result()
            if outcome:
                self._coordinator.finished(outcome)

    def _fails(self, passage: JobPassage, step: Callable[[], object]) -> bool:
        """Runs `step`; an error fails the file, and True is returned. Raises errors that every file would meet."""
        try:
            step()
        except Exception as error:  # One file must not stop all others.
            if ends_the_run(error):
                raise
            self._end(passage.job, passage.failed(error))
            return True
        return False

    def _end(self, job: Job, outcome: Outcome) -> None:
        self._coordinator.ended(job, outcome)
        self._coordinator.finished(outcome)

    def _interrupted(self) -> None:
        """Results that the lanes finish soon are still written, and writes that end soon are reported."""
        self._write_until = time.monotonic() + _GRACE_S
        self._readers.shutdown(wait=False, cancel_futures=True)
        if self._lanes:
            self._lanes.shutdown(wait=False, cancel_futures=True)
        wait_for([one.future for one in self._inferring if not one.future.cancelled()], _GRACE_S / 2)
        left: deque[_Inferring] = deque()
        for one in self._inferring:
            if _has_result(one.future) and isinstance(inferred := one.future.result(), Inferred):
                self._writing.append(_Writing(one.passage, self._writers.submit(self._write, one.passage, inferred)))
            else:
                left.append(one)
        self._inferring = left
        under_way: list[Future[Any]] = [reading for _, reading in self._ahead]
        under_way += [self._current[1]] if self._current else []
        under_way += [writing.future for writing in self._writing]
        # `wait` never reports a cancelled future as done.
        wait_for([f for f in under_way if not f.cancelled()], max(0.0, self._write_until - time.monotonic()))
        self._writers.shutdown(wait=False, cancel_futures=True)

    def _shut_down(self) -> None:
        """Ends the threads. After a stop, finished outputs are still reported; later errors are ignored."""
        if self._write_until == math.inf:
            self._readers.shutdown(cancel_futures=True)
            if self._lanes:
                self._lanes.shutdown(cancel_futures=True)
            self._writers.shutdown()
        while self._writing:
            future = self._writing.popleft().future
            outcome = future.result() if _has_result(future) else None
            if outcome:
                self._coordinator.finished(outcome)
        left: list[tuple[JobPassage, Future[Any]]] = [(one.passage, one.future) for one in self._inferring]
        left += [*self._ahead, *([self._current] if self._current else [])]
        for passage, under_way in left:
            if under_way.done():
                self._coordinator.ended(passage.job, None)


def _inferred(passage: JobPassage, read: Read) -> Inferred | _OutOfMemory:
    try:
        return passage.infer(read)
    except DeviceError as error:
        if not error.only_this_image:
            raise
        return _OutOfMemory(error, read)


def _has_result(future: Future[Any]) -> bool:
    """Whether the future has a result."""
    return future.done() and not future.cancelled() and not future.exception()
