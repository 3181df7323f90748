"""`--from-file`: paths out of a list, one a line or ended by NULs, as bytes, because names need not be text."""

from __future__ import annotations

import os
import sys
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from adacode_cli import atomic
from adacode_cli.errors import InputError, UsageError

_STDIN = "-"
_MAX_BYTES = 200_000_000
"""Of a list: two million paths of a hundred bytes."""
_PIECE_BYTES = 1 << 20


def read_paths(source: str, *, null: bool) -> list[Path]:
    """The paths that the file `source`, or standard input for "-", lists; empty entries are left out.

    Raises UsageError where a terminal would have to be typed into, InputError for a list that cannot be read or is
    empty.
    """
    data = _stdin() if source == _STDIN else _file(Path(source))
    entries = data.split(b"\0") if null else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    if not null and b"\0" in data:
        raise UsageError(f"--from-file {source} holds NULs", hint="Add --null: its entries end with them.")
    paths = [Path(os.fsdecode(entry)) for entry in entries if entry]
    if not paths:
        raise InputError("lists no inputs", path=source, hint="Write one path a line into it.")
    return paths


def _stdin() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        hint = "Pipe one in: find photos -print0 | adacode … --from-file - --null -o out"
        raise UsageError("--from-file - waits for a list on standard input, and there is none", hint=hint)
    return _list_bytes(sys.stdin.buffer, _STDIN)


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return _list_bytes(file, str(path))
    except OSError as error:
        raise InputError(f"cannot be read: {atomic.reason(error)}", path=path, hint="Check the name.") from error


def _list_bytes(file: BinaryIO, name: str) -> bytes:
    read = BytesIO()
    while piece := file.read(_PIECE_BYTES):
        if read.tell() + len(piece) > _MAX_BYTES:
            hint = "Check that it is a list of paths, or split it."
            raise InputError(f"has more than the {_MAX_BYTES // 10**6} MB that a list may have", path=name, hint=hint)
        read.write(piece)
    return read.getvalue()
