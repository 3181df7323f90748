"""The thread of `batch.dispatched` that starts, listens to and ends all workers, and calls the coordinator.

Python raises KeyboardInterrupt in the main thread only. So nothing that happens here can be interrupted in the middle:
the start of a worker, a message, a line of the journal. The main thread receives reports, and asks for the stop.

A worker that ends for any reason is replaced. The files that it had begun are tried once more after all others, one at
a time, while the other workers are idle. A file with which a worker ends for the second time fails. Files that waited
there are given to another worker at once. If devices fail one after another and no file is restored in between, every
file meets that, and the run ends with the last error.

When the run stops, the claim of an unfinished file is given up only if its worker has said that it will not finish it.
A worker that had to be killed may have written the output without saying so. Then the claim stays as a file, by which
the next run knows that.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from adacode_cli import atomic
from adacode_cli.batch.claiming import Claiming
from adacode_cli.batch.executor import Assignment, Coordinator
from adacode_cli.batch.outcome import Outcome, Result, ends_the_run, failed_job
from adacode_cli.batch.plan import Job
from adacode_cli.batch.worker_handle import Given, Room, Seen, WorkerHandle
from adacode_cli.errors import DeviceError, translated
from adacode_cli.storage.path import is_remote

# After an interruption, workers write finished results; a run has 1.7 s for everything.
GRACE_S = 1.35
_MOST_MESSAGES = 256
# Devices that may fail in sequence, with no file restored in between, besides one for each worker.
_MOST_FAILED_DEVICES = 2
# Machines that may be lost with a file before that counts as the fault of the file.
_MOST_LOST_MACHINES = 3


@dataclass(frozen=True)
class Ready:
    """The workers have loaded the network. digest: of its weights."""

    digest: str


@dataclass(frozen=True)
class AllEnded:
    """Every job of an execution has ended."""


@dataclass(frozen=True)
class Stopped:
    """The thread ends, and no worker runs any more. error: why, if nobody asked for it."""

    error: BaseException | None = None


Report = Ready | AllEnded | Stopped | Callable[[], None]
"""What the main thread is told, in this order; or a call that it must make."""


@dataclass
class _Execution:
    """The jobs of one call of `Executor.execute`.

    retries: assignments whose worker has ended. died: the jobs with which a worker has ended.
    given_back: assignments that a worker that has ended had not begun. were_waiting: the jobs of all of these so far.
    lost: how many machines were lost with a job.
    """

    jobs: Claiming
    coordinator: Coordinator
    retries: deque[Assignment] = field(default_factory=deque)
    died: set[Job] = field(default_factory=set)
    given_back: deque[Assignment] = field(default_factory=deque)
    were_waiting: set[Job] = field(default_factory=set)
    lost: dict[Job, int] = field(default_factory=dict)
    no_jobs_left: bool = False


class Dispatcher:
    """The thread. `reports`: what it tells the main thread; a `Stopped` is the last one, whatever happens.

    paths: as `Executor.paths`.
    joining: gives further workers; it is entered and left in the thread, before the others start and after all ended.
    pixels_of: the pixels of a job's image, for workers that ask for so many; 0 if they are not known.
    seen_of: as `Given.seen`.
    claims_ahead: how many jobs are claimed before a worker asks for them.
    """

    def __init__(
        self,
        workers: Sequence[WorkerHandle],
        paths: Callable[[Job], tuple[Path, ...]],
        *,
        joining: AbstractContextManager[Sequence[WorkerHandle]] | None = None,
        pixels_of: Callable[[Job], int] = lambda _job: 0,
        seen_of: Callable[[Job], tuple[Seen, ...]] = lambda _job: (),
        claims_ahead: int = 0,
    ) -> None:
        self.reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self.workers = list(workers)
        self._paths = paths
        self._joining = joining
        self._pixels_of = pixels_of
        self._seen_of = seen_of
        self._claims_ahead = claims_ahead
        self._numbers = itertools.count()
        self._first: tuple[str, WorkerHandle] | None = None
        self._failed_devices = 0
        self._is_started = False
        self._is_stopping = threading.Event()
        self._begun: deque[_Execution] = deque()
        self._execution: _Execution | None = None
        self._ended: list[tuple[_Execution, Job, Outcome]] = []
        self._thread = threading.Thread(target=self._run, name="workers")

    def start(self) -> None:
        """Starts the thread, which starts the workers. Raises DeviceError."""
        with translated(DeviceError, "workers cannot be started", hint="Allow more open files (ulimit -n)."):
            self._woken, self._wake = Pipe(duplex=False)
        self._thread.start()

    def begin(self, jobs: Iterable[Job], coordinator: Coordinator) -> None:
        """Has jobs carried out. The ones before must have ended."""
        self._begun.append(_Execution(Claiming(iter(jobs), coordinator.take, self._claims_ahead), coordinator))
        self._wake.send_bytes(b"begin")

    @property
    def is_stopping(self) -> bool:
        """Whether the thread was asked to end."""
        return self._is_stopping.is_set()

    def stop(self) -> None:
        """Asks the thread to end. Workers that have jobs still write what they finish within `GRACE_S`."""
        self._is_stopping.set()
        if self._thread.ident is not None:
            self._wake.send_bytes(b"stop")

    def close(self) -> None:
        """Stops, and returns when the thread has ended, and all workers with it."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join()
            self._wake.close()
            self._woken.close()

    def _run(self) -> None:
        error: BaseException | None = None
        with ExitStack() as stack:
            try:
                if self._joining is not None:
                    self.workers += stack.enter_context(self._joining)
                self._start_workers()
                while not self._is_stopping.is_set():
                    self._step()
            except BaseException as found:  # noqa: BLE001 (the main thread raises it)
                error = found
            try:
                self._wind_down()
            except BaseException as found:  # noqa: BLE001
                error = error or found
            self.reports.put(Stopped(error))

    def _start_workers(self) -> None:
        for worker in self.workers:
            if not self._is_stopping.is_set():
                worker.start()

    def _step(self) -> None:
        """Gives out jobs, waits for messages, and handles them."""
        if self._execution is not None:
            self._give_out(self._execution)
            self._note_ends()
            self._look_for_the_end(self._execution)
        heard = wait([self._woken, *(worker.connection for worker in self.workers)])
        if self._woken in heard:
            self._woken.recv_bytes()
            if self._begun:
                self._execution = self._begun.popleft()
        for worker in self.workers:
            if worker.connection in heard:
                self._hear_all(worker)
        self._note_ends()

    def _give_out(self, execution: _Execution) -> None:
        for worker in self.workers:
            if not worker.is_waiting:
                continue
            given = self._next_for(worker.room, execution)
            if given or worker.assigned:
                worker.give(given)  # Without a job, it finishes what it has.

    def _next_for(self, room: Room, execution: _Execution) -> list[Given]:
        """The next assignments: at least one if there is one, and not many more than there is room for."""
        given: list[Given] = []
        pixels = 0
        try:
            while not given or (len(given) < room.jobs and pixels < room.pixels):
                assignment = self._next(execution, may_retry=not given)
                if assignment is None:
                    break
                one = self._pixels_of(assignment.job) if room.jobs > 1 else 0
                pixels += one or room.pixels  # An image of unknown size may be a large one.
                given.append(Given(next(self._numbers), assignment, one, self._seen_of(assignment.job)))
        except BaseException:
            execution.given_back += [one.assignment for one in given]  # No worker gets them, and they have claims.
            raise
        return given

    def _next(self, execution: _Execution, *, may_retry: bool = True) -> Assignment | None:
        """The next assignment, if another one may be given out now."""
        if execution.given_back:
            return execution.given_back.popleft()
        while (claimed := execution.jobs.next()) is not None:
            job, take = claimed
            try:
                assignment = take(job)
            except Exception as error:  # as in any stage of a file
                if ends_the_run(error):
                    raise
                self._end(execution, job, failed_job(job, error))
                continue
            if assignment is not None:
                return assignment
        execution.no_jobs_left = True
        is_time = may_retry and execution.retries and not any(worker.is_busy for worker in self.workers)
        return execution.retries.popleft() if is_time else None

    def _look_for_the_end(self, execution: _Execution) -> None:
        is_busy = execution.retries or execution.given_back or any(worker.is_busy for worker in self.workers)
        if execution.no_jobs_left and not is_busy:
            execution.jobs.close()
            self._execution = None
            self.reports.put(AllEnded())

    def _hear_all(self, worker: WorkerHandle) -> None:
        """Handles the messages of a worker that are there, but not so many that the others would wait long."""
        for _ in range(_MOST_MESSAGES):
            if not self._hear(worker) or not worker.connection.poll():
                return

    def _hear(self, worker: WorkerHandle) -> bool:
        """Handles one message. Returns False if the worker has ended."""
        message = worker.receive()
        if message is None:
            self._died(worker)
            return False
        if message[0] == "ready":
            self._became_ready(worker, message[1])
        elif message[0] == "without-room":
            self._look_for_the_beginning()
        else:
            self._about_job(worker, *message)
        return True

    def _became_ready(self, worker: WorkerHandle, digest: str) -> None:
        self._first = self._first or (digest, worker)
        if self._first[0] != digest:
            raise worker.other_weights()
        self._look_for_the_beginning()

    def _look_for_the_beginning(self) -> None:
        """Reports that the workers are ready, when all are for which the run waits."""
        is_ready = all(worker.is_ready or not worker.is_awaited for worker in self.workers)
        if self._first is not None and is_ready and not self._is_started:
            self._is_started = True
            self.reports.put(Ready(self._first[0]))

    def _about_job(self, worker: WorkerHandle, kind: str, *content: Any) -> None:  # noqa: ANN401 (as it was sent)
        """Handles a message about a job; other kinds mean nothing here."""
        execution = self._execution
        if kind == "stopped":
            worker.has_returned_all_but(*content)
        if execution is None or kind not in ("started", "page", "share", "ended"):
            return
        number, *rest = content
        assignment = worker.assigned.get(number)
        if assignment is None:
            return
        if kind == "started":
            self.reports.put(partial(execution.coordinator.started, assignment.job))
        elif kind == "page":
            self.reports.put(partial(execution.coordinator.page_finished, assignment.job, *rest))
        elif kind == "share":
            self.reports.put(partial(execution.coordinator.advanced, assignment.job, *rest))
        else:
            del worker.assigned[number]
            (outcome,) = rest
            if outcome is None:  # Something else than this run has interrupted it; its end comes next.
                worker.returned.append(assignment)
            else:
                if outcome.result is Result.DONE:
                    self._failed_devices = 0
                if assignment.job in execution.died:  # The first worker may have lived a little longer.
                    self._remove_leftovers(assignment)
                self._end(execution, assignment.job, outcome)

    def _end(self, execution: _Execution, job: Job, outcome: Outcome) -> None:
        """Has a file noted in the journal, together with others, before the thread waits again."""
        self._ended.append((execution, job, outcome))

    def _note_ends(self) -> None:
        """Adds the lines of the journals, tree by tree, and reports the outcomes. An error of one tree is raised when
        the others have their lines.
        """
        trees: dict[Path, list[tuple[_Execution, Job, Outcome]]] = {}
        for one in self._ended:
            trees.setdefault(one[1].root, []).append(one)
        self._ended = []
        errors: list[Exception] = []
        for ended in trees.values():
            try:
                ended[0][0].coordinator.ended_together([(job, outcome) for _, job, outcome in ended])
            except Exception as error:  # noqa: BLE001 (the first one is raised)
                errors.append(error)
                continue
            for execution, _, outcome in ended:
                self.reports.put(partial(execution.coordinator.finished, outcome))
        if errors:
            raise errors[0]

    def _died(self, worker: WorkerHandle) -> None:
        """Starts another worker for one that has ended, and has its jobs tried once more."""
        how, (begun, waiting) = worker.how_it_ended(), worker.lost()
        error, is_blameless = worker.error_about_file(how), worker.lost_its_machine
        if not self._is_started and not is_blameless:
            raise worker.failure or worker.error_about(f"ended while it was starting ({how})")
        self._count_failed_device(worker)
        worker.end()  # It may still be there, as on a machine that is cut off.
        for assignment in begun:
            self._remove_leftovers(assignment)
        self._replace(worker)
        if self._execution is None:
            return
        for assignment in waiting:
            # Its message that it began a file may be lost, so this happens once for each file.
            if assignment.job in self._execution.were_waiting:
                begun.append(assignment)
            else:
                self._execution.were_waiting.add(assignment.job)
                self._execution.given_back.append(assignment)
        for assignment in begun:
            self._try_again(self._execution, assignment, error, is_blameless=is_blameless)

    def _count_failed_device(self, worker: WorkerHandle) -> None:
        """Raises the error of a device if too many have failed since a file was restored."""
        if worker.failure is not None and worker.is_ready:
            self._failed_devices += 1
            if self._failed_devices > len(self.workers) + _MOST_FAILED_DEVICES:
                raise worker.failure

    def _replace(self, worker: WorkerHandle) -> None:
        """Starts another worker for one that has ended; or goes on without it if that fails again and again."""
        try:
            worker.start_again()
        except DeviceError:
            others = [one for one in self.workers if one is not worker]
            if not worker.is_dispensable or not any(one.is_ready for one in others):
                raise
            self.workers = others

    def _try_again(
        self, execution: _Execution, assignment: Assignment, error: DeviceError, *, is_blameless: bool
    ) -> None:
        """Has a file tried again with which a worker ended; fails it if it was the second one.

        is_blameless: a whole machine was lost, hardly by this file, so that it is tried again at once, a few times.
        """
        job = assignment.job
        if is_blameless and execution.lost.get(job, 0) < _MOST_LOST_MACHINES:
            execution.lost[job] = execution.lost.get(job, 0) + 1
            execution.given_back.append(assignment)
        elif job not in execution.died:
            execution.died.add(job)
            execution.retries.append(assignment)
        else:
            self._end(execution, job, failed_job(job, error))

    def _remove_leftovers(self, assignment: Assignment) -> None:
        for path in self._paths(assignment.job):
            if not is_remote(path):  # A store shows no file before it is whole.
                atomic.remove_leftovers(path)

    def _wind_down(self) -> None:
        """Ends all workers. Those that have jobs may first write and report what they finish soon."""
        listening = [worker for worker in self.workers if worker.is_running and worker.assigned]
        try:
            for worker in listening:
                with suppress(OSError):
                    worker.interrupt()
            until = time.monotonic() + GRACE_S
            while listening and (left := until - time.monotonic()) > 0:
                heard = wait([worker.connection for worker in listening], left)
                listening = [one for one in listening if one.connection not in heard or self._says_more(one)]
        finally:
            for worker in self.workers:
                with suppress(Exception):  # so that the others are ended too
                    worker.end()
            try:
                self._note_ends()
            finally:
                self._give_up_claims()

    def _says_more(self, worker: WorkerHandle) -> bool:
        """Handles one more message of a worker that was told to end. Returns False after its last one."""
        try:
            message = worker.receive()
            if message is not None:
                self._about_job(worker, *message)
        except Exception:  # noqa: BLE001 (the run stops for an earlier reason, and the others have last words too)
            message = None
        return message is not None and bool(worker.assigned)

    def _give_up_claims(self) -> None:
        """Of files that workers have returned or never got. The claims of others stay, as their outputs may be
        written.
        """
        for worker in self.workers:
            for assignment in worker.assigned.values():
                self._remove_leftovers(assignment)
        if self._execution is None:
            return
        unfinished = [assignment.job for worker in self.workers for assignment in worker.returned]
        unfinished += [assignment.job for assignment in self._execution.given_back]
        for job in [*unfinished, *self._execution.jobs.close()]:
            self._execution.coordinator.ended(job, None)
