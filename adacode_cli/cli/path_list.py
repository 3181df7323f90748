"""`--from-file`: paths from a list, one on each line or ended by NULs, read as bytes, because names need not be text.

Programs on Windows (PowerShell, Notepad) write lists in UTF-16 or UTF-8, with a byte order mark at the beginning.
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
from adacode_cli.storage.path import is_address, is_remote, path_of

_STDIN = "-"
_WRITE_AGAIN_HINT = "Write the list again, in UTF-8."
_MAX_BYTES = 200_000_000
"""Of a list: two million paths of a hundred bytes."""
_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 1 << 16
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
    for an address, and if standard input is a terminal, and InputError for a list that cannot be read, is empty, is not
    in the encoding of its byte order mark, or looks like UTF-16 without one.
    """
    if is_address(source):
        hint = "Download the list first, or pipe it in: --from-file -."
        raise UsageError("--from-file must be a local file, not an address; it may list addresses", hint=hint)
    name = "standard input" if source == _STDIN else source
    data = _without_mark(_stdin() if source == _STDIN else _file(Path(source)), name)
    if _looks_like_utf16(data[:_HEAD_BYTES], null=null):
        raise InputError("looks like UTF-16 without a byte order mark", path=name, hint=_WRITE_AGAIN_HINT)
    entries = data.split(b"\0") if null else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    if not null and b"\0" in data:
        raise UsageError(f"--from-file {source} contains NUL bytes", hint="If its entries end with NUL, add --null.")
    paths = [_listed(os.fsdecode(entry)) for entry in entries if entry]
    if not paths:
        raise InputError("lists no inputs", path=name, hint="Write one path on each line of it.")
    return paths


def _listed(text: str) -> Path:
    path = path_of(text)
    if is_remote(path):
        path.is_known_folder = False  # A list names files; nothing asks the store for each of them.
    return path


def _without_mark(data: bytes, name: str) -> bytes:
    """The list in UTF-8 without a mark, if it has one; otherwise as it is."""
    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", ""))
    if mark in (b"", codecs.BOM_UTF8):  # the names that follow need not be valid text, as in a list without the mark
        return data.removeprefix(mark)
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError as error:
        message = f"has the byte order mark of {encoding.upper()}, but byte {error.start} cannot be read as such"
        raise InputError(message, path=name, hint=_WRITE_AGAIN_HINT) from error


def _looks_like_utf16(head: bytes, *, null: bool) -> bool:
    """Whether a list that begins with `head` is UTF-16 as `cmd /u` writes it, and not names that are ended by NULs.

    With `null`, entries may be any names, and a line feed alone proves nothing. The signs are what no list of names
    has: a carriage return and a line feed as two entries, or only entries of one letter, with "." among them.
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
        hint = "Pipe a list in: find photos -print0 | adacode … --from-file - --null -o out"
        raise UsageError("--from-file - needs a list on standard input, which is a terminal", hint=hint)
    return _list_bytes(sys.stdin.buffer, _STDIN)


def _file(path: Path) -> bytes:
    with translated(InputError, "cannot be read", path, hint="Check the name."), path.open("rb") as file:
        return _list_bytes(file, str(path))


def _list_bytes(file: BinaryIO, name: str) -> bytes:
    read = BytesIO()
    while piece := file.read(_CHUNK_BYTES):
        if read.tell() + len(piece) > _MAX_BYTES:
            hint = "Check that it is a list of paths, or split it."
            raise InputError(f"is larger than {_MAX_BYTES // 10**6} MB, the limit for a list", path=name, hint=hint)
        read.write(piece)
    return read.getvalue()
