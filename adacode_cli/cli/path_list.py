"""`--from-file`: paths out of a list, one a line or ended by NULs, as bytes, because names need not be text.

Programs on Windows (PowerShell, Notepad) write lists as UTF-16, or as UTF-8, with a mark at the beginning that says so.
"""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from adacode_cli.errors import InputError, UsageError, translated

_STDIN = "-"
_ANEW = "Write the list again, in UTF-8."
_MAX_BYTES = 200_000_000
"""Of a list: two million paths of a hundred bytes."""
_PIECE_BYTES = 1 << 20
_LOOKED_AT_BYTES = 1 << 16
# UTF-32 first: in little-endian order it begins with all of UTF-16's mark.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_paths(source: str, *, null: bool) -> list[Path]:
    """The paths that the file `source`, or standard input for "-", lists; empty entries are left out.

    A list that begins with a byte order mark is text in UTF-8, UTF-16 or UTF-32; any other is bytes. Raises UsageError
    where a terminal would have to be typed into, InputError for a list that cannot be read, is empty, is not what its
    mark says, or looks like UTF-16 and has no mark.
    """
    data = _without_mark(_stdin() if source == _STDIN else _file(Path(source)), source)
    if _looks_like_utf16(data[:_LOOKED_AT_BYTES], null=null):
        raise InputError("looks like UTF-16 without a byte order mark", path=source, hint=_ANEW)
    entries = data.split(b"\0") if null else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    if not null and b"\0" in data:
        raise UsageError(f"--from-file {source} holds NULs", hint="Add --null: its entries end with them.")
    paths = [Path(os.fsdecode(entry)) for entry in entries if entry]
    if not paths:
        raise InputError("lists no inputs", path=source, hint="Write one path a line into it.")
    return paths


def _without_mark(data: bytes, source: str) -> bytes:
    """The list in UTF-8 without a mark, if it has one; otherwise as it is."""
    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", ""))
    if mark in (b"", codecs.BOM_UTF8):  # what follows may be names that are no text, as without the mark
        return data.removeprefix(mark)
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError as error:
        message = f"begins as a list in {encoding.upper()}, and is not one: byte {error.start} cannot be read"
        raise InputError(message, path=source, hint=_ANEW) from error


def _looks_like_utf16(head: bytes, *, null: bool) -> bool:
    """Whether a list that begins with `head` is what `cmd /u` writes, rather than names that are ended by NULs.

    With `null`, entries may be any names, and a line feed alone says nothing. What counts is what no list of names has:
    a carriage return and a line feed as two entries, or nothing but entries of one letter, and "." among them.
    """
    if b"\0" not in head:
        return False
    for encoding in ("utf-16-le", "utf-16-be"):
        with suppress(UnicodeDecodeError):
            text = codecs.getincrementaldecoder(encoding)().decode(head)
            has_lines = "\r\n" in text or ("\n" in text and not null)
            if "\0" not in text and (has_lines or ("." in text and text.isascii())):
                return True
    return False


def _stdin() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        hint = "Pipe one in: find photos -print0 | adacode … --from-file - --null -o out"
        raise UsageError("--from-file - waits for a list on standard input, and there is none", hint=hint)
    return _list_bytes(sys.stdin.buffer, _STDIN)


def _file(path: Path) -> bytes:
    with translated(InputError, "cannot be read", path, hint="Check the name."), path.open("rb") as file:
        return _list_bytes(file, str(path))


def _list_bytes(file: BinaryIO, name: str) -> bytes:
    read = BytesIO()
    while piece := file.read(_PIECE_BYTES):
        if read.tell() + len(piece) > _MAX_BYTES:
            hint = "Check that it is a list of paths, or split it."
            raise InputError(f"has more than the {_MAX_BYTES // 10**6} MB that a list may have", path=name, hint=hint)
        read.write(piece)
    return read.getvalue()
