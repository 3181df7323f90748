"""Reads files and streams: the first bytes are checked before the rest is read, and sizes are limited.

Thus a large file that is not an image needs little memory, and an endless stream needs no more than a file of the
largest allowed size.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from adacode_cli.errors import InputError, translated
from adacode_cli.imaging.refusals import too_little_memory, too_many_bytes
from adacode_cli.limits import HEAD_BYTES, MAX_FILE_BYTES

Look = Callable[[bytes, str], object]
"""(the first HEAD_BYTES of a file, its name) → None; raises InputError if the rest must not be read."""

_PIECE_BYTES = 1 << 20


def file_bytes(path: Path, *, max_bytes: int = MAX_FILE_BYTES, look: Look | None = None) -> bytes:
    """The bytes of a file. Raises InputError if it cannot be read or is too large, and the errors of `look`.

    If the file grows while it is read, one byte more than its size is returned.
    """
    with translated(InputError, "cannot be read", path, hint="Check its permissions and the disk it is on."):
        try:
            with path.open("rb") as file:
                data = _read(file, path, max_bytes, look)
        except FileNotFoundError as error:
            raise InputError("there is no such file", path=path, hint="Check the name and the directory.") from error
        except IsADirectoryError as error:
            raise InputError("is a directory, not an image", path=path, hint="Name a file in it.") from error
    return data


def stream_bytes(stream: BinaryIO, name: str, *, max_bytes: int = MAX_FILE_BYTES, look: Look | None = None) -> bytes:
    """The bytes of a stream, which errors name `name`. Raises InputError as `file_bytes` does."""
    read = BytesIO()
    piece = stream.read(HEAD_BYTES)
    if piece and look:
        look(piece, name)
    try:
        while piece:
            if read.tell() + len(piece) > max_bytes:
                raise too_many_bytes(None, max_bytes, name=name)
            read.write(piece)
            piece = stream.read(_PIECE_BYTES)
        return read.getvalue()
    except MemoryError as error:
        raise too_little_memory(name, None) from error


def _read(file: BinaryIO, path: Path, max_bytes: int, look: Look | None) -> bytes:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):  # For example a named pipe.
        return stream_bytes(file, str(path), max_bytes=max_bytes, look=look)
    if look:
        look(file.read(HEAD_BYTES), str(path))
        file.seek(0)
    size = status.st_size
    if size > max_bytes:
        raise too_many_bytes(size, max_bytes, name=str(path))
    try:
        return file.read(size + 1)
    except MemoryError as error:
        raise too_little_memory(str(path), None) from error
