"""The executor of several devices: a process for each of them, or several on a CPU.

Each process loads the network and carries out jobs as a run in one process does (`batch.worker`). This side gives it a
job when it asks for one, so a fast device gets more of them, and reports to the coordinator: there is one journal, one
set of claims and one progress line. Outcomes are reported when they are known, in no order.

If a process ends for any reason, another one takes its place, and each file that it had is tried once more, alone.
A file with which a process ends for the second time fails.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from adacode_cli import atomic
from adacode_cli.batch.executor import Assignment, Coordinator
from adacode_cli.batch.outcome import Outcome, failed_job
from adacode_cli.batch.plan import Job
from adacode_cli.batch.worker import Work, work
from adacode_cli.errors import AdaCodeError, DeviceError

# After an interruption, processes write finished results; a run has 1.7 s for everything.
_GRACE_S = 1.35
_MAX_FAILED_STARTS = 2


class Processes:
    """An `Executor`. Enter it to start the processes; when it is left, none of them runs any more.

    works: what each process does; they differ in their places.
    """

    def __init__(self, works: Sequence[Work]) -> None:
        self._works = works
        self._workers: list[_Worker] = []
        self._ids = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end()

    def start(self) -> str:
        """Starts the processes and waits until they have loaded their networks. Returns the digest of the weights.

        Raises UsageError, WeightsError, DeviceError.
        """
        self._workers.extend(_Worker(one) for one in self._works)
        digests = {worker.wait_until_ready() for worker in self._workers}
        assert len(digests) == 1, "the same file for all"
        return digests.pop()

    def paths(self, job: Job) -> tuple[Path, ...]:
        """As `Executor.paths`."""
        return self._works[0].description.paths(job)

    def execute(self, jobs: Iterable[Job], coordinator: Coordinator) -> None:
        """As `Executor.execute`, except that outcomes come in no order."""
        execution = _Execution(self._workers, jobs, coordinator, self.paths, self._ids)
        try:
            execution.run()
        finally:
            execution.stop()


@dataclass
class _Worker:
    """One process. `held`: the assignments that it has, by their ids. `again`: those to be tried once more, alone."""

    work: Work
    again: deque[Assignment] = field(default_factory=deque)
    held: dict[int, Assignment] = field(default_factory=dict)
    is_ready: bool = False
    asks: bool = False
    is_alone: bool = False
    failed_starts: int = 0

    def __post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=work, args=(self.work, theirs), daemon=True)
        with _without_signals(), theirs:
            self.process.start()
        self.is_ready = self.asks = self.is_alone = False

    def replace(self) -> None:
        """Starts another process after this one has ended. Raises DeviceError where that fails again and again."""
        self.failed_starts = 0 if self.is_ready else self.failed_starts + 1
        if self.failed_starts >= _MAX_FAILED_STARTS:
            raise self.lost("cannot be started any more")
        self.end()
        self._begin()

    def lost(self, how: str) -> DeviceError:
        """The error for a process that a run cannot do without."""
        hint = "Use fewer devices or --processes; more may need more memory than this machine has."
        return DeviceError(f"the process for {self.work.place.device} {how}", hint=hint)

    def wait_until_ready(self) -> str:
        """The digest of its weights. Raises the error with which it ended instead."""
        try:
            kind, content = self.connection.recv()
        except (EOFError, OSError) as error:
            raise self.lost("ended while it was starting") from error
        if isinstance(content, AdaCodeError):
            raise content
        assert kind == "ready", "its first message"
        self.is_ready = True
        return str(content)

    def give(self, given: tuple[int, Assignment] | None) -> None:
        """Answers its question. That it has died is found when it is listened to."""
        self.asks = False
        if given is not None:
            self.held[given[0]] = given[1]
        with suppress(OSError):
            self.connection.send(given)

    def end(self) -> None:
        """Ends the process; it may be called again."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Execution:
    """One call of `execute`."""

    def __init__(
        self,
        workers: Sequence[_Worker],
        jobs: Iterable[Job],
        coordinator: Coordinator,
        paths: Callable[[Job], tuple[Path, ...]],
        ids: Iterator[int],
    ) -> None:
        self._workers, self._coordinator, self._paths, self._ids = workers, coordinator, paths, ids
        self._left = (one for one in map(coordinator.take, jobs) if one is not None)
        self._died: set[Job] = set()

    def run(self) -> None:
        """Gives out jobs and hears of them until all have ended. Raises errors that end a run, KeyboardInterrupt."""
        while True:
            for worker in self._workers:
                if worker.asks:
                    self._answer(worker)
            busy = [worker for worker in self._workers if worker.held or worker.again]
            if not busy and all(worker.asks for worker in self._workers if worker.is_ready):
                return
            heard = wait([worker.connection for worker in self._workers])
            for worker in self._workers:
                if worker.connection in heard:
                    self._hear(worker)

    def _answer(self, worker: _Worker) -> None:
        if worker.held and (worker.is_alone or worker.again):
            worker.give(None)  # It finishes what it has.
            return
        worker.is_alone = bool(worker.again)
        assignment = worker.again.popleft() if worker.again else next(self._left, None)
        if assignment is not None:
            worker.give((next(self._ids), assignment))
        elif worker.held:
            worker.give(None)

    def _hear(self, worker: _Worker) -> None:
        try:
            kind, *content = worker.connection.recv()
        except (EOFError, OSError):
            self._died_with(worker)
            return
        if kind == "error":
            raise content[0]
        if kind == "stopped":  # Somebody has sent it a signal; its end comes next.
            return
        if kind == "ready":
            worker.is_ready = True
        elif kind == "next":
            worker.asks = True
        else:
            self._about_job(worker, kind, *content)

    def _about_job(self, worker: _Worker, kind: str, number: int, *content: Any) -> None:  # noqa: ANN401 (as it was sent)
        job = worker.held[number].job
        if kind == "started":
            self._coordinator.started(job)
        elif kind == "page":
            self._coordinator.page_finished(job, *content)
        elif kind == "share":
            self._coordinator.advanced(job, *content)
        else:
            self._ended(job, *content)
            del worker.held[number]

    def _ended(self, job: Job, outcome: Outcome | None) -> None:
        self._coordinator.ended(job, outcome)
        if outcome is not None:
            self._coordinator.finished(outcome)

    def _died_with(self, worker: _Worker) -> None:
        lost = list(worker.held.values())
        worker.process.join()
        code = worker.process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        for assignment in lost:
            self._remove_leftovers(assignment.job)
        worker.replace()
        for assignment in lost:
            if assignment.job not in self._died:
                self._died.add(assignment.job)
                worker.again.append(assignment)
                continue
            hint = "Restore this file alone, with --tile 512 or another --device; see also the system's log."
            message = f"the process that restored it ended twice ({how})"
            self._ended(
                assignment.job, failed_job(assignment.job, DeviceError(message, hint=hint, only_this_image=True))
            )
        worker.held.clear()

    def _remove_leftovers(self, job: Job) -> None:
        for path in self._paths(job):
            atomic.remove_leftovers(path)

    def stop(self) -> None:
        """After an error or an interruption: ends the processes that have jobs, and still reports what they finish."""
        busy = [worker for worker in self._workers if worker.held]
        for worker in busy:
            worker.process.terminate()
        until = time.monotonic() + _GRACE_S
        listening = list(busy)
        while listening and (left := until - time.monotonic()) > 0:
            heard = wait([worker.connection for worker in listening], left)
            listening = [worker for worker in listening if worker.connection not in heard or self._last_words(worker)]
        for worker in busy:
            worker.end()
        for worker in self._workers:
            for assignment in (*worker.held.values(), *worker.again):
                self._remove_leftovers(assignment.job)
                self._coordinator.ended(assignment.job, None)
            worker.held.clear()
            worker.again.clear()

    def _last_words(self, worker: _Worker) -> bool:
        """Reports one more message of a process that was told to end. Returns False for its last one."""
        try:
            kind, *content = worker.connection.recv()
        except (EOFError, OSError):
            return False
        if kind in ("started", "page", "share", "ended"):
            self._about_job(worker, kind, *content)
        return kind != "stopped" and bool(worker.held)


@contextmanager
def _without_signals() -> Iterator[None]:
    """Processes that are started within the block never get Ctrl-C and the end of a terminal, not even at first."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
