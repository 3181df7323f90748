"""A second executor: jobs carried out by processes of this machine that get nothing but what can be pickled."""

from __future__ import annotations

import multiprocessing
import signal
import time
from contextlib import suppress
from multiprocessing.connection import wait

from adacode_cli import atomic
from adacode_cli.batch.executor import JobPassage
from adacode_cli.batch.outcome import failed_job
from adacode_cli.errors import AdaCodeError, DeviceError
from adacode_cli.imaging.decode import decode

GRACE_S = 60.0  # no machine is too slow for this


def work(description, connection) -> None:
    """Carries out every assignment that comes; sends outcomes, and errors that would fail every file alike."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stages, _ = description.stages(decode)
    connection.send(None)
    while (assignment := connection.recv()) is not None:
        try:
            connection.send(JobPassage(stages, assignment.job).carried(assignment.known))
        except AdaCodeError as error:
            connection.send(error)


class Worker:
    """One process and the assignment that it has at hand."""

    def __init__(self, description) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(description, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.assignment = None
        self.connection.recv()


class WorkerProcesses:
    """An `Executor`. A worker that dies is replaced, and its file is tried once more."""

    def __init__(self, description, num_workers: int) -> None:
        self._description = description
        self.workers = [Worker(description) for _ in range(num_workers)]

    def paths(self, job):
        return self._description.paths(job)

    def execute(self, jobs, coordinator) -> None:
        jobs, order, outcomes, died = iter(jobs), [], {}, set()

        def report():
            while order and order[0] in outcomes:
                coordinator.finished(outcomes.pop(order.pop(0)))

        def give(worker):
            worker.assignment = next(filter(None, map(coordinator.take, jobs)), None)
            if worker.assignment:
                order.append(worker.assignment.job)
                coordinator.started(worker.assignment.job)
                with suppress(OSError):  # it has died, which is found when its outcome is waited for
                    worker.connection.send(worker.assignment)

        def receive(worker):
            job = worker.assignment.job
            try:
                outcome = worker.connection.recv()
            except (EOFError, OSError):
                self._replace(worker)
                if job not in died:
                    died.add(job)
                    worker.connection.send(worker.assignment)
                    return
                outcome = failed_job(job, DeviceError("the worker has died twice", only_this_image=True))
            if isinstance(outcome, AdaCodeError):
                raise outcome
            worker.assignment = None
            coordinator.ended(job, outcome)
            outcomes[job] = outcome

        try:
            for worker in self.workers:
                give(worker)
            while busy := [worker for worker in self.workers if worker.assignment]:
                ready = wait([worker.connection for worker in busy])
                for worker in (worker for worker in busy if worker.connection in ready):
                    receive(worker)
                    report()
                    if worker.assignment is None:
                        give(worker)
        finally:
            until = time.monotonic() + GRACE_S
            for worker in self.workers:
                if worker.assignment and worker.connection.poll(max(0.0, until - time.monotonic())):
                    receive(worker)
                elif worker.assignment:
                    self._replace(worker)
                    for path in self.paths(worker.assignment.job):
                        atomic.remove_leftovers(path)
                    coordinator.ended(worker.assignment.job, None)
            report()

    def close(self) -> None:
        """Ends all workers."""
        for worker in self.workers:
            worker.connection.send(None)
            worker.process.join(GRACE_S)

    def _replace(self, worker) -> None:
        worker.process.kill()
        worker.process.join()
        new = Worker(self._description)
        worker.process, worker.connection = new.process, new.connection
