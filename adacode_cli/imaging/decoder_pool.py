"""Decoding apart from the run: a file that crashes or hangs its decoder fails alone, and the run goes on.

Libraries written in C meet bytes of unknown origin here, and a fault in one ends its process. So there is a process for
each thread that reads, started when it is first needed, by executing Python anew: forking a process in which torch has
threads is not safe. It imports no torch, and is replaced when it dies. An error inside is the error that decoding
in the run's own process would have raised, and the pixels are the same.
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

# A process that lives does either at once; only a machine that hardly moves takes so long.
_START_TIMEOUT_S = 120.0
_EXIT_TIMEOUT_S = 10.0
# The run's own search path, and -P: a folder of photographs that holds a numpy.py is not looked into.
_START = (
    "import sys; sys.path[:] = sys.argv[3:]\n"
    "from adacode_cli.imaging.decoder_worker import main\n"
    "main(int(sys.argv[1]), bytes.fromhex(sys.argv[2]))"
)
_CLOSED = "was not read, as the run ends"
_OTHER_PROGRAM_HINT = "Open it in another program; if that can show it, save it there under a new name."


@contextmanager
def decoding(*, isolated: bool, limit_s: float = DECODING_LIMIT_S) -> Iterator[Decode]:
    """What decodes files within the block: processes of its own if `isolated` and the system can, else this process."""
    with quiet_libraries():  # here too: masks and outputs are read again in the run's own process
        # Windows passes no descriptors through sockets, and a frozen program has no interpreter to start.
        if not isolated or sys.platform == "win32" or getattr(sys, "frozen", False):
            yield decode
            return
        pool = DecoderPool(limit_s)
        try:
            yield pool
        finally:
            pool.close()


class DecoderPool:
    """`imaging.decode.decode` in other processes, to be called by any number of threads at once: each gets its own."""

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
        """As `decode` does it. Raises InputError as it does, and for a file whose decoder crashes or takes too long.

        What the system has no room to decode elsewhere is decoded here.
        """
        facts = {
            "name": name,
            "max_pixels": max_pixels,
            "accept_damaged": accept_damaged,
            "first_page": first_page,
            "limit_s": self._limit_s,
        }
        try:
            process = self._process_with(facts, data)
            with self._removed_on_error(process):
                answer, blobs = process.answer(self._limit_s)
        except _ProcessFailed as failure:
            self._refuse_if_closed(name)  # it ended because it was ended: no fault of the file
            timed_out = isinstance(failure, _TimedOut)
            raise InputError(failure.message, path=name, hint=failure.hint, over_limit=timed_out) from failure.__cause__
        except _NoResources:
            self._refuse_if_closed(name)
            answer = {"no_room": True}
        else:
            with self._lock:
                self._idle.append(process)
        if "no_room" in answer:
            return decode(data, name=name, max_pixels=max_pixels, accept_damaged=accept_damaged, first_page=first_page)
        if "image" not in answer:
            _raise_worker_error(answer)
        image: Decoded = unpacked(answer["image"], blobs)
        return image

    def close(self) -> None:
        """Ends all processes, those at work too; none is left when this returns."""
        with self._lock:
            self._closed = True
            self._idle.clear()
            processes = list(self._processes)
        for process in processes:
            self._remove(process)

    def _refuse_if_closed(self, name: str) -> None:
        if self._closed:
            raise InputError(_CLOSED, path=name)

    def _process_with(self, facts: Facts, data: bytes) -> _Process:
        """A process that has taken `data`. What an idle one died of is not this file's fault, so the next gets it."""
        while True:
            with self._lock:
                if self._closed:
                    raise _ProcessFailed(_CLOSED)
                idle = self._idle.pop() if self._idle else None
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
        except BaseException:  # KeyboardInterrupt too: the answer is not wanted any more
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
    """It took longer than a file may."""


class _NoResources(Exception):  # noqa: N818 (never seen outside)
    """The system has no room for a process or a message: a limit on files, descriptors, processes or memory."""


class _Crashed(_ProcessFailed):
    """Its process ended by itself, or was killed."""


class _Process:
    """One decoding process and the socket to it."""

    def __init__(self) -> None:
        try:
            self._channel, worker_channel = socket.socketpair()
        except OSError as error:
            raise _NoResources from error
        # Formats that were registered are passed on; this process has made what is pickled here.
        further_formats = pickle.dumps(formats.registered()).hex()
        command = [sys.executable, "-P", "-c", _START, str(worker_channel.fileno()), further_formats, *sys.path]
        # A group of its own, which the terminal's Ctrl-C and Ctrl-Z do not reach: the run decides what they mean.
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
        """Raises _NoResources where Python does not start; no file is at fault then."""
        if self._next(_START_TIMEOUT_S, _NoResources()) is None:
            raise _NoResources

    def give(self, facts: Facts, data: bytes) -> None:
        """Returns when the process has `data`. Raises _Crashed if it is gone, and _NoResources."""
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
        """What came of it. Raises _Crashed if the process ends, _TimedOut after `limit_s`, and _NoResources."""
        hint = f"{_OTHER_PROGRAM_HINT} If it only is slow, raise --decode-timeout."
        answer = self._next(limit_s, _TimedOut(f"its decoder did not come to an end within {limit_s:g} seconds", hint))
        if answer is None:
            raise _crash(self._status())
        return answer

    def _next(self, limit_s: float, on_timeout: Exception) -> tuple[Facts, list[memoryview]] | None:
        """What it says next, or None if it is gone. Raises `on_timeout` where that takes longer than `limit_s`."""
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
        """At once: it holds nothing that could be lost. May be called again, and by another thread."""
        self._process.kill()
        self._process.wait()
        self._channel.close()


def _crash(status: int) -> _Crashed:
    if status >= 0:
        return _Crashed(f"its decoder ended its process (exit status {status})", _OTHER_PROGRAM_HINT)
    number = -status
    name = signal.Signals(number).name if number in {*signal.Signals} else "unknown"
    if number == signal.SIGKILL:  # as the system does where memory runs out
        return _Crashed(f"its decoder was killed (signal {number}, {name})", MEMORY_HINT)
    return _Crashed(f"its decoder crashed (signal {number}, {name})", _OTHER_PROGRAM_HINT)


class _WorkerTraceback(Exception):  # noqa: N818 (the cause of an error, for the traceback of -v)
    """The traceback in the decoding process."""


class DecodingBug(Exception):  # noqa: N818 (no mistake of a person's)
    """Decoding failed in a way that is a bug of this program."""


def _raise_worker_error(answer: Facts) -> NoReturn:
    cause = _WorkerTraceback(f"in the decoding process:\n{answer['trace']}")
    if "refused" in answer:
        raise InputError(**answer["refused"]) from cause
    raise DecodingBug(answer["bug"]) from cause
