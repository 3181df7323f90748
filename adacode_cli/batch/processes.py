"""The executor of several devices: a process for each of them, or several on a CPU (`batch.dispatched`)."""

from __future__ import annotations

from collections.abc import Sequence

from adacode_cli.batch.dispatched import Dispatched
from adacode_cli.batch.dispatcher import Dispatcher
from adacode_cli.batch.worker import WorkerTask
from adacode_cli.batch.worker_process import WorkerProcess


class Processes(Dispatched):
    """An `Executor`. When its block is left, no process of it runs any more.

    tasks: what each process does; they differ in their places.
    """

    def __init__(self, tasks: Sequence[WorkerTask]) -> None:
        description = tasks[0].description
        self._processes = [WorkerProcess(task) for task in tasks]
        super().__init__(description, Dispatcher(self._processes, description.paths))

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes."""
        return [worker.pid for worker in self._processes if worker.pid is not None]
