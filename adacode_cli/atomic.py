"""Files appear whole or not at all: write to a unique sibling, fsync, rename.

A reader, a second process or a crash never sees half a file under its final name. The sibling shares the
target's directory because a rename is atomic only within one file system.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from adacode_cli.errors import OutputError

TEMPORARY_SUFFIX = ".adacode-part"
_NAME_BYTES = 200

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than the system allows",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOENT: "there is no such file or directory",
    errno.ENAMETOOLONG: "the file name is too long",
}
_HINT = "Choose a writable place with enough room (-o) and run the same command again."


def sibling(target: Path) -> Path:
    """A fresh name beside `target`, short enough for any file system that accepts the target's own."""
    # Limits count bytes (255 on most), and a name in Chinese or emoji has up to four for each character.
    start = os.fsencode(target.name)[:_NAME_BYTES].decode("utf-8", errors="ignore")
    return target.with_name(f".{start}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the name `target` when the block ends without an error.

    Raises OutputError where the file system refuses; the temporary sibling is removed then, and whatever was
    under `target` before stays as it was.
    """
    temporary = sibling(target)
    try:
        file = temporary.open("xb")
    except OSError as error:
        raise _refused(target, error) from error
    try:
        with file:
            yield file
            file.flush()
            _sync(file.fileno())
        temporary.replace(target)
        _sync_directory(target.parent)
    except OSError as error:
        _discard(temporary)
        raise _refused(target, error) from error
    except BaseException:
        _discard(temporary)
        raise


def write_bytes(target: Path, data: bytes, *, times_ns: tuple[int, int] | None = None) -> None:
    """`target` holds exactly `data` afterwards, or is untouched and OutputError is raised.

    `times_ns`: the times of last access and last change that it is to have, in nanoseconds.
    """
    with replacing(target) as file:
        file.write(data)
        if times_ns is not None:
            file.flush()  # What is written later would set the times anew.
            os.utime(file.fileno() if os.utime in os.supports_fd else file.name, ns=times_ns)


def check_writable(target: Path) -> None:
    """For long work, before it: raises OutputError where `write_bytes` would now be refused. Leaves nothing behind."""
    if target.is_dir():
        raise OutputError("cannot be written: it is a directory", path=target, hint="Name a file.")
    temporary = sibling(target)
    try:
        temporary.open("xb").close()
        temporary.unlink()
    except OSError as error:
        raise _refused(target, error) from error


def reason(error: OSError) -> str:
    """What went wrong, in a person's words."""
    return _REASONS.get(error.errno or 0, error.strerror or str(error))


def _refused(target: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot be written: {reason(error)}", path=target, hint=_HINT)


def _discard(temporary: Path) -> None:
    # Where even this fails (the directory is gone, or became read-only), what failed first is what a person must know.
    with suppress(OSError):
        temporary.unlink()


def _sync_directory(directory: Path) -> None:
    """Without this a crash may forget the rename itself (ext4, XFS)."""
    if os.name != "posix":  # Windows cannot open directories
        return
    try:
        handle = os.open(directory, os.O_RDONLY)
    except PermissionError:  # one may write into a directory that one may not read; the file is there
        return
    try:
        _sync(handle)
    finally:
        os.close(handle)


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network and FUSE file systems have no such operation; they keep what they have written in their own time.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
