"""What an image file says of itself before its pixels: size, layout, depth, pages, and which metadata it holds.

No library is asked and no pixel decoded, so ten thousand files take a second, and bytes of unknown origin meet Python
only. What is found is a forecast: `decode` alone says what a file holds. A file whose beginning is damaged, or that
says it elsewhere, has no header here and is not refused for that. Of any file a bounded number of small pieces is read.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from adacode_cli import formats
from adacode_cli.imaging.codec import Header, codec_of
from adacode_cli.limits import HEAD_BYTES

_START_BYTES = 64
_MAX_PIECES = 100_000

Parse = Callable[[BinaryIO], Header | None]
"""(an open file that can be sought in) → what it says; None or ValueError where it says nothing."""


def read_header(path: Path, parse: Parse | None = None) -> Header | None:
    """What the file `path` says, or None where that cannot be read from it. Pipes and devices are not waited for.

    `parse` is for files of another kind than images.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb", buffering=HEAD_BYTES) as file:
            return (parse or header_in)(file) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    except (OSError, ValueError):  # a name that no file can have
        return None


def header_in(file: BinaryIO) -> Header | None:
    """As `read_header` gives it, of an open file that can be sought in."""
    format = formats.of_bytes(file.read(_START_BYTES))
    with suppress(OSError, ValueError, ArithmeticError, LookupError, struct.error):
        header = codec_of(format).header(Opened(file)) if format else None
        return header if header and header.width > 0 and header.height > 0 else None
    return None


class Opened:
    """An open file as bytes of which a part is read when it is asked for.

    Raises ValueError after `_MAX_PIECES` parts, which no header needs.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._pieces_left = _MAX_PIECES

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, where: slice, /) -> bytes:
        self._pieces_left -= 1
        if self._pieces_left < 0:
            raise ValueError("its header has too many parts")
        begin, end, _ = where.indices(self._size)
        self._file.seek(begin)
        return self._file.read(max(0, end - begin))
