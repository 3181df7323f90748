"""What the process needs before anything else: standard streams that stay, and file names as UTF-8.

A run of days outlives the terminal that it was started in, and the disk that its standard error goes to may be full.
So what cannot be written to standard error is dropped, line by line, and stops no work.
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
    """To be called once, as early as possible. May start the program again, in the same process."""
    _occupy_closed_streams()
    _go_on_in_utf8()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # help texts hold more than some encodings do
    sys.stderr = _lasting(sys.stderr)


def _occupy_closed_streams() -> None:
    """A file that is opened gets the lowest free number: without this an image could take that of standard error."""
    for number in _STANDARD_STREAMS:
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _go_on_in_utf8() -> None:
    """Where the locale says that names are ASCII or Latin-1, Python's UTF-8 mode reads and writes their bytes alike.

    Otherwise some libraries could not open them, and a journal's names would depend on the locale.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.name != "posix" or not sys.executable or hasattr(sys, "frozen"):
        return
    encoding = sys.stderr.encoding if sys.stderr else "ascii"
    if encoding not in ("ascii", "us-ascii"):  # a terminal that is not asked for UTF-8 shows what it can
        os.environ.setdefault("PYTHONIOENCODING", encoding)
    os.environ["PYTHONUTF8"] = "1"  # for the processes that decode
    with suppress(OSError):  # then it goes on as it is
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _lasting(stream: TextIO | None) -> io.TextIOWrapper:
    """Standard error as before, except that writing to it never fails."""
    buffer = getattr(stream, "buffer", None)  # none where the stream was closed from the start
    raw = getattr(buffer, "raw", buffer) or io.FileIO(2, "wb", closefd=False)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    writer = io.BufferedWriter(cast(io.RawIOBase, _Lasting(raw)))
    return io.TextIOWrapper(writer, encoding=encoding, errors="backslashreplace", line_buffering=True)


class _Lasting(io.RawIOBase):
    """Drops what `raw` refuses; each later line is tried again, as a disk may have room again."""

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
            while (written := self._raw.write(data)) is None:  # whoever shares it made it non-blocking, and it is full
                select.select([], [self._raw], [])
        except OSError:
            return len(data)
        return written
