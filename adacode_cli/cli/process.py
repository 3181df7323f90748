"""Prepares the process: standard streams that can be used until its end, and file names in UTF-8.

A run of several days may outlive the terminal in which it was started, and the disk of its standard error may be full.
Therefore a line that cannot be written to standard error is dropped, and the work goes on.
"""

from __future__ import annotations

import io
import os
import select
import sys
from contextlib import suppress
from typing import TextIO, cast

_STANDARD_STREAMS = (0, 1, 2)


def prepare() -> None:
    """To be called once, as early as possible. It may restart the program in the same process."""
    _occupy_closed_streams()
    _restart_in_utf8()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # help texts hold more than some encodings do
    protect_stderr()


def protect_stderr() -> None:
    """From now on, a line that cannot be written to standard error is dropped."""
    sys.stderr = _never_failing(sys.stderr)


def _occupy_closed_streams() -> None:
    """Opens the null device in place of closed streams: an image that is opened would otherwise get their numbers."""
    for number in _STANDARD_STREAMS:
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _restart_in_utf8() -> None:
    """If file names are ASCII or Latin-1 by the locale, restarts the program in Python's UTF-8 mode.

    It keeps every byte of a name. Otherwise some libraries could not open files with such names, and the names in a
    journal would depend on the locale.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.name != "posix" or not sys.executable or hasattr(sys, "frozen"):
        return
    encoding = sys.stderr.encoding if sys.stderr else "ascii"
    if encoding not in ("ascii", "us-ascii"):  # the terminal keeps its own encoding
        os.environ.setdefault("PYTHONIOENCODING", encoding)
    os.environ["PYTHONUTF8"] = "1"  # for the processes that decode
    with suppress(OSError):  # if this fails, the program continues without UTF-8 mode
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _never_failing(stream: TextIO | None) -> io.TextIOWrapper:
    """Standard error as before, except that writing to it never raises."""
    buffer = getattr(stream, "buffer", None)  # absent if the stream was closed from the start
    raw = getattr(buffer, "raw", buffer) or io.FileIO(2, "wb", closefd=False)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    writer = io.BufferedWriter(cast(io.RawIOBase, _NeverFailing(raw)))
    return io.TextIOWrapper(writer, encoding=encoding, errors="backslashreplace", line_buffering=True)


class _NeverFailing(io.RawIOBase):
    """Drops what `raw` cannot write; later lines are tried, as a disk may have room again."""

    name = "<stderr>"

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            while (written := self._raw.write(data)) is None:  # non-blocking, set by another process, and full
                select.select([], [self._raw], [])
        except OSError:
            return len(data)
        return written
