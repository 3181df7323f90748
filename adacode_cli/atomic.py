"""Atomic writes: a file is written under a temporary name beside its target, synchronised to the disk, and renamed.

No reader, other process or crash sees an incomplete file under its final name. The temporary file is in the target's
directory because a rename is atomic only within one file system. It is locked while it is written, so that a
later run can distinguish the files that a killed process left from those that a running process is writing.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from adacode_cli import locks
from adacode_cli.errors import OutputError, reason

TEMPORARY_SUFFIX = ".adacode-part"
_TEMPORARY = re.compile(rf"\.(.*)\.[0-9a-f]{{8}}{re.escape(TEMPORARY_SUFFIX)}", re.DOTALL)
_NAME_BYTES = 200
_checks_before_rename: list[Callable[[Path], None]] = []

_HINT = "Choose a directory that is writable and has enough free space (-o), and run the same command again."


def sibling(target: Path) -> Path:
    """An unused name beside `target`, short enough for any file system that accepts the name of the target."""
    # Limits count bytes (255 on most), and a name in Chinese or emoji has up to four for each character.
    return target.with_name(f".{_start(target)}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


def _start(target: Path) -> str:
    name = os.fsencode(target.name)[:_NAME_BYTES].decode("utf-8", errors="ignore")
    return os.fsdecode(name.encode("utf-8"))


def check_before_rename(check: Callable[[Path], None]) -> None:
    """Has `check` called with each target just before it gets its file, for a process whose right to write may end.

    If it raises an error, the target stays as it is.
    """
    _checks_before_rename.append(check)


@contextmanager
def replacing(target: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """A binary file, readable too, that gets the name `target` when the block ends without an error.

    durable: it survives a crash of the machine. False, for files that can be made again, takes less time.

    Raises OutputError if the file system refuses. In this case the temporary file is removed, and a file that was
    under `target` before is unchanged.
    """
    temporary, file = _opened_sibling(target)
    with _writing(target):
        try:
            with file:
                yield file
                file.flush()
                if durable:
                    sync(file.fileno())
                for check in _checks_before_rename:
                    check(target)
                if os.name == "posix":  # While it is locked, no other run removes it as a leftover.
                    temporary.replace(target)
            if os.name != "posix":  # Windows cannot rename an open file.
                temporary.replace(target)
            if durable:
                sync_directory(target.parent)
        except BaseException:
            _discard(temporary)
            raise


def write_bytes(target: Path, data: bytes, *, times_ns: tuple[int, int] | None = None, durable: bool = True) -> None:
    """Writes `data` to `target`. If this fails, `target` is unchanged and OutputError is raised.

    `durable`: as in `replacing`.
    `times_ns`: the times of last access and last change that the file gets, in nanoseconds.
    """
    with replacing(target, durable=durable) as file:
        file.write(data)
        set_times(file, times_ns)


def set_times(file: BinaryIO, times_ns: tuple[int, int] | None) -> None:
    """Sets the times of last access and last change of a complete file, in nanoseconds. None: they are not changed."""
    if times_ns is not None:
        file.flush()  # A later write would change the times.
        os.utime(file.fileno() if os.utime in os.supports_fd else file.name, ns=times_ns)


def write_under_free_name(target: Path, data: bytes) -> Path:
    """Writes `data` without replacing a file, and returns the path: `target`, or the first free name beside it.

    A file with exactly this content is used as it is. The names beside `a.png` are `a-2.png`, `a-3.png` and so on.
    Raises OutputError.
    """
    temporary, file = _opened_sibling(target)
    with _writing(target):
        try:
            with file:
                file.write(data)
                file.flush()
                sync(file.fileno())
            path = next(path for path in numbered(target) if _has(path, data) or _takes_name(temporary, path))
            sync_directory(target.parent)
        finally:
            _discard(temporary)
    return path


def numbered(target: Path) -> Iterator[Path]:
    """`target`, and the names beside it: for `a.png`, `a-2.png`, `a-3.png` and so on, without an end."""
    yield target
    for number in count(2):
        yield target.with_name(f"{target.stem}-{number}{target.suffix}")


def _has(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


def _takes_name(temporary: Path, path: Path) -> bool:
    """Adds the name `path` (a hard link) unless a file of this name exists. Raises OSError."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError:  # FAT and some network file systems have no hard links, and thus no exclusive way to add a name.
        if os.path.lexists(path):
            return False
        temporary.replace(path)
    return True


def remove_leftovers(*targets: Path) -> int:
    """Removes the temporary files of `targets` that killed processes left, and returns their number.

    Files that are being written are kept, and so are links, files that are not regular, and files of other users. Each
    directory is read once.
    """
    starts: dict[Path, set[str]] = {}
    for target in targets:
        starts.setdefault(target.parent, set()).add(_start(target))
    leftovers: list[Path] = []
    for directory, ours in starts.items():
        with suppress(OSError), os.scandir(directory) as entries:  # The directory may not exist.
            found = ((entry, _TEMPORARY.fullmatch(entry.name)) for entry in entries)
            leftovers += [Path(entry.path) for entry, name in found if name and name[1] in ours]
    return sum(_removed_if_abandoned(path) for path in leftovers)


def _removed_if_abandoned(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:  # Its owner has renamed it in the meantime, or permission is denied.
        return False
    try:
        if (
            not _is_ours(os.fstat(handle), path.parent)
            or not locks.lock(handle, wait=False)
            or not locks.is_at(handle, path)
        ):
            return False
        path.unlink()
    except OSError:  # On Windows, another process has it open.
        return False
    finally:
        os.close(handle)
    return True


def _is_ours(status: os.stat_result, directory: Path) -> bool:
    if not stat.S_ISREG(status.st_mode):
        return False
    # On some file systems all files have one owner (FAT, NFS for root): the files made here have the directory's.
    return os.name != "posix" or status.st_uid in (os.geteuid(), directory.stat().st_uid)


def check_writable(target: Path) -> None:
    """Checks before long work that `target` can be written. Raises OutputError if not, and leaves no file."""
    if target.is_dir():
        raise OutputError("cannot be written: it is a directory", path=target, hint="Name a file.")
    temporary = sibling(target)
    with _writing(target):
        temporary.open("xb").close()
        temporary.unlink()


def _opened_sibling(target: Path) -> tuple[Path, BinaryIO]:
    """A new temporary file, open and locked. If another run removes it before it is locked, another one is made.

    Raises OutputError.
    """
    while True:
        temporary = sibling(target)
        with _writing(target):
            file = temporary.open("x+b")
        if locks.lock(file.fileno(), wait=False) and locks.is_at(file.fileno(), temporary):
            return temporary, file
        file.close()


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise refusal(target.parent, error) or OutputError(
            f"cannot be written: {reason(error)}", path=target, hint=_HINT
        ) from error


def refusal(directory: Path, error: OSError) -> OutputError | None:
    """As `unwritable`, if `error` is about a permission; None otherwise."""
    is_permission = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    return unwritable(directory, read_only=error.errno == errno.EROFS) if is_permission else None


def unwritable(directory: Path, *, read_only: bool) -> OutputError:
    """The error for a directory, which may be missing, in which nothing may be made; it names the one that refuses.

    read_only: the whole file system refuses.
    """
    cause = OSError(errno.EROFS if read_only else errno.EACCES, "")
    hint = "Choose another directory (-o)" + ("." if read_only else ", or change the permissions of this one.")
    place = existing(directory)
    path = place.absolute() if place == Path() else place
    return OutputError(f"cannot be written to: {reason(cause)}", path=path, hint=hint)


def existing(path: Path) -> Path:
    """`path`, or the innermost directory around it that exists."""
    return next((one for one in (path, *path.parents) if os.path.lexists(one)), path)


def _discard(temporary: Path) -> None:
    # If this fails too (the directory was removed, or is read-only now), the first error is the one to report.
    with suppress(OSError):
        temporary.unlink()


def sync_directory(directory: Path) -> None:
    """Makes the rename itself survive a crash of the machine (needed on ext4 and XFS)."""
    if os.name != "posix":  # Windows cannot open directories.
        return
    try:
        handle = os.open(directory, os.O_RDONLY)
    except PermissionError:  # A directory can be writable and not readable; the file is there.
        return
    try:
        sync(handle)
    finally:
        os.close(handle)


def sync(handle: int) -> None:
    """Writes the data of the open file to the disk, so that they survive a crash of the machine."""
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network and FUSE file systems do not support this operation.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
