"""Writes new files into output trees, and creates their folders."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from adacode_cli import atomic
from adacode_cli.batch.keeping import TimesNs
from adacode_cli.batch.state_files import STATE, holds_files
from adacode_cli.errors import OutputError, is_full, reason


def write_new(target: Path, data: bytes, times_ns: TimesNs | None = None) -> None:
    """Writes a file atomically, and creates its directories. Raises OutputError."""
    make_directory(target.parent)
    try:
        atomic.write_bytes(target, data, times_ns=times_ns)
    except OutputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        make_directory(target.parent)  # The directory was removed in between.
        atomic.write_bytes(target, data, times_ns=times_ns)


def mark_as_output_folder(folder: Path) -> None:
    """Creates the state directory in a folder that is new or empty, which marks it as one without originals."""
    with suppress(OSError):
        if holds_files(folder):
            return
    make_directory(folder / STATE)


def make_directory(directory: Path) -> None:
    """Creates a directory and its parents. Raises OutputError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise atomic.refusal(directory, error) or _not_created(directory, error) from error


def check_directories(directories: Iterable[Path]) -> None:
    """Raises OutputError for a directory in which no file could be made; nothing is written to find that out.

    The directories may be missing.
    """
    for directory in directories:
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
