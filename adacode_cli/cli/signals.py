"""Ctrl-C (SIGINT), SIGTERM and SIGHUP (a terminal that is closed) mean the same: stop soon, leave no partial files.
Ctrl-Z (SIGTSTP) stops the process until it is continued.

A second signal ends the process at once. A signal that the parent process ignores stays ignored, as `nohup` needs it.
Work that can be continued later asks a `StopRequest` whether to stop.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

from adacode_cli.errors import EXIT_INTERRUPTED

# Windows has no SIGHUP.
SIGNALS = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_SHOW_CURSOR, _HIDE_CURSOR, _CLEAR_LINE = b"\x1b[?25h", b"\x1b[?25l", b"\r\x1b[J"
_SILENT = ("--json", "--quiet", "-q")  # what is to show nothing on standard error, or only failures
_LOOK_AGAIN_S = 0.02
_USUAL_COLUMNS = 80  # a terminal may say that it has none


@dataclass
class _LastWords:
    """What is written when a signal ends the process at once; "" for nothing."""

    text: str = ""


_last_words = _LastWords()
_ending = threading.Lock()


def say_at_a_signal(text: str) -> None:
    """From now on, this line is written if a signal ends the process at once; "": nothing is."""
    _last_words.text = "" if any(option in sys.argv for option in _SILENT) else text


def last_words() -> str:
    """What `say_at_a_signal` was told last; "" for nothing."""
    return _last_words.text


def end_at_a_signal() -> None:
    """From now on a signal ends the process with 130 at once, because no files have been begun yet.

    Call it in the main thread, before libraries are imported.
    """
    say_at_a_signal("interrupted: nothing was done yet")
    atexit.register(_ignore_signals)  # the first that is registered is the last that is called
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _second)


@contextmanager
def interruptible(limit_s: float | None = None) -> Iterator[Callable[[], bool]]:
    """Within the block the first signal raises KeyboardInterrupt, a second one ends the process with 130.

    The block is given a function that says whether there was a signal.

    With `limit_s` the process ends that number of seconds after the first one in any case, and at the second one even
    inside a call into a library. Use it in the main thread.
    """

    interrupted = False

    def first(_number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        for number in SIGNALS:
            if signal.getsignal(number) is first:
                signal.signal(number, _second)
        raise_when_possible(frame)

    watch = _Watch(limit_s) if limit_s is not None and os.name == "posix" else None
    try:
        with _handled_by(first):
            yield lambda: interrupted
    finally:
        if watch:
            watch.end()


@contextmanager
def _handled_by(chosen: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within the block signals call `chosen`, except those that the parent process ignores."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, chosen)
    hook = sys.unraisablehook
    sys.unraisablehook = partial(_raise_again, hook)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        stop_waiting()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def suspendable(after: Callable[[float], None] = lambda _seconds: None) -> Iterator[None]:
    """For a block whose lines on the terminal hide the cursor: Ctrl-Z shows it until the process is continued.

    after: is called then, with the seconds for which the process was stopped. Without effect outside the main thread,
    and if the parent process ignores the signal.
    """
    number = getattr(signal, "SIGTSTP", None)
    is_main = threading.current_thread() is threading.main_thread()
    if number is None or not is_main or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        began = time.monotonic()
        _write_if_a_terminal(_SHOW_CURSOR)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # The process stops here.
        signal.signal(number, stop)
        _write_if_a_terminal(_HIDE_CURSOR)
        after(time.monotonic() - began)

    signal.signal(number, stop)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)


class _Watch:
    """A thread that receives signals at once: Python's handlers run only when the main thread is in Python code."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s, self._heard = limit_s, False
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True, name="signals").start()

    def end(self) -> None:
        """Stops listening, unless there was a signal: then the process is about to end, within its time limit."""
        if not self._heard:
            signal.set_wakeup_fd(self._before)
            os.close(self._write)

    def _listen(self) -> None:
        if self._hears(None):
            self._heard = True
            until = time.monotonic() + self._limit_s
            if not self._hears(self._limit_s):
                # The block may have ended before this thread heard the signal: the process has its time nevertheless.
                time.sleep(max(0.0, until - time.monotonic()))
            _end()
        os.close(self._read)

    def _hears(self, limit_s: float | None) -> bool:
        """True at the next signal of `SIGNALS`; False when listening ends, or after `limit_s`."""
        deadline = None if limit_s is None else time.monotonic() + limit_s
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._read], [], [], left)[0]:
                return False
            numbers = os.read(self._read, 1)
            if not numbers or numbers[0] in SIGNALS:
                return bool(numbers)


def _ignore_signals() -> None:
    """For the end of the interpreter, which resets signal handlers: a signal would then change the exit code."""
    stop_waiting()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop_waiting() -> None:
    """Cancels a KeyboardInterrupt that a signal handler has postponed: the work has ended by itself."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def raise_when_possible(frame: FrameType | None) -> None:
    """For a signal handler: raises KeyboardInterrupt, after what `frame` may be in the middle of.

    While a C++ library such as torch is being loaded, an exception can end the process with another exit code. While
    rich begins or ends to show progress, one would leave its thread drawing, and the cursor hidden.
    """
    if not _within_import_or_drawing(frame) or not hasattr(signal, "setitimer"):
        raise KeyboardInterrupt
    _look_again_soon()


def _look_again_soon() -> None:
    signal.signal(signal.SIGALRM, lambda _number, later: raise_when_possible(later))
    signal.setitimer(signal.ITIMER_REAL, _LOOK_AGAIN_S)


def _raise_again(before: Callable[[sys.UnraisableHookArgs], Any], unraisable: sys.UnraisableHookArgs) -> None:
    """Python drops what is raised in a finalizer, such as `__del__`: a KeyboardInterrupt is raised again after it."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt) and hasattr(signal, "setitimer"):
        _look_again_soon()
    else:
        before(unraisable)


def _within_import_or_drawing(frame: FrameType | None) -> bool:
    while frame is not None:
        is_import = frame.f_code.co_filename.startswith("<frozen importlib")
        if is_import or str(frame.f_globals.get("__name__")).startswith("rich."):
            return True
        frame = frame.f_back
    return False


def _second(_number: int, _frame: FrameType | None) -> None:
    _end()


def _end() -> None:
    if not _ending.acquire(blocking=False):
        return  # Another thread is about to end the process, or this one is, and has got one more signal.
    with suppress(OSError):  # the terminal may have been closed
        standard_error = _taken_from_threads()
        _write_if_a_terminal(_SHOW_CURSOR, standard_error)  # a line that shows progress hides it
        if _last_words.text:
            _write_line(_last_words.text, standard_error)
    os._exit(EXIT_INTERRUPTED)


def _taken_from_threads() -> int:
    """Standard error under another number, so that a thread that draws progress writes nothing after the last line."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        standard_error = os.dup(2)
        os.dup2(nowhere, 2)
    except OSError:  # too many files are open
        return 2
    return standard_error


def _write_if_a_terminal(sequence: bytes, standard_error: int = 2) -> None:
    with suppress(OSError):  # it may have been closed
        if os.isatty(standard_error) and not _is_dumb():
            os.write(standard_error, sequence)


def _is_dumb() -> bool:
    """Whether the terminal shows escape sequences as they are."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def _write_line(text: str, standard_error: int = 2) -> None:
    """Writes a line, on a terminal in whole words and in the place of a line that shows progress. Raises OSError."""
    begin = b""
    if os.isatty(standard_error):
        begin = b"" if _is_dumb() else _CLEAR_LINE
        columns = os.get_terminal_size(standard_error).columns or _USUAL_COLUMNS
        text = textwrap.fill(text, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    os.write(standard_error, begin + f"{text}\n".encode())


_SAME_REQUEST_S = 1.0


class StopRequest:
    """Tells the work when to stop. Once it has called `should_stop`, signals raise nothing; before that, they end it at
    once.

    limit_s: seconds from now; None: no limit. answer: a line for standard error at the first signal after that.
    """

    def __init__(self, limit_s: float | None, answer: str) -> None:
        self._deadline = None if limit_s is None else time.monotonic() + limit_s
        self._answer, self._was_asked, self._first = answer, False, 0.0
        self.interrupted = False

    def should_stop(self) -> bool:
        """Whether to stop. Work that calls this once must keep calling it."""
        self._was_asked = True
        return self.interrupted or (self._deadline is not None and time.monotonic() > self._deadline)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block a signal asks the work to stop; Ctrl-C more than a second later ends the process at once.

        Use it in the main thread. A signal that the parent process ignores stays ignored.
        """
        with _handled_by(self._signalled):
            yield

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            # Launchers and batch systems may send several signals for one request; a later one is from a person.
            if number == signal.SIGINT and time.monotonic() - self._first > _SAME_REQUEST_S:
                _end()
            return
        self.interrupted, self._first = True, time.monotonic()
        if not self._was_asked:
            raise_when_possible(frame)
            return
        # Not through a buffered stream, which the signal may have found in the middle of a line.
        with suppress(OSError):  # the terminal may have been closed, which is such a signal
            _write_line(self._answer)
