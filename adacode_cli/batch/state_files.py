"""The folder `.adacode` of an output tree may hold anything: somebody has copied, linked or forged it.

Its files are written in place (the journal, claims), so whatever lies under their names is looked at before: a link
would lead the write to a file of somebody else, and a pipe would hold the run up for ever. Texts in them may hold what
no file system takes for a name, and are checked before they are used as paths.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

STATE = Path(".adacode")
"""The directory that a run keeps in each place that it fills, by which such places are known below an input."""

_OF_FILE_MANAGERS = frozenset({"thumbs.db", "desktop.ini"})

# Windows has neither; there, and against a link that is made in between, only the look before helps.
_OPEN_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class ForeignFileError(OSError):
    """What lies there is a link or no regular file; `strerror` says which."""


def opened(path: Path, flags: int) -> int:
    """A regular file that is no link, as `os.open` opens it; never waits for the other end of a pipe.

    Raises ForeignFileError for anything else, and OSError.
    """
    check_folder(path.parent)
    with suppress(FileNotFoundError):
        kind = path.lstat().st_mode
        if stat.S_ISLNK(kind):
            raise _foreign("it is a link, which is not followed here", path)
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # opening a device may do something
            raise _foreign("it is not a regular file", path)
    try:
        handle = os.open(path, flags | _OPEN_FLAGS, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # it became a link since; a pipe without a reader, or a socket
            raise _foreign("it is not a regular file", path) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _foreign("it is not a regular file", path)
    return handle


def check_folder(folder: Path) -> None:
    """Raises ForeignFileError where `.adacode`, or the folder inside it, is a link."""
    for part in (folder, folder.parent):
        if part.is_symlink():
            raise _foreign("it is in a folder that is a link, which is not followed here", part)
        if part.name == STATE.name:
            return


def holds_files(folder: Path) -> bool:
    """Whether anything lies in a folder except what file managers put there by themselves. Raises OSError."""
    names = os.listdir(folder)  # noqa: PTH208 (names are all that is wanted)
    return any(not name.startswith(".") and name.lower() not in _OF_FILE_MANAGERS for name in names)


def object_of(data: bytes) -> dict[str, Any] | None:
    """The JSON object that a line or a small file holds; None for everything else, and for numbers without a value."""
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_path(text: object) -> bool:
    """Whether a value can be the path of a file: a text without NUL that the system's encoding can write."""
    if not isinstance(text, str) or not text or "\0" in text:
        return False
    try:
        os.fsencode(text)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _foreign(what: str, path: Path) -> ForeignFileError:
    return ForeignFileError(errno.EINVAL, what, str(path))


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
