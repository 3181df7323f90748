"""One process of `batch.processes`, as its parent sees it.

It gets one job when it asks for one. Only the thread of `batch.dispatcher` uses it (`batch.worker_handle`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from adacode_cli.batch.permit import own_permit
from adacode_cli.batch.worker import FOR_THE_PARENT, STOP, WorkerTask, run_worker
from adacode_cli.batch.worker_handle import Given, WorkerHandle
from adacode_cli.errors import DeviceError, WeightsError, reason

_ENDED = (EOFError, OSError)


class WorkerProcess(WorkerHandle):
    """One process, or none before `start` and after `end`."""

    def __init__(self, task: WorkerTask) -> None:
        super().__init__()
        self.task = task
        self._connection: Connection | None = None
        self._process: BaseProcess | None = None

    @property
    def connection(self) -> Connection:
        """As `WorkerHandle.connection`."""
        assert self._connection is not None, "it was started"
        return self._connection

    @property
    def is_running(self) -> bool:
        """As `WorkerHandle.is_running`."""
        return self._connection is not None

    @property
    def pid(self) -> int | None:
        """The number of the process; None if there is none."""
        return None if self._process is None else self._process.pid

    @property
    def _place(self) -> str:
        return self.task.placement.device

    def start(self) -> None:
        """Starts the process. Raises DeviceError if the system refuses it."""
        context = multiprocessing.get_context("spawn")
        try:
            connection, theirs = context.Pipe()
            try:
                process = context.Process(target=run_worker, args=(self.task, theirs, own_permit()), daemon=True)
                with _without_signals(), theirs:
                    process.start()
            except BaseException:
                connection.close()
                raise
        except OSError as error:
            hint = "Use fewer devices or a smaller number for --processes, or allow more files and processes (ulimit)."
            what = f"a process for {self._place} cannot be started: {reason(error)}"
            raise DeviceError(what, hint=hint) from error
        self._connection, self._process = connection, process
        self.is_ready = self.is_waiting = False

    def error_about(self, how: str) -> DeviceError:
        """As `WorkerHandle.error_about`."""
        hint = "Use fewer devices, or a smaller number for --processes: each process needs memory of its own."
        return DeviceError(f"the process for {self._place} {how}", hint=hint)

    def other_weights(self) -> WeightsError:
        """As `WorkerHandle.other_weights`."""
        hint = "Restore with weights that nobody writes to; the journal names the weights of each finished file."
        return WeightsError("the weights were changed during the run", hint=hint)

    def _message(self) -> tuple[Any, ...] | None:
        try:
            return tuple(self.connection.recv())
        except _ENDED:
            return None

    def _send(self, given: Sequence[Given]) -> None:
        with suppress(OSError):
            self.connection.send(tuple(given))

    def interrupt(self) -> None:
        """As `WorkerHandle.interrupt`."""
        process = self._process
        if process is None or process.exitcode is not None or process.pid is None:
            return
        if STOP is None:
            process.terminate()
        else:
            os.kill(process.pid, STOP)

    def how_it_ended(self) -> str:
        """Waits for the end of a process that has closed its connection, and says how it ended."""
        assert self._process is not None, "it was started"
        self._process.join()
        code = self._process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def end(self) -> None:
        """As `WorkerHandle.end`."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if process is not None:
            process.kill()
            process.join()
        if connection is not None:
            connection.close()


@contextmanager
def _without_signals() -> Iterator[None]:
    """Processes that are started within the block never get the signals that are for the parent, not even at first."""
    if not hasattr(signal, "pthread_sigmask") or sys.platform == "win32":
        yield
        return
    from multiprocessing import resource_tracker

    # It starts with the first process, and would then allow two of the signals again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_PARENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
