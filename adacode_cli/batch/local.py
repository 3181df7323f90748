"""Jobs carried out in this process, with reading and writing beside inference.

Inference stays in the calling thread, where signals arrive and where events are emitted, unless it takes more than one
thread to keep the device busy; decoding and encoding run in small pools. At most `jobs` + 1 decoded images wait for the
network and as many results for the disk, so memory does not depend on the length of the run.
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

# After an interruption: what the network has finished is worth writing, but nobody waits long for Ctrl-C.
_GRACE_S = 1.0
# Results that wait for the disk; large ones wait for one another rather than for more memory.
_MAX_WAITING_BYTES = 4 << 30
_REPORT_PAGES_EVERY_S = 0.2  # how often pages that lanes have restored are reported
_FEW_JOBS, _MANY_JOBS = 2, 8
# Images with the network, and results of those that wait for an earlier one: of large images two keep it busy, and
# results are many times their size.
_MAX_INFERRING_BYTES = 64 << 20

Reading = Future[Read | Outcome | None]
"""What comes of reading a job: None where another process is at work on it."""


class LocalExecutor:
    """The executor of this process. `jobs` threads read and as many write; None: two, or where the network takes
    several files at once, one a core up to eight.
    """

    def __init__(self, stages: Stages, *, jobs: int | None = None) -> None:
        several = min(_MANY_JOBS, os.cpu_count() or _FEW_JOBS) if stages.lanes > 1 else _FEW_JOBS
        self._stages = stages
        self._jobs = jobs or several

    def paths(self, job: Job) -> tuple[Path, ...]:
        """As `Executor.paths`."""
        return self._stages.paths(job)

    def execute(self, jobs: Iterable[Job], coordinator: Coordinator) -> None:
        """As `Executor.execute`. After an interruption, what was restored until then is written if that is quick."""
        _Execution(self._stages, self._jobs, coordinator).run(jobs)


@dataclass(frozen=True)
class _OutOfMemory:
    """The memory did not suffice for what was read; it may when results that wait for the disk are gone."""

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


class _Cancelled(Exception):  # noqa: N818 (nobody sees it)
    """The run was interrupted while a lane was at work on a document."""


class _Execution:
    """One call of `execute`. A passage that is in none of the queues has been given up or handed back."""

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
        self._pages: deque[tuple[Job, int, int]] = deque()  # restored and not reported yet
        self._write_until = math.inf

    def run(self, jobs: Iterable[Job]) -> None:
        """Reads ahead, infers and writes until no job is left. Raises what ends a run, and KeyboardInterrupt."""
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
        """The jobs in order, each at hand with its reading under way, and that of a few of the following ones too."""
        for job in jobs:
            passage = JobPassage(self._stages, job, partial(self._page_restored, job))
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
        """Restores what is at hand. Nothing refers to what was read once it is restored: it may be large."""
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
        """Waits for the network to finish the oldest file that it was given."""
        # Until then it stays among the others, where an interruption finds it.
        while not wait_for([self._inferring[0].future], _REPORT_PAGES_EVERY_S).done:
            self._report_pages()
        self._report_pages()
        oldest = self._inferring.popleft()
        self._current = oldest.passage, oldest.future
        self._submit_result(oldest.passage, oldest.future.result)

    def _page_restored(self, job: Job, page: int, num_pages: int) -> None:
        """Called where the network runs. A document of which nobody wants the end any more ends in a lane here."""
        if self._write_until != math.inf:
            raise _Cancelled
        self._pages.append((job, page, num_pages))
        if threading.current_thread() is self._thread:
            self._report_pages()

    def _report_pages(self) -> None:
        while self._pages:
            self._coordinator.page_finished(*self._pages.popleft())

    def _submit_result(self, passage: JobPassage, infer: Callable[[], Inferred | _OutOfMemory]) -> None:
        """Hands a result to the writers, when there is one."""
        results: list[Inferred] = []
        if not self._fails(passage, lambda: results.append(self._retried(passage, infer()))):
            self._current = None  # from here on the writer gives up the claim
            self._writing.append(_Writing(passage, self._writers.submit(self._write, passage, results.pop())))

    def _retried(self, passage: JobPassage, result: Inferred | _OutOfMemory) -> Inferred:
        """The result, computed once more where the memory did not suffice while results were waiting for the disk."""
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
        """Accounts for finished writes in order, waiting for the oldest while too many are under way."""
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
        """Whether `step` failed, and the file with it. Raises what would fail every file alike."""
        try:
            step()
        except Exception as error:  # a file that breaks us must not stop the ten thousand others
            if ends_the_run(error):
                raise
            self._end(passage.job, passage.failed(error))
            return True
        return False

    def _end(self, job: Job, outcome: Outcome) -> None:
        self._coordinator.ended(job, outcome)
        self._coordinator.finished(outcome)

    def _interrupted(self) -> None:
        """What the lanes finish soon goes the way that it would have gone, and what is written soon counts."""
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
        # One that was cancelled never counts as done for those who wait.
        wait_for([f for f in under_way if not f.cancelled()], max(0.0, self._write_until - time.monotonic()))
        self._writers.shutdown(wait=False, cancel_futures=True)

    def _shut_down(self) -> None:
        """After a stop: outputs that got their names still count; what failed on the way out is not looked at."""
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
    """Whether there is a result."""
    return future.done() and not future.cancelled() and not future.exception()
