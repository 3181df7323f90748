"""The executor of several devices: a process for each of them, or several on a CPU.

Each process loads the network and carries out jobs as a run in one process does (`batch.worker`). A thread of this
process gives it a job when it asks for one, so a fast device gets more of them, and calls the coordinator
(`batch.dispatcher`): there is one journal, one set of claims and one progress line. The main thread, which receives
signals, emits the events, and waits for them in a way that a signal interrupts.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from adacode_cli.batch.dispatcher import GRACE_S, AllEnded, Dispatcher, Ready, Report, Stopped
from adacode_cli.batch.executor import Coordinator
from adacode_cli.batch.plan import Job
from adacode_cli.batch.worker import WorkerTask

# Some systems do not interrupt a thread that waits, and the handler of a signal runs when it looks again.
_LOOK_AGAIN_S = 0.2
# After an interruption, to end processes that did not end by themselves.
_KILLING_S = 0.1


class Processes:
    """An `Executor`. When its block is left, no process of it runs any more.

    tasks: what each process does; they differ in their places.
    """

    def __init__(self, tasks: Sequence[WorkerTask]) -> None:
        self._description = tasks[0].description
        self._dispatcher = Dispatcher(tasks, self.paths)
        self._has_stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dispatcher.close()

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes."""
        return [worker.pid for worker in self._dispatcher.workers if worker.pid is not None]

    def start(self) -> str:
        """Starts the processes and waits until they have loaded their networks. Returns the digest of the weights.

        Raises UsageError, WeightsError, DeviceError.
        """
        self._dispatcher.start()
        while not isinstance(report := self._next_report(), Ready):
            pass
        return report.digest

    def paths(self, job: Job) -> tuple[Path, ...]:
        """As `Executor.paths`."""
        return self._description.paths(job)

    def execute(self, jobs: Iterable[Job], coordinator: Coordinator) -> None:
        """As `Executor.execute`. After an error or an interruption, the processes are not there for another call."""
        self._dispatcher.begin(jobs, coordinator)
        try:
            while not isinstance(report := self._next_report(), AllEnded):
                if callable(report):
                    report()
        except BaseException:
            self._stop()
            raise

    def _next_report(self) -> Report:
        """Waits for it. Raises the error by which the thread ended."""
        while True:
            with suppress(queue.Empty):
                report = self._dispatcher.reports.get(timeout=_LOOK_AGAIN_S)
                if isinstance(report, Stopped):
                    self._has_stopped = True
                    raise report.error or RuntimeError("the processes were stopped")
                return report

    def _stop(self) -> None:
        """Ends the processes, and still makes the calls for files that are finished; later errors are ignored."""
        self._dispatcher.stop()
        until = time.monotonic() + GRACE_S + _KILLING_S
        with suppress(queue.Empty):
            while not self._has_stopped and (left := until - time.monotonic()) > 0:
                report = self._dispatcher.reports.get(timeout=left)
                self._has_stopped = isinstance(report, Stopped)
                if callable(report):
                    with suppress(Exception):
                        report()
