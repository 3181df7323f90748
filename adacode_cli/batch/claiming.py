"""The jobs of an execution with their claims, which are taken ahead in several threads.

A claim is on the disk before its job is given out, and a disk takes many small files at once nearly as fast as one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from adacode_cli.batch.executor import Assignment
from adacode_cli.batch.plan import Job

_THREADS = 8

Take = Callable[[Job], Assignment | None]


class Claiming:
    """Gives jobs in their order. take: as `Coordinator.take`. ahead: how many jobs are claimed before they are asked
    for; with 0, each is claimed when it is asked for, in the thread that asks.
    """

    def __init__(self, jobs: Iterator[Job], take: Take, ahead: int) -> None:
        self._jobs, self._take, self._ahead = jobs, take, ahead
        self._taken: deque[tuple[Job, Future[Assignment | None]]] = deque()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="claim") if ahead else None

    def next(self) -> tuple[Job, Take] | None:
        """The next job, and a function that returns its assignment or raises what `take` raised; None at the end."""
        if self._pool is None:
            job = next(self._jobs, None)
            return None if job is None else (job, self._take)
        while len(self._taken) < self._ahead and (job := next(self._jobs, None)) is not None:
            self._taken.append((job, self._pool.submit(self._take, job)))
        if not self._taken:
            return None
        job, future = self._taken.popleft()
        return job, lambda _job: future.result()

    def close(self) -> list[Job]:
        """Takes no more claims. Returns the jobs that are claimed and were not asked for."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        left = [(job, future) for job, future in self._taken if not future.cancelled() and not future.exception()]
        self._taken.clear()
        return [job for job, future in left if future.result() is not None]
