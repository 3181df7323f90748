"""What runs in an actor of a Ray cluster: it loads the network and carries out jobs, as `batch.worker` does.

The run calls the methods; Ray runs each call in a thread of its own, and the work has a thread too. `listen` returns
the messages that have come since the last call, or waits a moment for one, so that a message costs no call of its own.

A worker asks for more jobs before it has none, for as many pixels as it has computed in `_AHEAD_S`: small files come in
large batches to a fast device, and one at a time to a slow one. If nobody listens any more, it ends itself: then the
run has ended, and another run may work on the same files.
"""

from __future__ import annotations

import os
import pickle
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adacode_cli import atomic
from adacode_cli.batch.claims import is_claimed_by
from adacode_cli.batch.cluster.carried import CarriedFiles, unpacked
from adacode_cli.batch.cluster.sameness import versions
from adacode_cli.batch.cluster.shared import SHARED, other_file, require_marks
from adacode_cli.batch.executor import Assignment
from adacode_cli.batch.outcome import Outcome
from adacode_cli.batch.plan import Job
from adacode_cli.batch.tickets import Ticket, work_for
from adacode_cli.batch.worker import Parent, WorkerTask, carry_out, sendable, take_place
from adacode_cli.batch.worker_handle import Given, Room
from adacode_cli.errors import EXIT_INTERRUPTED, AdaCodeError, DeviceError, InputError, OutputError, UsageError
from adacode_cli.storage.path import is_remote

LISTENING_S = 5.0
_FORGOTTEN_S = 120.0
_AHEAD_S = 0.5
_MOST_JOBS = 64


@dataclass(frozen=True)
class ClusterTask:
    """What a worker does.

    task: as for a process of one machine.
    folder: the working directory of the run, in which local paths begin; "": the run has none.
    inputs: the local ones that must be there, as they were typed. marks: as in `shared.marked`.
    token, tickets: of the claims and of the leases of the run. most_jobs: how many a worker may have at once.
    """

    task: WorkerTask
    folder: str
    inputs: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    token: str = ""
    tickets: tuple[Ticket, ...] = ()
    most_jobs: int = _MOST_JOBS


@dataclass(frozen=True)
class Introduction:
    """Who a worker is. host: the name of its machine. versions: as `sameness.versions`."""

    host: str
    pid: int
    versions: dict[str, str]


class WorkerActor:
    """One worker. All methods are called by the run, through Ray."""

    def __init__(self) -> None:
        self._run = _Run()

    def introduce(self) -> Introduction:
        """Who this worker is."""
        return Introduction(socket.gethostname(), os.getpid(), versions())

    def begin(self, task: bytes, carried: CarriedFiles | None, is_first: bool) -> None:
        """Starts the work. task: a pickled `ClusterTask`, which only the same version of adacode can read.

        is_first: it is no substitute for a worker that has ended. Later, an input may have been moved away.
        """
        arguments = (task, carried, self._run, is_first)
        threading.Thread(target=_work, args=arguments, daemon=True, name="work").start()

    def give(self, given: Sequence[Given]) -> None:
        """Answers the question for jobs."""
        self._run.answer(given)

    def listen(self) -> list[tuple[object, ...]]:
        """The messages since the last call; none if there is none for some seconds."""
        return self._run.messages(LISTENING_S)

    def stop(self) -> None:
        """Interrupts the work soon: at the next tile or file."""
        self._run.stop()


def _work(task_bytes: bytes, carried: CarriedFiles | None, run: _Run, is_first: bool) -> None:
    """The thread of the work."""
    threading.Thread(target=run.end_when_forgotten, daemon=True, name="forgotten").start()
    host = socket.gethostname()
    try:
        cluster_task: ClusterTask = pickle.loads(task_bytes)
        run.most_jobs, run.token = cluster_task.most_jobs, cluster_task.token
        run.paths = cluster_task.task.description.paths
        atomic.check_before_rename(run.require_claim)
        work_for(cluster_task.tickets)
        _enter(cluster_task if is_first else replace(cluster_task, inputs=()), host)
        task = cluster_task.task
        take_place(task.placement)
        if carried is not None:
            task = replace(task, description=unpacked(carried, task.description))
        carry_out(task, run, when_loaded=run.allow_stop)
    except KeyboardInterrupt:
        run.send("stopped", run.begun)
    except BaseException as error:  # noqa: BLE001 (the run raises it)
        if isinstance(error, AdaCodeError) and not isinstance(error, DeviceError) and host not in error.message:
            error.message = f"on {host}: {error.message}"
        run.send("error", sendable(error, host), "".join(traceback.format_exception(error)))


def _enter(task: ClusterTask, host: str) -> None:
    """Changes to the working directory of the run. Raises UsageError or InputError if this machine does not see it, or
    an input, or a folder to which the run writes.
    """
    try:
        if task.folder:
            os.chdir(task.folder)
    except OSError as error:
        raise UsageError(f"the working directory {task.folder} is not there on {host}", hint=SHARED) from error
    for path in task.inputs:
        if not os.path.lexists(path):
            raise InputError(f"is not there on {host}, a machine of the cluster", path=path, hint=SHARED)
    require_marks(task.marks)


class _Run(Parent):
    """The run, as this worker sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.most_jobs, self.token = _MOST_JOBS, ""
        self.paths: Callable[[Job], tuple[Path, ...]] = lambda job: (job.target,)
        self._writing: dict[Path, Job] = {}
        self._changed = threading.Condition()
        self._messages: deque[tuple[object, ...]] = deque()
        self._waiting: deque[Given] = deque()
        self._has_asked = self._is_dry = self._may_stop = self._is_stopping = False
        self._sees_files = False
        self._heard = time.monotonic()
        self._pace = _Pace()

    def send(self, kind: str, *content: object) -> None:
        """As `Parent.send`."""
        with self._changed:
            self._messages.append((kind, *content))
            self._changed.notify_all()

    def messages(self, limit_s: float) -> list[tuple[object, ...]]:
        """As `WorkerActor.listen`."""
        self._heard = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._messages, limit_s)
            found = list(self._messages)
            self._messages.clear()
        self._heard = time.monotonic()
        return found

    def answer(self, given: Sequence[Given]) -> None:
        """As `WorkerActor.give`."""
        with self._changed:
            self._has_asked = False
            self._is_dry = not given
            self._waiting += given
            self._changed.notify_all()

    def allow_stop(self) -> None:
        """From now on, a stop interrupts the work."""
        self._may_stop = True
        self._raise_if_stopping()

    def stop(self) -> None:
        """As `WorkerActor.stop`."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def end_when_forgotten(self) -> None:
        """Ends this process if the run does not listen for a long time. It does so all the time while it lives."""
        while time.monotonic() - self._heard < _FORGOTTEN_S:
            time.sleep(LISTENING_S)
        os._exit(EXIT_INTERRUPTED)

    def jobs(self) -> Iterator[Job]:
        """As `Parent.jobs`, asking for more in time."""
        while (given := self._next()) is not None:
            job = given.assignment.job
            self._known[job] = given
            self.send("begun", given.number)
            yield job

    def _next(self) -> Given | None:
        with self._changed:
            room = self._pace.room(_AHEAD_S)
            there = sum(given.pixels for given in self._waiting)
            is_short = len(self._waiting) < self.most_jobs // 2 and (not self._waiting or there < room // 2)
            if is_short and not self._has_asked and not self._is_dry:
                self._has_asked = True
                self._messages.append(("next", Room(self.most_jobs, room - there)))
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._is_dry or self._is_stopping)
            self._raise_if_stopping()
            if self._waiting:
                return self._waiting.popleft()
            self._is_dry = False
            return None

    def take(self, job: Job) -> Assignment | None:
        """As `Coordinator.take`. Raises UsageError if this machine does not see the claim that the run has on it, or
        other files than the run; InputError if it is this file alone.
        """
        if not is_remote(job.root) and not is_claimed_by(self.token, job.root, job.name):
            what = f"on {socket.gethostname()}, a machine of the cluster, this is not the output directory of the run"
            raise UsageError(what, path=job.root, hint=SHARED)
        if other := other_file(self._known[job].seen):
            what = f"is another file on {socket.gethostname()}, a machine of the cluster, or was changed just now"
            kind = InputError if self._sees_files else UsageError
            raise kind(what, path=other, hint=SHARED)
        self._sees_files = True
        self._writing |= dict.fromkeys(self.paths(job), job)
        return super().take(job)

    def require_claim(self, path: Path) -> None:
        """Raises OutputError if a local file of a job is to get its name, but the run has no claim on the job any more.

        Then it has given up this worker, or has ended, and another one may write the same file. A tree in a store has a
        lease in the place of claims (`batch.tickets`).
        """
        job = self._writing.get(path)
        if job is not None and not is_remote(job.root) and not is_claimed_by(self.token, job.root, job.name):
            hint = "Run the same command again: it goes on."
            raise OutputError("is not written: the run has no claim on it any more", path=path, hint=hint)

    def started(self, job: Job) -> None:
        """As `Coordinator.started`."""
        super().started(job)
        self._raise_if_stopping()

    def ended(self, job: Job, outcome: Outcome | None) -> None:
        """As `Coordinator.ended`."""
        if (given := self._known.get(job)) is not None:
            self._pace.add(given.pixels)
            for path in self.paths(job):
                self._writing.pop(path, None)
        super().ended(job, outcome)

    def page_finished(self, job: Job, page: int, num_pages: int) -> None:
        """As `Coordinator.page_finished`."""
        super().page_finished(job, page, num_pages)
        self._raise_if_stopping()

    def advanced(self, job: Job, share: float) -> None:
        """As `Coordinator.advanced`."""
        super().advanced(job, share)
        self._raise_if_stopping()

    def _raise_if_stopping(self) -> None:
        if self._is_stopping and self._may_stop:
            self._may_stop = False  # Once, as a signal does.
            raise KeyboardInterrupt


class _Pace:
    """How many pixels a worker restores in a second, from its last files."""

    def __init__(self) -> None:
        self._ends: deque[tuple[float, int]] = deque(maxlen=16)

    def add(self, pixels: int) -> None:
        """A file has ended."""
        self._ends.append((time.monotonic(), pixels))

    def room(self, seconds: float) -> int:
        """The pixels of so many seconds; 0 if the pace is not known yet."""
        ends = list(self._ends)
        if len(ends) < 2:
            return 0
        span = max(1e-3, ends[-1][0] - ends[0][0])
        return int(sum(pixels for _, pixels in ends[1:]) / span * seconds)
