"""One process of `batch.processes`, as its parent sees it: started, given jobs, listened to, and ended.

Only the thread of `batch.dispatcher` uses it, so no signal interrupts it in the middle of a message or of a start.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from adacode_cli.batch.executor import Assignment
from adacode_cli.batch.worker import FOR_THE_PARENT, STOP, WorkerTask, run_worker
from adacode_cli.errors import DeviceError, reason

# How often in sequence a process may end before it is ready. The first of a run may not.
_MAX_FAILED_STARTS = 2
_ENDED = (EOFError, OSError)


class WorkerTraceback(Exception):  # noqa: N818 (the cause of an error, for its traceback)
    """The traceback in a process of the run."""


class WorkerProcess:
    """One process, or none before `start` and after `end`.

    assigned: the assignments that it has, by their ids.
    returned: those of which it has said that it will not finish them, so nothing of them is written.
    is_ready: whether it has loaded the network. is_waiting: whether it waits for an answer to its question for a job.
    """

    def __init__(self, task: WorkerTask) -> None:
        self.task = task
        self.assigned: dict[int, Assignment] = {}
        self.returned: list[Assignment] = []
        self.is_ready = self.is_waiting = False
        self._failed_starts = 0
        self._connection: Connection | None = None
        self._process: BaseProcess | None = None

    @property
    def connection(self) -> Connection:
        """To wait for messages of the process, which must run."""
        assert self._connection is not None, "it was started"
        return self._connection

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended; it may have died since."""
        return self._connection is not None

    @property
    def is_busy(self) -> bool:
        """Whether it has an assignment, finished or not, that it has not reported as ended."""
        return bool(self.assigned or self.returned)

    @property
    def pid(self) -> int | None:
        """The number of the process; None if there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Starts the process. Raises DeviceError if the system refuses it."""
        context = multiprocessing.get_context("spawn")
        try:
            connection, theirs = context.Pipe()
            try:
                process = context.Process(target=run_worker, args=(self.task, theirs), daemon=True)
                with _without_signals(), theirs:
                    process.start()
            except BaseException:
                connection.close()
                raise
        except OSError as error:
            hint = "Use fewer devices or a smaller number for --processes, or allow more files and processes (ulimit)."
            what = f"a process for {self.task.placement.device} cannot be started: {reason(error)}"
            raise DeviceError(what, hint=hint) from error
        self._connection, self._process = connection, process
        self.is_ready = self.is_waiting = False

    def start_again(self) -> None:
        """Starts another process after this one has ended. Raises DeviceError if that fails again and again."""
        self._failed_starts = 0 if self.is_ready else self._failed_starts + 1
        self.end()
        self.assigned.clear()
        self.returned.clear()
        if self._failed_starts >= _MAX_FAILED_STARTS:
            raise self.error_about("cannot be started any more")
        self.start()

    def error_about(self, how: str) -> DeviceError:
        """The error for a process that a run cannot do without."""
        hint = "Use fewer devices, or a smaller number for --processes: each process needs memory of its own."
        return DeviceError(f"the process for {self.task.placement.device} {how}", hint=hint)

    def receive(self) -> tuple[Any, ...] | None:
        """The next message; None if the process has ended. Raises the error of the process that ended it."""
        try:
            kind, *content = self.connection.recv()
        except _ENDED:
            return None
        if kind == "error":
            error, trace = content
            raise error from WorkerTraceback(f"in the process for {self.task.placement.device}:\n{trace}")
        if kind == "ready":
            self.is_ready = True
        elif kind == "next":
            self.is_waiting = True
        return (kind, *content)

    def give(self, given: tuple[int, Assignment] | None) -> None:
        """Answers its question. If it has died, this is found when it is listened to."""
        self.is_waiting = False
        if given is not None:
            self.assigned[given[0]] = given[1]
        with suppress(OSError):
            self.connection.send(given)

    def has_returned_all_but(self, begun: Collection[int]) -> None:
        """Notes that it was interrupted before it had begun other assignments than these."""
        for number in [number for number in self.assigned if number not in begun]:
            self.returned.append(self.assigned.pop(number))

    def interrupt(self) -> None:
        """Asks the process to end soon."""
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
        """Ends the process; it may never have been started, or have been ended."""
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
