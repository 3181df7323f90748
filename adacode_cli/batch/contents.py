"""The content of a file as its size and SHA-256, by which files are compared reliably.

Times and sizes are not reliable: a repeated scan has the same size, and a copy may have any time.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from adacode_cli.errors import InputError
from adacode_cli.imaging.files import Look, file_bytes
from adacode_cli.imaging.refusals import too_many_bytes
from adacode_cli.limits import HEAD_BYTES, MAX_FILE_BYTES
from adacode_cli.storage import objects
from adacode_cli.storage.path import RemotePath, is_remote

_PART_BYTES = 1 << 20
# A smaller file is read at once, with one request.
_LOOK_FIRST_BYTES = 4 << 20


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

    A forged journal may name any file, so the function never waits for a pipe or a device. Raises InputError for a
    file in a store that does not answer.
    """
    if is_remote(path):
        there = objects.status(path)
        if there is None or there.num_bytes != content.num_bytes:
            return False
        return content_of(objects.read_sized(path, content.num_bytes)) == content
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


def holds_any(path: Path, contents: Collection[Content]) -> bool:
    """Whether `path` has one of these contents; as `holds`, but a file in a store is read once."""
    if not is_remote(path):
        return any(holds(path, content) for content in contents)
    there = objects.status(path)
    if there is None or there.num_bytes not in {content.num_bytes for content in contents}:
        return False
    return content_of(objects.read_sized(path, there.num_bytes)) in contents


def _may_hold(status: os.stat_result, content: Content) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_size == content.num_bytes


def read_whole(path: Path, *, max_bytes: int = MAX_FILE_BYTES, look: Look | None = None) -> bytes:
    """The bytes of a regular file at one moment. Raises InputError, also if the file changed while it was read.

    It is also raised for more than `max_bytes`, and by `look` for the first bytes of the file.
    """
    if is_remote(path):
        return read_remote(path, max_bytes=max_bytes, look=look)[0]
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
        raise _changed(path)
    return data


def read_remote(path: RemotePath, *, max_bytes: int, look: Look | None = None) -> tuple[bytes, int]:
    """(the bytes of a file in a store, its stamp as in `objects.Status`). Raises InputError as `read_whole` does."""
    there = objects.status(path)
    if there is None:
        raise InputError("there is no such file", path=path, hint="Check the address.")
    if there.num_bytes > max_bytes:
        raise too_many_bytes(there.num_bytes, max_bytes, name=str(path))
    if look and there.num_bytes > _LOOK_FIRST_BYTES:
        look(objects.read(path, 0, HEAD_BYTES), str(path))
    is_known = there.num_bytes >= 0
    # A web server may send more than it has stated.
    is_reliable = is_known and path.kind.can_list
    data = objects.read_sized(path, there.num_bytes) if is_reliable else objects.read_start(path, max_bytes + 1)
    if len(data) > max_bytes:
        raise too_many_bytes(None, max_bytes, name=str(path))
    if look and there.num_bytes <= _LOOK_FIRST_BYTES:
        look(data[:HEAD_BYTES], str(path))
    # A store that shows files while they are written is asked again.
    is_same = path.kind.writes_whole or objects.status(path) == there
    if not is_same or (is_known and len(data) != there.num_bytes):
        raise _changed(path)
    return data, there.stamp


def _changed(path: Path) -> InputError:
    hint = "Run the same command again when nothing writes to it."
    return InputError("changed while it was read", path=path, hint=hint)


def _stamp(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # `file_bytes` reports the reason.
        return None
