"""Writes new files into output trees, and creates their folders."""

from __future__ import annotations

import errno
import mimetypes
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from adacode_cli import atomic, formats
from adacode_cli.batch.keeping import TimesNs
from adacode_cli.batch.lease import check_leases
from adacode_cli.batch.state_files import STATE, holds_files
from adacode_cli.errors import OutputError, is_full, reason
from adacode_cli.storage import objects
from adacode_cli.storage.path import is_remote

# Formats that the tables of Python may not have.
_MEDIA_TYPES = {
    "jp2": "image/jp2",
    "jxl": "image/jxl",
    "avif": "image/avif",
    "webp": "image/webp",
    "heic": "image/heic",
}


def write_new(
    target: Path,
    data: bytes,
    times_ns: TimesNs | None = None,
    *,
    facts: Mapping[str, str] | None = None,
    replaces: objects.Replaces = objects.Replaces.ANYTHING,
) -> int:
    """Writes a file atomically, and creates its directories. Returns its stamp in a store, 0 on a disk.

    facts: its metadata in a store. replaces: which file of this name in a store is replaced. Raises OutputError, and
    JournalError if another run may write there by now.
    """
    if is_remote(target):
        kind = media_type(target)
        there = objects.write(target, data, media_type=kind, facts=facts, replaces=replaces, before=check_leases)
        return there.stamp
    make_directory(target.parent)
    try:
        atomic.write_bytes(target, data, times_ns=times_ns)
    except OutputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        make_directory(target.parent)  # The directory was removed in between.
        atomic.write_bytes(target, data, times_ns=times_ns)
    return 0


def media_type(target: Path) -> str:
    """The content type of an output, by its name."""
    format = formats.of_suffix(target.suffix)
    guessed = mimetypes.guess_type(f"a{format.suffix}" if format else target.name)[0]
    return guessed or _MEDIA_TYPES.get(format.name if format else "", "application/octet-stream")


def mark_as_output_folder(folder: Path) -> None:
    """Creates the state directory in a folder that is new or empty, which marks it as one without originals."""
    with suppress(OSError):
        if holds_files(folder):
            return
    make_directory(folder / STATE)


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
