"""A process that carries out jobs for `batch.processes`, on one device: what runs in it.

It loads the network and the stages from their description, asks for jobs while it has room for them, and runs them as a
run in one process does (`batch.local`), so reading, computing and writing overlap here too. Messages to the parent:

    ready(digest of the weights) | next | started(number) | page(number, page, pages) | share(number, share)
    | ended(number, outcome) | error(exception, its traceback) | stopped(numbers of what was begun and has not ended)

The parent sends an assignment with its number, or nothing when there are no more for now. Only the parent interrupts
the work, with `STOP`: the signals by which people and systems end programs are ignored here, because they are for the
run. `batch.cluster.actor` carries out jobs in the same way, and sends its messages through Ray.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from types import FrameType

from adacode_cli.batch.description import Description
from adacode_cli.batch.executor import Assignment
from adacode_cli.batch.local import LocalExecutor
from adacode_cli.batch.outcome import Outcome
from adacode_cli.batch.permit import Permit, follow
from adacode_cli.batch.plan import Job
from adacode_cli.batch.worker_handle import Given
from adacode_cli.errors import EXIT_INTERRUPTED, DeviceError

# The signal by which the parent interrupts the work. Windows has none; there the process is ended at once.
STOP: signal.Signals | None = getattr(signal, "SIGUSR1", None)
# They reach every process of a terminal or of a service; the parent decides what they mean for the run.
FOR_THE_PARENT = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def nothing_to_prepare() -> None:
    """For `WorkerTask.prepare`."""


@dataclass(frozen=True)
class WorkerPlacement:
    """Where a process computes.

    device: as in `NetworkDescription`.
    threads: of the network on a CPU; None: as many as torch chooses.
    processes: how many of the run share the cores and the memory of the machine.
    """

    device: str
    threads: int | None = None
    processes: int = 1

    @property
    def own_device(self) -> str:
        """The name of the device in the process, which sees no other CUDA device (`take_place`)."""
        return self.device.partition(":")[0]


@dataclass(frozen=True)
class WorkerTask:
    """What a process does, at its placement.

    isolated, limit_s: as in `decoder_pool.decoding`. jobs: as in `LocalExecutor`.
    prepare: called in the process before everything else; it is pickled, so it must be a function of a module.
    """

    description: Description
    placement: WorkerPlacement
    isolated: bool
    limit_s: float
    jobs: int | None
    prepare: Callable[[], None] = nothing_to_prepare

    @property
    def on_this_device(self) -> Description:
        """The description for the device of its placement, as it is called in the process."""
        return replace(self.description, network=replace(self.description.network, device=self.placement.own_device))


def run_worker(task: WorkerTask, connection: Connection, permit: Permit) -> None:
    """Carries out jobs until the parent ends or stops it, or an error ends this process. permit: of the parent."""
    for number in FOR_THE_PARENT:
        signal.signal(number, signal.SIG_IGN)
    follow(permit)
    parent = _ParentConnection(connection)
    try:
        task.prepare()
        take_place(task.placement)
        carry_out(task, parent, when_loaded=_allow_stop)
    except KeyboardInterrupt:
        parent.send("stopped", parent.begun)
    except BaseException as error:  # noqa: BLE001 (the parent raises it)
        trace = "".join(traceback.format_exception(error))
        parent.send("error", sendable(error, task.placement.device), trace)
    parent.finish()
    # Nothing is left to do, and to free a network takes time; the processes that decode end with this one.
    os._exit(EXIT_INTERRUPTED)


def take_place(placement: WorkerPlacement) -> None:
    """Gives this process its device, and its share of the cores and of the memory. Call it before torch is imported."""
    if placement.threads is not None:
        os.environ.update(dict.fromkeys(_THREADS, str(placement.threads)))
    kind, _, index = placement.device.partition(":")
    if kind == "cuda":
        # Some of torch's functions always use the current device, which is then this one in every thread.
        visible = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
        chosen = int(index or 0)
        os.environ[_VISIBLE] = visible[chosen] if chosen < len(visible) else str(chosen)
    import cv2
    import torch

    from adacode_cli.engine import memory

    if placement.threads is not None:
        torch.set_num_threads(placement.threads)
    cv2.setNumThreads(placement.threads or max(1, (os.cpu_count() or 1) // placement.processes))
    memory.divide_host(placement.processes)


def carry_out(task: WorkerTask, parent: Parent, *, when_loaded: Callable[[], None]) -> None:
    """Loads the network, says that it is ready, and carries out jobs until an error or an interruption ends this.

    when_loaded: called when the work may be interrupted.
    """
    from adacode_cli.imaging.decoder_pool import decoding

    with decoding(isolated=task.isolated, limit_s=task.limit_s) as decoder:
        stages, digest = task.on_this_device.stages(decoder)
        when_loaded()
        parent.send("ready", digest)
        executor = LocalExecutor(stages, jobs=task.jobs)
        while True:
            executor.execute(parent.jobs(), parent)


def _allow_stop() -> None:
    if STOP is not None:
        signal.signal(STOP, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def sendable(error: BaseException, device: str) -> BaseException:
    """The error, or one that says the same if it cannot be pickled. A lost device is named."""
    if isinstance(error, DeviceError) and device != "cpu":
        error.message = f"{device}: {error.message}"
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 (as any class may raise)
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class Parent(ABC):
    """The coordinator in a worker: it passes everything on to the run, whose claims were taken there."""

    def __init__(self) -> None:
        self._answers: queue.SimpleQueue[Sequence[Given]] = queue.SimpleQueue()
        self._known: dict[Job, Given] = {}

    @abstractmethod
    def send(self, kind: str, *content: object) -> None:
        """Sends one message."""

    def jobs(self) -> Iterator[Job]:
        """Jobs, each when it is asked for, until the run has no more for now."""
        while True:
            self.send("next")
            answer = self._answers.get()
            if not answer:
                return
            for given in answer:
                job = given.assignment.job
                self._known[job] = given
                yield job

    @property
    def begun(self) -> tuple[int, ...]:
        """The numbers of the jobs that the executor has, or had when it was interrupted."""
        return tuple(given.number for given in list(self._known.values()))

    def take(self, job: Job) -> Assignment | None:
        """As `Coordinator.take`."""
        return self._known[job].assignment

    def ended(self, job: Job, outcome: Outcome | None) -> None:
        """As `Coordinator.ended`. An executor that shuts down may call it again for its last job."""
        given = self._known.get(job)
        if given is not None:
            # In this order, as the main thread may ask at any moment what was begun.
            self.send("ended", given.number, outcome)
            self._known.pop(job, None)

    def ended_together(self, ended: Sequence[tuple[Job, Outcome | None]]) -> None:
        """As `Coordinator.ended_together`."""
        for job, outcome in ended:
            self.ended(job, outcome)

    def started(self, job: Job) -> None:
        """As `Coordinator.started`."""
        self.send("started", self._known[job].number)

    def page_finished(self, job: Job, page: int, num_pages: int) -> None:
        """As `Coordinator.page_finished`."""
        self.send("page", self._known[job].number, page, num_pages)

    def advanced(self, job: Job, share: float) -> None:
        """As `Coordinator.advanced`."""
        self.send("share", self._known[job].number, share)

    def finished(self, outcome: Outcome) -> None:  # noqa: B027 (the same for all)
        """Nothing: the run reports an outcome when it ends."""


class _ParentConnection(Parent):
    """Through a pipe. Messages are sent by a thread of their own, where no interruption can leave half of one."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._messages: queue.SimpleQueue[tuple[object, ...] | None] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._send_all, daemon=True, name="messages")
        self._sender.start()
        threading.Thread(target=self._listen, daemon=True, name="jobs").start()

    def send(self, kind: str, *content: object) -> None:
        """As `Parent.send`."""
        self._messages.put((kind, *content))

    def finish(self) -> None:
        """Returns when every message is sent."""
        self._messages.put(None)
        self._sender.join()

    def _send_all(self) -> None:
        try:
            while (message := self._messages.get()) is not None:
                self._connection.send(message)
        except OSError:  # Nobody is there to receive it.
            os._exit(EXIT_INTERRUPTED)

    def _listen(self) -> None:
        try:
            while True:
                self._answers.put(self._connection.recv())
        except (EOFError, OSError):  # The run has ended, however it ended.
            os._exit(EXIT_INTERRUPTED)
