"""Reads the header of an image file: size, layout, depth, pages, and which metadata it has.

No library is used and no pixel is decoded, so ten thousand files take a second, and untrusted data are processed by
Python only. A header is a prediction; `decode` determines what a file contains. A file with a damaged beginning, or
with its header elsewhere, gives None and is not refused. Only a bounded number of small pieces of a file is read.
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
from adacode_cli.imaging import tiff_tags
from adacode_cli.imaging.codec import Header, codec_of
from adacode_cli.limits import HEAD_BYTES

START_BYTES = 64
_MAX_PIECES = 100_000
_DAMAGE = (OSError, ValueError, ArithmeticError, LookupError, struct.error)  # what damaged headers raise

Parse = Callable[[BinaryIO], Header | None]
"""(an open seekable file) → its header; None or ValueError if it has none."""


def read_header(path: Path, parse: Parse | None = None) -> Header | None:
    """The header of the file `path`, or None if it cannot be read. The function never waits for pipes and devices.

    parse: for files other than images.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb", buffering=HEAD_BYTES) as file:
            return (parse or header_in)(file) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    except (OSError, ValueError):  # No file can have this name.
        return None


def header_in(file: BinaryIO) -> Header | None:
    """The header of an open seekable file, as from `read_header`."""
    format = formats.of_bytes(file.read(START_BYTES))
    with suppress(*_DAMAGE):
        header = codec_of(format).header(Opened(file)) if format else None
        return header if header and header.width > 0 and header.height > 0 else None
    return None


def format_at(path: Path) -> str | None:
    """The name of the format of the file `path`, by its first bytes; None if they tell of none. Camera raw that has the
    structure of a TIFF counts as a TIFF here.
    """
    with suppress(OSError, ValueError), path.open("rb") as file:
        format = formats.of_bytes(file.read(START_BYTES))
        return format.name if format else None
    return None


def is_camera_raw(path: Path) -> bool:
    """Whether the file `path` is camera raw that has the structure of a TIFF. False if that is damaged."""
    with suppress(*_DAMAGE), path.open("rb") as file:
        return tiff_tags.is_camera_raw(Opened(file))
    return False


class Opened:
    """An open file with the interface of bytes; each slice is read on access.

    Raises ValueError after `_MAX_PIECES` slices, which no header needs.
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
