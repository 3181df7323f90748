"""Safe access to the folder `.adacode` of an output tree, which may have been copied, linked or forged.

Its files are written in place (the journal, claims), so they are checked before they are opened: a link would lead the
write to another file, and a pipe would block the run forever. Texts in them may not be valid file names, and are
checked before they are used as paths.
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
"""The state directory of a run in each of its output folders, by which these are recognised below an input."""

_OF_FILE_MANAGERS = frozenset({"thumbs.db", "desktop.ini"})

# Windows has neither flag; there only the check before opening protects.
_OPEN_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class ForeignFileError(OSError):
    """The path is a link or not a regular file; `strerror` says which."""


def opened(path: Path, flags: int) -> int:
    """Opens a regular file that is not a link, as `os.open` does; it never waits for a pipe.

    Raises ForeignFileError for anything else, and OSError.
    """
    check_folder(path.parent)
    with suppress(FileNotFoundError):
        kind = path.lstat().st_mode
        if stat.S_ISLNK(kind):
            raise _foreign("it is a link, and adacode does not follow links here", path)
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # Opening a device may have an effect.
            raise _foreign("it is not a regular file", path)
    try:
        handle = os.open(path, flags | _OPEN_FLAGS, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a new link, pipe or socket
            raise _foreign("it is not a regular file", path) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _foreign("it is not a regular file", path)
    return handle


def check_folder(folder: Path) -> None:
    """Raises ForeignFileError if `.adacode`, or the folder in it, is a link."""
    for part in (folder, folder.parent):
        if part.is_symlink():
            raise _foreign("its folder is a link, and adacode does not follow links here", part)
        if part.name == STATE.name:
            return


def holds_files(folder: Path) -> bool:
    """Whether a folder contains files other than those of file managers. Raises OSError."""
    names = os.listdir(folder)  # noqa: PTH208 (only names are needed)
    return any(not name.startswith(".") and name.lower() not in _OF_FILE_MANAGERS for name in names)


def object_of(data: bytes) -> dict[str, Any] | None:
    """The JSON object in a line or a small file; None for other data, and for NaN and infinite numbers."""
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_path(text: object) -> bool:
    """Whether a value can be the path of a file: text without NUL that the file system's encoding can represent."""
    if not isinstance(text, str) or not text or "\0" in text:
        return False
    try:
        os.fsencode(text)
    except UnicodeEncodeError:  # For example half of a surrogate pair.
        return False
    return True


def _foreign(what: str, path: Path) -> ForeignFileError:
    return ForeignFileError(errno.EINVAL, what, str(path))


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
