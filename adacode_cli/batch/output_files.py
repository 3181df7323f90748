"""Writes new files into output trees, and creates their folders."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from adacode_cli import atomic
from adacode_cli.batch.keeping import TimesNs
from adacode_cli.batch.state_files import STATE, holds_files
from adacode_cli.errors import OutputError, translated


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
    hint = "Choose a writable directory with -o and run the same command again."
    with translated(OutputError, "the directory cannot be created", directory, hint=hint):
        directory.mkdir(parents=True, exist_ok=True)
