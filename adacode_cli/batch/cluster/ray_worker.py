"""One actor of a Ray cluster, as the dispatcher sees it (`batch.worker_handle`).

A thread listens to the actor, and puts each of its messages where the dispatcher finds them; a byte in a pipe tells the
dispatcher, which waits for all workers at once. When the actor cannot be reached any more, the pipe is closed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, ClassVar

from adacode_cli.batch.cluster.actor import Introduction, WorkerActor
from adacode_cli.batch.cluster.connection import INSTALL
from adacode_cli.batch.cluster.sameness import require_same, versions
from adacode_cli.batch.worker_handle import Given, WorkerHandle, WorkerTraceback
from adacode_cli.errors import AdaCodeError, DeviceError, UsageError, WeightsError, translated

# The run begins without a worker for which the cluster has had no room so long; and without any it ends.
_SOON_S = 45.0
_ROOM_LIMIT_S = 300.0
_CALLS_AT_ONCE = 4
_AGAIN_S, _BETWEEN_S = 5.0, 0.2
_LOST, _UNREACHABLE = "its machine was lost", "its machine could not be reached"
# Signs of that in the texts of Ray's errors.
_NODE_DIED = ("node died", "node has died")


@dataclass(frozen=True)
class Needs:
    """What Ray is asked for: logical CPUs and GPUs for one worker. machine: the one on which it is to be, by its name
    in Ray, as long as that is there and has room; "": any.
    """

    cpus: int
    gpus: int = 0
    machine: str = ""


def _strategy(machine: str) -> object:
    """How Ray chooses the machine of a worker."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if not machine:
        return "SPREAD"
    return NodeAffinitySchedulingStrategy(machine, soft=True, _spill_on_unavailable=True)


class Presence:
    """How many workers of a run the cluster has room for now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0

    def add(self, change: int) -> None:
        """A worker has come (1), or has gone (-1)."""
        with self._lock:
            self._number += change

    def any_worker(self) -> bool:
        """Whether there is one."""
        return self._number > 0


class RayWorker(WorkerHandle):
    """One actor, or none before `start` and after `end`.

    task, carried: references to a pickled `ClusterTask` and to `CarriedFiles` (or None) in Ray's object store.
    presence: shared by all workers of the run.
    """

    # A new one may be asked for on a machine that has no room, so it is tried more often than a process.
    max_failed_starts: ClassVar[int] = 5
    says_begun: ClassVar[bool] = True
    called: ClassVar[str] = "workers"
    alone: ClassVar[str] = "--engine local"
    is_dispensable: ClassVar[bool] = True

    def __init__(self, needs: Needs, task: object, carried: object, presence: Presence) -> None:
        super().__init__()
        self._needs, self._task, self._carried, self._presence = needs, task, carried, presence
        self._link: _Link | None = None
        self._ended: list[_Link] = []
        self._seen_as = "a worker of the cluster"
        self._is_first = True

    @property
    def connection(self) -> Connection:
        """As `WorkerHandle.connection`."""
        assert self._link is not None, "it was started"
        return self._link.heard

    @property
    def is_running(self) -> bool:
        """As `WorkerHandle.is_running`."""
        return self._link is not None

    @property
    def lost_its_machine(self) -> bool:
        """As `WorkerHandle.lost_its_machine`."""
        return self._link is not None and self._link.how in (_LOST, _UNREACHABLE)

    @property
    def introduction(self) -> Introduction | None:
        """Who the worker is, if it has said so."""
        return self._link.introduction if self._link else None

    @property
    def _place(self) -> str:
        known = self.introduction
        return f"process {known.pid} on {known.host}" if known else self._seen_as

    def start(self) -> None:
        """As `WorkerHandle.start`."""
        import ray

        options = {
            "num_cpus": self._needs.cpus,
            "num_gpus": self._needs.gpus,
            "max_concurrency": _CALLS_AT_ONCE,
            "max_restarts": 0,
            "scheduling_strategy": _strategy(self._needs.machine),
        }
        with translated(DeviceError, "a worker cannot be started", hint="Allow more open files (ulimit -n)."):
            try:
                actor = ray.remote(WorkerActor).options(**options).remote()
            except Exception as error:
                hint = "Check the cluster (ray status), and run the same command again: it goes on."
                raise DeviceError(f"the Ray cluster cannot be used any more: {error}", hint=hint) from error
            self._link = _Link(actor, self._presence)
        self.is_ready = self.is_waiting = False
        arguments = (self._task, self._carried, self._is_first)
        self._is_first = False
        self._link.listening = threading.Thread(target=self._link.attend, args=arguments, daemon=True, name="listen")
        self._link.listening.start()

    def lose(self, error: DeviceError) -> None:
        """Has the run end with an error. Called in any thread."""
        if (link := self._link) is not None:
            link.put("lost", error)

    def interrupt(self) -> None:
        """As `WorkerHandle.interrupt`."""
        if self._link is not None:
            with suppress(Exception):  # it ends in any case
                self._link.actor.stop.remote()

    def how_it_ended(self) -> str:
        """As `WorkerHandle.how_it_ended`."""
        self._seen_as = self._place
        return f"{self._seen_as}: {self._link.how if self._link else 'it was ended'}"

    def end(self) -> None:
        """As `WorkerHandle.end`."""
        link, self._link = self._link, None
        if link is not None:
            link.end()
            self._ended = [one for one in self._ended if one.is_listening] + [link]

    def join(self, until: float) -> None:
        """Waits until no thread listens to one that was ended, as Ray must not be asked after its shutdown.

        until: as of `time.monotonic`; later, nobody waits.
        """
        for link in self._ended:
            if link.listening is not None:
                link.listening.join(max(0.0, until - time.monotonic()))

    def error_about(self, how: str) -> DeviceError:
        """As `WorkerHandle.error_about`."""
        hint = "See Ray's logs of that machine. Each worker needs memory of its own: fewer on a machine may help."
        return DeviceError(f"{self._seen_as} {how}", hint=hint)

    def other_weights(self) -> WeightsError:
        """As `WorkerHandle.other_weights`."""
        hint = "Put the same files of weights on every machine of the cluster, or name a file of this machine."
        return WeightsError(f"{self._place} has loaded other weights than the workers before it", hint=hint)

    def _message(self) -> tuple[Any, ...] | None:
        assert self._link is not None, "it was started"
        message = self._link.next()
        if message and message[0] == "lost":
            raise message[1]
        # A device that fails costs the run this worker, and not all others.
        if message and message[0] == "error" and isinstance(message[1], DeviceError):
            self.failure = message[1]
            self.failure.__cause__ = WorkerTraceback(f"in the worker for {self._place}:\n{message[2]}")
            self._link.how = message[1].message
            return None
        return message

    def _send(self, given: Sequence[Given]) -> None:
        if self._link is not None:
            with suppress(Exception):  # the thread that listens finds that it has ended
                self._link.actor.give.remote(list(given))


class _Link:
    """An actor and the thread that listens to it. how: how it ended, in a few words."""

    def __init__(self, actor: Any, presence: Presence) -> None:  # noqa: ANN401 (Ray makes its methods)
        self.actor = actor
        self._presence = presence
        self.introduction: Introduction | None = None
        self.how = "it ended"
        self.listening: threading.Thread | None = None
        self.heard, self._tell = Pipe(duplex=False)
        self._messages: deque[tuple[Any, ...]] = deque()
        self._lock = threading.Lock()
        self._is_over = False

    @property
    def is_listening(self) -> bool:
        """Whether its thread has not ended."""
        return self.listening is not None and self.listening.is_alive()

    def attend(self, task: object, carried: object, is_first: bool) -> None:
        """The thread: has the worker introduce itself, starts its work, and listens as long as it is there."""
        import ray

        try:
            self._introduce()
            ray.get(self.actor.begin.remote(task, carried, is_first))
            while not self._is_over:
                for message in ray.get(self.actor.listen.remote()):
                    self.put(*message)
        except Exception as error:  # noqa: BLE001 (the worker has ended, or Ray has)
            self.how = _in_few_words(self._known_later(error))
        finally:
            if self.introduction is not None:
                self._presence.add(-1)
            with suppress(OSError):
                self._tell.close()

    def _introduce(self) -> None:
        import ray

        introducing = self.actor.introduce.remote()
        if not ray.wait([introducing], timeout=_SOON_S)[0]:
            self.put("without-room")
        while not ray.wait([introducing], timeout=_ROOM_LIMIT_S)[0]:
            if not self._presence.any_worker():
                hint = "Add machines, or wait until other programs have ended (ray status shows what they use)."
                self._refuse(DeviceError(f"the cluster has had no room for {_ROOM_LIMIT_S:g} s", hint=hint))
        try:
            self.introduction = ray.get(introducing)
        except (ray.exceptions.RayActorError, ray.exceptions.RayTaskError, RuntimeError) as error:
            if "failed to import" in self._why_not(error):
                self._refuse(UsageError("a machine of the cluster has no adacode, or another one", hint=INSTALL))
            raise
        self._presence.add(1)
        try:
            require_same(self.introduction.host, self.introduction.versions, versions())
        except UsageError as error:
            self._refuse(error)

    def _why_not(self, error: Exception) -> str:
        """Why the worker did not start. The error of the first call may only say that it ended."""
        import ray

        try:
            ray.get(self.actor.introduce.remote(), timeout=_AGAIN_S)
        except Exception as again:  # noqa: BLE001 (only its text matters)
            return f"{error}\n{again}"
        return str(error)

    def _known_later(self, error: Exception) -> Exception:
        """Why the worker has ended, if Ray learns it soon; else the error itself.

        Ray knows at once how a process ended on a machine that is there. It needs longer for a machine that is gone.
        """
        import ray

        until = time.monotonic() + _AGAIN_S
        while isinstance(error, ray.exceptions.ActorUnavailableError) and not self._is_over:
            time.sleep(_BETWEEN_S)
            try:
                ray.get(self.actor.introduce.remote(), timeout=max(0.0, until - time.monotonic()))
                break  # It is there again, but messages of it may be lost.
            except ray.exceptions.GetTimeoutError:
                break
            except Exception as again:  # noqa: BLE001 (it is returned)
                error = again
        return error

    def _refuse(self, error: AdaCodeError) -> None:
        """Has the run end with an error."""
        self.put("error", error, "")
        raise error

    def put(self, *message: object) -> None:
        """Adds a message for the dispatcher. It is dropped if nobody can hear it any more."""
        with self._lock, suppress(OSError):
            self._messages.append(message)
            self._tell.send_bytes(b"m")

    def next(self) -> tuple[Any, ...] | None:
        """The next message; None after the last one."""
        try:
            self.heard.recv_bytes()
        except (EOFError, OSError):
            return None
        return self._messages.popleft()

    def end(self) -> None:
        """Ends the actor at once, and the thread soon."""
        import ray

        self._is_over = True
        with suppress(Exception):  # it has ended already, or the connection has
            ray.kill(self.actor, no_restart=True)
        with suppress(OSError):
            self.heard.close()


def _in_few_words(error: Exception) -> str:
    """How a worker ended, from Ray's error."""
    import ray

    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return _UNREACHABLE
    if any(sign in str(error) for sign in _NODE_DIED):
        return _LOST
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "its machine had no memory left"
    return "its process ended"
