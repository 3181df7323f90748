"""Decodes files in other processes: a file that crashes or blocks its decoder fails alone, and the run continues.

Libraries written in C process untrusted data here, and a fault in one ends its process. Therefore each reading thread
has its own process, which is started on first use by executing Python: forking a process in which torch has
threads is not safe. It does not import torch, and is replaced when it ends. Errors and pixels are the same as from
decoding in the process of the run.
"""

from __future__ import annotations

import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from adacode_cli import formats
from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import Decode, decode
from adacode_cli.imaging.decoder_message import MEMORY_HINT, Facts, receive, send, unpacked
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.quiet import quiet_libraries
from adacode_cli.limits import DECODING_LIMIT_S, MAX_PIXELS

# A process usually needs much less; only an overloaded machine takes this long.
_START_TIMEOUT_S = 120.0
_EXIT_TIMEOUT_S = 10.0
# The search path of the run, and -P, so that a numpy.py in a folder of photographs is not imported.
_START = (
    "import sys; sys.path[:] = sys.argv[3:]\n"
    "from adacode_cli.imaging.decoder_worker import main\n"
    "main(int(sys.argv[1]), bytes.fromhex(sys.argv[2]))"
)
_CLOSED = "was not read because the run is ending"
_OTHER_PROGRAM_HINT = "Open it in another program. If that program shows it, save it there under a new name."


@contextmanager
def decoding(*, isolated: bool, limit_s: float = DECODING_LIMIT_S) -> Iterator[Decode]:
    """Within the block, the decoder: other processes if `isolated` and the system supports them, else this process."""
    with quiet_libraries():  # Masks and outputs are read in this process.
        # Windows cannot pass descriptors through sockets, and a frozen program has no interpreter to start.
        if not isolated or sys.platform == "win32" or getattr(sys, "frozen", False):
            yield decode
            return
        pool = DecoderPool(limit_s)
        try:
            yield pool
        finally:
            pool.close()


class DecoderPool:
    """`imaging.decode.decode` in other processes; each calling thread uses its own process."""

    def __init__(self, limit_s: float = DECODING_LIMIT_S) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._processes: set[_Process] = set()
        self._closed = False

    def __call__(
        self,
        data: bytes,
        *,
        name: str,
        max_pixels: int = MAX_PIXELS,
        accept_damaged: bool = False,
        first_page: int = 0,
    ) -> Decoded:
        """As `decode`. Raises InputError, also for a file whose decoder crashes or takes too long.

        If the system has no resources for another process, the file is decoded in this one.
        """
        facts = {
            "name": name,
            "max_pixels": max_pixels,
            "accept_damaged": accept_damaged,
            "first_page": first_page,
            "limit_s": self._limit_s,
        }
        try:
            answer, blobs = self._answer_to(facts, data)
        except _ProcessFailed as failure:
            self._refuse_if_closed(name)  # The process was ended by `close`, so the file is not the cause.
            timed_out = isinstance(failure, _TimedOut)
            raise InputError(failure.message, path=name, hint=failure.hint, over_limit=timed_out) from failure.__cause__
        except _NoResources:
            self._refuse_if_closed(name)
            answer = {"no_room": True}
        if "no_room" in answer:
            return decode(data, name=name, max_pixels=max_pixels, accept_damaged=accept_damaged, first_page=first_page)
        if "image" not in answer:
            _raise_worker_error(answer)
        image: Decoded = unpacked(answer["image"], blobs)
        return image

    def close(self) -> None:
        """Ends all processes, also busy ones, and waits for their end."""
        with self._lock:
            self._closed = True
            self._idle.clear()
            processes = list(self._processes)
        for process in processes:
            self._remove(process)

    def _refuse_if_closed(self, name: str) -> None:
        if self._closed:
            raise InputError(_CLOSED, path=name)

    def _answer_to(self, facts: Facts, data: bytes) -> tuple[Facts, list[memoryview]]:
        """The answer of a process. Raises _ProcessFailed and _NoResources.

        A process may crash because an earlier file has damaged its memory. If it has decoded files before, the file is
        decoded once more, in a new process.
        """
        process = self._process_with(facts, data)
        try:
            return self._answer_of(process)
        except _Killed:
            raise
        except _Crashed:
            if not process.has_decoded or self._closed:
                raise
        return self._answer_of(self._process_with(facts, data, new=True))

    def _answer_of(self, process: _Process) -> tuple[Facts, list[memoryview]]:
        with self._removed_on_error(process):
            answer = process.answer(self._limit_s)
        process.has_decoded = True
        with self._lock:
            self._idle.append(process)
        return answer

    def _process_with(self, facts: Facts, data: bytes, *, new: bool = False) -> _Process:
        """A process that has received `data`. If an idle process has died, the file is not the cause: try the next."""
        while True:
            with self._lock:
                if self._closed:
                    raise _ProcessFailed(_CLOSED)
                idle = self._idle.pop() if self._idle and not new else None
            process = idle or self._new_process()
            try:
                with self._removed_on_error(process):
                    process.give(facts, data)
            except _Crashed:
                if not idle:
                    raise
            else:
                return process

    def _new_process(self) -> _Process:
        with self._lock:
            if self._closed:
                raise _ProcessFailed(_CLOSED)
            process = _Process()
            self._processes.add(process)
        with self._removed_on_error(process):
            process.wait_until_ready()
        return process

    @contextmanager
    def _removed_on_error(self, process: _Process) -> Iterator[None]:
        try:
            yield
        except BaseException:  # Also KeyboardInterrupt: the answer is no longer needed.
            self._remove(process)
            raise

    def _remove(self, process: _Process) -> None:
        process.end()
        with self._lock:
            self._processes.discard(process)


class _ProcessFailed(Exception):  # noqa: N818 (turned into the InputError of a file)
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class _TimedOut(_ProcessFailed):
    """The file took too long."""


class _NoResources(Exception):  # noqa: N818 (it stays in this module)
    """The system has no resources for a process or a message: files, descriptors, processes or memory."""


class _Crashed(_ProcessFailed):
    """The process ended by itself, or was killed."""


class _Killed(_Crashed):
    """Something else killed the process, such as the system when memory ran out."""


class _Process:
    """One decoding process and the socket to it."""

    def __init__(self) -> None:
        self.has_decoded = False
        try:
            self._channel, worker_channel = socket.socketpair()
        except OSError as error:
            raise _NoResources from error
        # Registered formats are passed on; the data are pickled by this process, so unpickling them is safe.
        further_formats = pickle.dumps(formats.registered()).hex()
        command = [sys.executable, "-P", "-c", _START, str(worker_channel.fileno()), further_formats, *sys.path]
        # It has its own process group, so that Ctrl-C and Ctrl-Z reach only the run, which handles them.
        with worker_channel:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[worker_channel.fileno()],
                    process_group=0,
                )
            except OSError as error:
                self._channel.close()
                raise _NoResources from error

    def wait_until_ready(self) -> None:
        """Raises _NoResources if Python does not start."""
        if self._next(_START_TIMEOUT_S, _NoResources()) is None:
            raise _NoResources

    def give(self, facts: Facts, data: bytes) -> None:
        """Sends `data`, and returns when it has arrived. Raises _Crashed if the process has ended, and _NoResources."""
        try:
            self._channel.settimeout(_START_TIMEOUT_S)
            send(self._channel, facts, [data])
        except ConnectionError:
            raise _crash(self._status()) from None
        except OSError as error:
            raise _NoResources from error
        if self._next(_START_TIMEOUT_S, _NoResources()) is None:
            raise _crash(self._status())

    def answer(self, limit_s: float) -> tuple[Facts, list[memoryview]]:
        """The answer. Raises _Crashed if the process ends, _TimedOut after `limit_s`, and _NoResources."""
        hint = f"{_OTHER_PROGRAM_HINT} If decoding is only slow, raise --decode-timeout."
        answer = self._next(limit_s, _TimedOut(f"its decoder did not finish within {limit_s:g} seconds", hint))
        if answer is None:
            raise _crash(self._status())
        return answer

    def _next(self, limit_s: float, on_timeout: Exception) -> tuple[Facts, list[memoryview]] | None:
        """The next message, or None if the process has ended. Raises `on_timeout` after `limit_s`."""
        try:
            self._channel.settimeout(limit_s)
            return receive(self._channel)
        except TimeoutError:
            raise on_timeout from None
        except OSError as error:
            raise _NoResources from error

    def _status(self) -> int:
        try:
            return self._process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def end(self) -> None:
        """Kills the process, which has no data to save. May be called repeatedly and by any thread."""
        self._process.kill()
        self._process.wait()
        self._channel.close()


def _crash(status: int) -> _Crashed:
    if status >= 0:
        return _Crashed(f"its decoder ended its process (exit status {status})", _OTHER_PROGRAM_HINT)
    number = -status
    name = signal.Signals(number).name if number in {*signal.Signals} else "unknown"
    if number == signal.SIGKILL:
        return _Killed(f"its decoder was killed (signal {number}, {name})", MEMORY_HINT)
    return _Crashed(f"its decoder crashed (signal {number}, {name})", _OTHER_PROGRAM_HINT)


class _WorkerTraceback(Exception):  # noqa: N818 (the cause of an error, for the traceback of -v)
    """The traceback in the decoding process."""


class DecodingBug(Exception):  # noqa: N818 (not an error of the user)
    """Decoding failed because of a bug in this program."""


def _raise_worker_error(answer: Facts) -> NoReturn:
    cause = _WorkerTraceback(f"in the decoding process:\n{answer['trace']}")
    if "refused" in answer:
        raise InputError(**answer["refused"]) from cause
    raise DecodingBug(answer["bug"]) from cause
