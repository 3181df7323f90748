"""A worker of a run, as the dispatcher sees it: it is started, given jobs, listened to, and ended.

`batch.worker_process` is a process of this machine, `batch.cluster.ray_worker` an actor of a Ray cluster. Only the
thread of `batch.dispatcher` uses these values, so no signal interrupts it in the middle of a message or of a start.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, ClassVar

from adacode_cli.batch.executor import Assignment
from adacode_cli.errors import DeviceError, WeightsError


class WorkerTraceback(Exception):  # noqa: N818 (the cause of an error, for its traceback)
    """The traceback in a worker of the run."""


@dataclass(frozen=True)
class Room:
    """How much a worker asks for: jobs until there are `jobs` of them, or `pixels` in their images."""

    jobs: int = 1
    pixels: int = 0


@dataclass(frozen=True)
class Seen:
    """A file as the machine of the run sees it: its size and the time of its last change."""

    path: str
    num_bytes: int
    changed_ns: int


@dataclass(frozen=True)
class Given:
    """An assignment with its number in the run. pixels: of its image, as far as its header tells; 0: not known.

    seen: the files that it reads, for a worker on another machine.
    """

    number: int
    assignment: Assignment
    pixels: int = 0
    seen: tuple[Seen, ...] = ()


class WorkerHandle(ABC):
    """One worker, or none before `start` and after `end`.

    assigned: the assignments that it has, by their numbers.
    returned: those of which it has said that it will not finish them, so nothing of them is written.
    waiting_there: the numbers of those that it has not begun, as far as it has said so.
    is_ready: whether it has loaded the network. is_waiting: whether it waits for an answer to its question for jobs.
    is_awaited: whether the run does not begin before it is ready.
    room: what its last question asks for.
    failure: the error of its device by which it has ended, if it costs the run this worker only.
    """

    # How often in sequence a worker may end before it is ready. The first of a run may not.
    max_failed_starts: ClassVar[int] = 2
    # Whether it says so when it begins one of the jobs that it has.
    says_begun: ClassVar[bool] = False
    # For a file with which two workers ended: what they are, and how to restore it alone.
    called: ClassVar[str] = "processes"
    alone: ClassVar[str] = "--processes 1"
    # Whether the run goes on without it if it cannot be started any more, as long as there are others.
    is_dispensable: ClassVar[bool] = False

    def __init__(self) -> None:
        self.assigned: dict[int, Assignment] = {}
        self.returned: list[Assignment] = []
        self.waiting_there: set[int] = set()
        self.is_ready = self.is_waiting = False
        self.is_awaited = True
        self.room = Room()
        self.failure: DeviceError | None = None
        self._failed_starts = 0

    @property
    def lost_its_machine(self) -> bool:
        """Whether a worker has ended because its whole machine was lost."""
        return False

    @property
    @abstractmethod
    def connection(self) -> Connection:
        """To wait for messages of the worker, which must run."""

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether it was started and not ended; it may have died since."""

    @abstractmethod
    def start(self) -> None:
        """Starts the worker. Raises DeviceError if the system refuses it."""

    @abstractmethod
    def interrupt(self) -> None:
        """Asks the worker to end soon."""

    @abstractmethod
    def how_it_ended(self) -> str:
        """How a worker that sends no more messages has ended, in a few words."""

    @abstractmethod
    def end(self) -> None:
        """Ends the worker; it may never have been started, or have been ended."""

    @abstractmethod
    def error_about(self, how: str) -> DeviceError:
        """The error for a worker that a run cannot do without."""

    def error_about_file(self, how: str) -> DeviceError:
        """The error of a file with which two workers have ended, the last one in this way."""
        hint = f"Restore this file alone, with {self.alone}, --tile 512 or another --device; see the system's log."
        what = f"two {self.called} ended while they restored it ({how})"
        error = DeviceError(what, hint=hint, only_this_image=True)
        error.__cause__ = self.failure
        return error

    @abstractmethod
    def other_weights(self) -> WeightsError:
        """The error for a worker that has loaded other weights than those before it."""

    @abstractmethod
    def _message(self) -> tuple[Any, ...] | None:
        """The next message; None if the worker has ended."""

    @abstractmethod
    def _send(self, given: Sequence[Given]) -> None:
        """Sends an answer. If the worker has died, this is found when it is listened to."""

    @property
    @abstractmethod
    def _place(self) -> str:
        """Where it computes, for its traceback."""

    @property
    def is_busy(self) -> bool:
        """Whether it has an assignment, finished or not, that it has not reported as ended."""
        return bool(self.assigned or self.returned)

    def start_again(self) -> None:
        """Starts another worker after this one has ended. Raises DeviceError if that fails again and again."""
        self._failed_starts = 0 if self.is_ready else self._failed_starts + 1
        self.end()
        self.assigned.clear()
        self.returned.clear()
        self.waiting_there.clear()
        if self._failed_starts >= self.max_failed_starts:
            raise self.failure or self.error_about("cannot be started any more")
        self.failure = None
        self.start()

    def receive(self) -> tuple[Any, ...] | None:
        """The next message; None if the worker has ended. Raises the error of the worker that ended it."""
        message = self._message()
        if message is None:
            return None
        kind, *content = message
        if kind == "error":
            error, trace = content
            raise error from WorkerTraceback(f"in the worker for {self._place}:\n{trace}")
        if kind == "ready":
            self.is_ready = True
        elif kind == "without-room":
            self.is_awaited = False
        elif kind == "begun":
            self.waiting_there.discard(content[0])
        elif kind == "next":
            self.is_waiting = True
            self.room = content[0] if content else Room()
        return message

    def give(self, given: Sequence[Given]) -> None:
        """Answers its question; without jobs, the worker finishes what it has."""
        self.is_waiting = False
        self.assigned |= {one.number: one.assignment for one in given}
        if self.says_begun:
            self.waiting_there |= {one.number for one in given}
        self._send(given)

    def has_returned_all_but(self, begun: Collection[int]) -> None:
        """Notes that it was interrupted before it had begun other assignments than these."""
        for number in [number for number in self.assigned if number not in begun]:
            self.returned.append(self.assigned.pop(number))

    def lost(self) -> tuple[list[Assignment], list[Assignment]]:
        """(the assignments that a worker that has ended had begun, those that it had not begun)."""
        begun = [one for number, one in self.assigned.items() if number not in self.waiting_there]
        others = [one for number, one in self.assigned.items() if number in self.waiting_there]
        return [*begun, *self.returned], others
