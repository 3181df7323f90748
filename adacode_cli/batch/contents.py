"""The content of a file as its size and SHA-256, by which files are compared reliably.

Times and sizes are not reliable: a repeated scan has the same size, and a copy may have any time.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from adacode_cli.errors import InputError
from adacode_cli.imaging.files import Look, file_bytes
from adacode_cli.limits import MAX_FILE_BYTES

_PART_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """A file's size and the SHA-256 of its bytes, 64 lower-case hexadecimal digits."""

    num_bytes: int
    sha256: str


def content_of(data: bytes) -> Content:
    """The content of a file with these bytes."""
    return Content(len(data), hashlib.sha256(data).hexdigest())


def content_of_file(file: BinaryIO) -> Content:
    """The content of an open file from its current position."""
    digest = hashlib.sha256()
    while part := file.read(_PART_BYTES):
        digest.update(part)
    return Content(file.tell(), digest.hexdigest())


def holds(path: Path, content: Content) -> bool:
    """Whether `path` is a regular file with exactly this content. A file of another size is not read.

    A forged journal may name any file, so the function never waits for a pipe or a device.
    """
    try:
        if not _may_hold(path.stat(), content):
            return False
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            if not _may_hold(os.fstat(handle), content):  # The file was replaced.
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == content.sha256
    except (OSError, ValueError):  # No file can have this name.
        return False


def _may_hold(status: os.stat_result, content: Content) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_size == content.num_bytes


def read_whole(path: Path, *, max_bytes: int = MAX_FILE_BYTES, look: Look | None = None) -> bytes:
    """The bytes of a regular file at one moment. Raises InputError, also if the file changed while it was read.

    It is also raised for more than `max_bytes`, and by `look` for the first bytes of the file.
    """
    before = _stamp(path)
    if before is not None and not stat.S_ISREG(before.st_mode) and not stat.S_ISDIR(before.st_mode):
        raise InputError("is not a regular file", path=path, hint="It was replaced after the run was planned.")
    data = file_bytes(path, max_bytes=max_bytes, look=look)
    after = _stamp(path)
    changed = before is None or len(data) != before.st_size
    if after is not None and before is not None:  # A file that was removed after it was read is complete here.
        changed |= (before.st_ino, before.st_size, before.st_mtime_ns) != (
            after.st_ino,
            after.st_size,
            after.st_mtime_ns,
        )
    if changed:
        hint = "Run the same command again when nothing writes to it."
        raise InputError("changed while it was read", path=path, hint=hint)
    return data


def _stamp(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # `file_bytes` reports the reason.
        return None
