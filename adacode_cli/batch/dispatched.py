"""An executor whose workers are elsewhere: in processes of this machine, or on other machines.

Each worker loads the network and carries out jobs as a run in one process does (`batch.worker`). A thread of this
process gives it jobs when it asks for some, so a fast device gets more of them, and calls the coordinator
(`batch.dispatcher`): there is one journal, one set of claims and one progress line. The main thread, which receives
signals, emits the events, and waits for them in a way that a signal interrupts.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from adacode_cli.batch.description import Description
from adacode_cli.batch.dispatcher import GRACE_S, AllEnded, Dispatcher, Ready, Report, Stopped
from adacode_cli.batch.executor import Coordinator
from adacode_cli.batch.plan import Job

# Some systems do not interrupt a thread that waits, and the handler of a signal runs when it looks again.
_LOOK_AGAIN_S = 0.2
# After an interruption, to end workers that did not end by themselves.
_KILLING_S = 0.1


class Dispatched:
    """An `Executor`. When its block is left, no worker of it runs any more."""

    def __init__(self, description: Description, dispatcher: Dispatcher) -> None:
        self._description = description
        self._dispatcher = dispatcher
        self._has_stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dispatcher.close()

    def start(self) -> str:
        """Starts the workers and waits until they have loaded their networks. Returns the digest of the weights.

        Raises UsageError, WeightsError, DeviceError.
        """
        self._dispatcher.start()
        while not isinstance(report := self._next_report(), Ready):
            if callable(report):
                report()
        return report.digest

    def paths(self, job: Job) -> tuple[Path, ...]:
        """As `Executor.paths`."""
        return self._description.paths(job)

    def execute(self, jobs: Iterable[Job], coordinator: Coordinator) -> None:
        """As `Executor.execute`. After an error or an interruption, the workers are not there for another call."""
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
                    raise report.error or RuntimeError("the workers were stopped")
                return report

    def _stop(self) -> None:
        """Ends the workers, and still makes the calls for files that are finished; later errors are ignored."""
        self._dispatcher.stop()
        until = time.monotonic() + GRACE_S + _KILLING_S
        with suppress(queue.Empty):
            while not self._has_stopped and (left := until - time.monotonic()) > 0:
                report = self._dispatcher.reports.get(timeout=left)
                self._has_stopped = isinstance(report, Stopped)
                if callable(report):
                    with suppress(Exception):
                        report()
