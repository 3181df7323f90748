"""Writes new files into output trees, and creates their folders."""

from __future__ import annotations

import errno
import mimetypes
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from adacode_cli import atomic, formats
from adacode_cli.batch.contents import content_of, holds
from adacode_cli.batch.keeping import TimesNs
from adacode_cli.batch.lease import check_leases
from adacode_cli.batch.state_files import STATE, holds_files
from adacode_cli.errors import OutputError, is_full, reason
from adacode_cli.storage import listing, objects
from adacode_cli.storage.path import RemotePath, is_remote
from adacode_cli.storage.refusals import EXISTS

# Formats that the tables of Python may not have.
_MEDIA_TYPES = {
    "jp2": "image/jp2",
    "jxl": "image/jxl",
    "avif": "image/avif",
    "webp": "image/webp",
    "heic": "image/heic",
}
_MARK = "beside.json"


def write_new(
    target: Path,
    data: bytes,
    times_ns: TimesNs | None = None,
    *,
    facts: Mapping[str, str] | None = None,
    replaces: objects.Replaces = objects.Replaces.ANYTHING,
) -> int:
    """Writes a file atomically, and creates its directories. Returns its stamp in a store, 0 on a disk.

    facts: its metadata in a store. replaces: which file of this name in a store is replaced; on a disk, which has no
    such facts, OWN is a file with the same content. Raises OutputError, and JournalError if another run may write there
    by now.
    """
    if is_remote(target):
        kind = media_type(target)
        there = objects.write(target, data, media_type=kind, facts=facts, replaces=replaces, before=check_leases)
        return there.stamp
    if replaces is objects.Replaces.OWN and os.path.lexists(target) and not holds(target, content_of(data)):
        hint = "Move or remove this file, and run the same command again. --overwrite would replace it."
        raise OutputError(f"{EXISTS}, and no run is known to have made it", path=target, hint=hint)
    make_directory(target.parent)
    try:
        atomic.write_bytes(target, data, times_ns=times_ns)
    except OutputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        make_directory(target.parent)  # The directory was removed in between.
        atomic.write_bytes(target, data, times_ns=times_ns)
    return 0


def write_again(target: Path, data: bytes) -> None:
    """Writes a file that can be made again at any time: as `write_new`, but it may be lost if the machine crashes."""
    if is_remote(target):
        write_new(target, data)
        return
    make_directory(target.parent)
    atomic.write_bytes(target, data, durable=False)


def write_under_free_name(target: Path, data: bytes) -> Path:
    """Writes `data` without replacing a file, as `atomic.write_under_free_name` does, and creates the directories.

    Raises OutputError, and JournalError as `write_new` does.
    """
    if not is_remote(target):
        make_directory(target.parent)
        return atomic.write_under_free_name(target, data)
    check_leases()
    names = (target.with_name(one.name) for one in atomic.numbered(target))
    return next(path for path in names if is_remote(path) and objects.creates(path, data, media_type(target)))


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Removes the temporary files that killed processes left beside those of the paths that are on a disk."""
    atomic.remove_leftovers(*(path for path in paths if not is_remote(path)))


def media_type(target: Path) -> str:
    """The content type of an output, by its name."""
    format = formats.of_suffix(target.suffix)
    guessed = mimetypes.guess_type(f"a{format.suffix}" if format else target.name)[0]
    return guessed or _MEDIA_TYPES.get(format.name if format else "", "application/octet-stream")


def mark_as_output_folder(folder: Path) -> None:
    """Creates the state directory in a folder that is new or empty, which marks it as one without originals.

    Raises OutputError.
    """
    if is_remote(folder):
        _mark_in_store(folder)
        return
    with suppress(OSError):
        if holds_files(folder):
            return
    make_directory(folder / STATE)


@cache
def _mark_in_store(folder: RemotePath) -> None:
    """Writes an object into the state directory, without which there is none. A process looks once."""
    if not listing.first_entries(folder, OutputError):
        content = b'{"holds": "files that adacode wrote beside its outputs"}\n'
        objects.creates(folder / STATE / _MARK, content, "application/json")


def holds_files_of_others(folder: Path) -> bool:
    """Whether a folder contains files and is not marked as one of outputs. Raises OutputError for one in a store."""
    if is_remote(folder):
        entries = listing.first_entries(folder, OutputError)
        return bool(entries) and not listing.first_entries(folder / STATE, OutputError)
    try:
        return holds_files(folder) and not (folder / STATE).is_dir()
    except OSError:  # It does not exist yet; if it cannot be read, the error is reported when it is written to.
        return False


def make_directory(directory: Path) -> None:
    """Creates a directory and its parents; a store needs none. Raises OutputError."""
    if is_remote(directory):
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise atomic.refusal(directory, error) or _not_created(directory, error) from error


def check_directories(directories: Iterable[Path]) -> None:
    """Raises OutputError for a directory in which no file could be made; nothing is written to find that out.

    The directories may be missing.
    """
    for directory in directories:
        if is_remote(directory):  # The lease is the first file that is written there.
            continue
        place = atomic.existing(directory)
        if not place.is_dir():
            raise _not_created(directory, OSError(errno.ENOTDIR, ""))
        if not os.access(place, os.W_OK | os.X_OK):
            raise atomic.unwritable(place, read_only=_is_read_only(place))


def _not_created(directory: Path, error: OSError) -> OutputError:
    hint = "Choose a writable directory with -o and run the same command again."
    if is_full(error):
        hint = "Free some disk space, or choose another output directory (-o)."
    return OutputError(f"the directory cannot be created: {reason(error)}", path=directory, hint=hint)


def _is_read_only(directory: Path) -> bool:
    """Whether the file system says that nothing on it can be changed; False where there is no such information."""
    if not hasattr(os, "statvfs"):
        return False
    with suppress(OSError):
        return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    return False
