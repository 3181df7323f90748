"""A process that carries out jobs for `batch.processes`, on one device.

It loads the network and the stages from their description, asks for jobs while it has room for them, and runs them as a
run in one process does (`batch.local`), so reading, computing and writing overlap here too. Messages to the other side:

    ready(digest of the weights) | error(AdaCodeError) | next | started(id) | page(id, page, pages) | share(id, share)
    | ended(id, outcome) | stopped

The other side sends an assignment with its id, or None when there are no more for now. SIGTERM interrupts the work as
Ctrl-C interrupts a run; Ctrl-C itself, which a terminal sends to all of its processes, is for the other side alone.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from types import FrameType

from adacode_cli.batch.description import Description
from adacode_cli.batch.executor import Assignment
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.outcome import Outcome
from adacode_cli.batch.plan import Job
from adacode_cli.errors import EXIT_INTERRUPTED, AdaCodeError

Given = tuple[int, Assignment]
"""An assignment and its id."""


@dataclass(frozen=True)
class Place:
    """Where a process computes.

    device: as in `NetworkDescription`.
    threads: of the network on a CPU; None: as many as torch chooses.
    processes: how many of the run share the memory of the machine.
    """

    device: str
    threads: int | None = None
    processes: int = 1


@dataclass(frozen=True)
class Work:
    """What a process does, at its place.

    isolated, limit_s: as in `decoder_pool.decoding`. jobs: as in `LocalExecutor`.
    """

    description: Description
    place: Place
    isolated: bool
    limit_s: float
    jobs: int | None

    @property
    def here(self) -> Description:
        """The description for the device of this place."""
        return replace(self.description, network=replace(self.description.network, device=self.place.device))


def work(todo: Work, connection: Connection) -> None:
    """Carries out jobs until the other side ends, or a signal or an error ends this process."""
    if todo.place.threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(todo.place.threads)  # before torch is imported
    from adacode_cli.engine import memory
    from adacode_cli.imaging.decoder_pool import decoding

    memory.divide_host(todo.place.processes)
    side = _OtherSide(connection)
    try:
        with decoding(isolated=todo.isolated, limit_s=todo.limit_s) as decoder:
            stages, digest = todo.here.stages(decoder)
            signal.signal(signal.SIGTERM, _interrupt)
            side.send("ready", digest)
            executor = LocalExecutor(stages, jobs=todo.jobs)
            while True:
                executor.execute(side.jobs(), side)
    except AdaCodeError as error:
        side.send("error", error)
    except KeyboardInterrupt:
        side.send("stopped")
    # Nothing is left to do, and to free a network takes time; the processes that decode end with this one.
    os._exit(EXIT_INTERRUPTED)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


class _OtherSide:
    """The coordinator of this process: it passes everything on, and its claims were taken there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._given: queue.Queue[Given | None] = queue.Queue()
        self._known: dict[Job, Given] = {}
        threading.Thread(target=self._listen, daemon=True, name="jobs").start()

    def send(self, kind: str, *content: object) -> None:
        """Sends one message; ends this process if nobody is there to receive it."""
        try:
            with self._lock:
                self._connection.send((kind, *content))
        except OSError:
            os._exit(EXIT_INTERRUPTED)

    def _listen(self) -> None:
        try:
            while True:
                self._given.put(self._connection.recv())
        except (EOFError, OSError):  # The run has ended, however it ended.
            os._exit(EXIT_INTERRUPTED)

    def jobs(self) -> Iterator[Job]:
        """Jobs, each when it is asked for, until the other side has no more for now."""
        while True:
            self.send("next")
            given = self._given.get()
            if given is None:
                return
            job = given[1].job
            self._known[job] = given
            yield job

    def take(self, job: Job) -> Assignment | None:
        """As `Coordinator.take`."""
        return self._known[job][1]

    def ended(self, job: Job, outcome: Outcome | None) -> None:
        """As `Coordinator.ended`. An executor that shuts down may call it again for its last job."""
        given = self._known.pop(job, None)
        if given is not None:
            self.send("ended", given[0], outcome)

    def started(self, job: Job) -> None:
        """As `Coordinator.started`."""
        self.send("started", self._known[job][0])

    def page_finished(self, job: Job, page: int, num_pages: int) -> None:
        """As `Coordinator.page_finished`."""
        self.send("page", self._known[job][0], page, num_pages)

    def advanced(self, job: Job, share: float) -> None:
        """As `Coordinator.advanced`."""
        self.send("share", self._known[job][0], share)

    def finished(self, outcome: Outcome) -> None:
        """Nothing: the other side reports an outcome when it ends."""
