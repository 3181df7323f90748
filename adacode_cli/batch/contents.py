"""What a file held, as its size and SHA-256: the only evidence of sameness that cannot be fooled silently.

Times and sizes alone can: a scan that was made again has the same size, a copy has whatever time the copier gave it.
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
    """The content of an open file from where it stands."""
    digest = hashlib.sha256()
    while part := file.read(_PART_BYTES):
        digest.update(part)
    return Content(file.tell(), digest.hexdigest())


def holds(path: Path, content: Content) -> bool:
    """Whether the regular file `path` is there and holds exactly `content`; of another size, it is not read.

    A journal that somebody has forged may name anything: a pipe or a device is never waited for.
    """
    try:
        if not _may_hold(path.stat(), content):
            return False
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            if not _may_hold(os.fstat(handle), content):  # it has become something else
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == content.sha256
    except (OSError, ValueError):  # a name that no file can have
        return False


def _may_hold(status: os.stat_result, content: Content) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_size == content.num_bytes


def read_whole(path: Path, *, max_bytes: int = MAX_FILE_BYTES, look: Look | None = None) -> bytes:
    """All of a regular file, as it was at one moment. Raises InputError, also where it changed meanwhile.

    It also is raised for more than `max_bytes`, and whatever `look` raises at the file's first bytes.
    """
    before = _stamp(path)
    if before is not None and not stat.S_ISREG(before.st_mode) and not stat.S_ISDIR(before.st_mode):
        raise InputError("is not a regular file", path=path, hint="It became something else since the run was planned.")
    data = file_bytes(path, max_bytes=max_bytes, look=look)
    after = _stamp(path)
    changed = before is None or len(data) != before.st_size
    if after is not None and before is not None:  # a file that vanished after it was read is whole here
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
    except OSError:  # file_bytes says why
        return None
