"""Files appear whole or not at all: write to a unique sibling, fsync, rename.

A reader, a second process or a crash never sees half a file under its final name. The sibling shares the
target's directory because a rename is atomic only within one file system. It is locked while it is written, so that a
later run can tell the leavings of a dead process from the work of a living one.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from adacode_cli import locks
from adacode_cli.errors import OutputError, translated

TEMPORARY_SUFFIX = ".adacode-part"
_NAME_BYTES = 200

_HINT = "Choose a writable place with enough room (-o) and run the same command again."


def sibling(target: Path) -> Path:
    """A fresh name beside `target`, short enough for any file system that accepts the target's own."""
    # Limits count bytes (255 on most), and a name in Chinese or emoji has up to four for each character.
    return target.with_name(f".{_start(target)}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


def _start(target: Path) -> str:
    name = os.fsencode(target.name)[:_NAME_BYTES].decode("utf-8", errors="ignore")
    return os.fsdecode(name.encode("utf-8"))


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A binary file, to be read too, that takes the name `target` when the block ends without an error.

    Raises OutputError where the file system refuses; the temporary sibling is removed then, and whatever was
    under `target` before stays as it was.
    """
    temporary, file = _opened_sibling(target)
    with _writing(target):
        try:
            with file:
                yield file
                file.flush()
                sync(file.fileno())
                if os.name == "posix":  # while it is locked: nobody can take it for a leftover in between
                    temporary.replace(target)
            if os.name != "posix":  # Windows renames no open file
                temporary.replace(target)
            sync_directory(target.parent)
        except BaseException:
            _discard(temporary)
            raise


def write_bytes(target: Path, data: bytes, *, times_ns: tuple[int, int] | None = None) -> None:
    """`target` holds exactly `data` afterwards, or is untouched and OutputError is raised.

    `times_ns`: the times of last access and last change that it is to have, in nanoseconds.
    """
    with replacing(target) as file:
        file.write(data)
        set_times(file, times_ns)


def set_times(file: BinaryIO, times_ns: tuple[int, int] | None) -> None:
    """Gives a file that is whole the times of last access and last change, in nanoseconds; None: leaves them."""
    if times_ns is not None:
        file.flush()  # What is written later would set the times anew.
        os.utime(file.fileno() if os.utime in os.supports_fd else file.name, ns=times_ns)


def write_under_free_name(target: Path, data: bytes) -> Path:
    """Writes `data` without replacing anything, and says where: `target`, or beside it under the first free name.

    A file that holds exactly `data` already is good enough. Beside `a.png` these are `a-2.png`, `a-3.png` and so on.
    Raises OutputError.
    """
    temporary, file = _opened_sibling(target)
    with _writing(target):
        try:
            with file:
                file.write(data)
                file.flush()
                sync(file.fileno())
            path = next(path for path in _numbered(target) if _has(path, data) or _takes_name(temporary, path))
            sync_directory(target.parent)
        finally:
            _discard(temporary)
    return path


def _numbered(target: Path) -> Iterator[Path]:
    yield target
    for number in count(2):
        yield target.with_name(f"{target.stem}-{number}{target.suffix}")


def _has(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


def _takes_name(temporary: Path, path: Path) -> bool:
    """Gives a file a second name, unless that is taken. Raises OSError."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError:  # FAT and some network file systems have no second names; these have no such exclusive way
        if os.path.lexists(path):
            return False
        temporary.replace(path)
    return True


def remove_leftovers(target: Path) -> int:
    """Removes the siblings of `target` that a dead process left, and says how many.

    Those being written stay, and so does whatever is a link, no regular file, or somebody else's.
    """
    ours = re.compile(rf"\.{re.escape(_start(target))}\.[0-9a-f]{{8}}{re.escape(TEMPORARY_SUFFIX)}")
    try:
        with os.scandir(target.parent) as entries:
            leftovers = [Path(entry.path) for entry in entries if ours.fullmatch(entry.name)]
    except OSError:  # no such directory, nothing in it
        return 0
    return sum(_removed_if_abandoned(path) for path in leftovers)


def _removed_if_abandoned(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:  # its owner has renamed it meanwhile, or it is not ours to open
        return False
    try:
        if (
            not _is_ours(os.fstat(handle), path.parent)
            or not locks.lock(handle, wait=False)
            or not locks.is_at(handle, path)
        ):
            return False
        path.unlink()
    except OSError:  # Windows: somebody has it open
        return False
    finally:
        os.close(handle)
    return True


def _is_ours(status: os.stat_result, directory: Path) -> bool:
    if not stat.S_ISREG(status.st_mode):
        return False
    # Some file systems give everything one owner (FAT, NFS for root): who owns the directory, owns what we make in it.
    return os.name != "posix" or status.st_uid in (os.geteuid(), directory.stat().st_uid)


def check_writable(target: Path) -> None:
    """For long work, before it: raises OutputError where `write_bytes` would now be refused. Leaves nothing behind."""
    if target.is_dir():
        raise OutputError("cannot be written: it is a directory", path=target, hint="Name a file.")
    temporary = sibling(target)
    with _writing(target):
        temporary.open("xb").close()
        temporary.unlink()


def _opened_sibling(target: Path) -> tuple[Path, BinaryIO]:
    """A fresh sibling, open and locked. A cleaner may come between making and locking it; then another is made.

    Raises OutputError.
    """
    while True:
        temporary = sibling(target)
        with _writing(target):
            file = temporary.open("x+b")
        if locks.lock(file.fileno(), wait=False) and locks.is_at(file.fileno(), temporary):
            return temporary, file
        file.close()


def _writing(target: Path) -> AbstractContextManager[None]:
    return translated(OutputError, "cannot be written", target, hint=_HINT)


def _discard(temporary: Path) -> None:
    # Where even this fails (the directory is gone, or became read-only), what failed first is what a person must know.
    with suppress(OSError):
        temporary.unlink()


def sync_directory(directory: Path) -> None:
    """Without this a crash may forget the rename itself (ext4, XFS)."""
    if os.name != "posix":  # Windows cannot open directories
        return
    try:
        handle = os.open(directory, os.O_RDONLY)
    except PermissionError:  # one may write into a directory that one may not read; the file is there
        return
    try:
        sync(handle)
    finally:
        os.close(handle)


def sync(handle: int) -> None:
    """What was written to the open file survives a crash of the machine afterwards."""
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network and FUSE file systems have no such operation; they keep what they have written in their own time.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
