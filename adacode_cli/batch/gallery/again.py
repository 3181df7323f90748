"""The command that makes one output of a run again, for a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from adacode_cli.batch.state_files import is_path
from adacode_cli.storage.path import QUERY, is_remote_text

DOWNLOADS = "%USERPROFILE%\\Downloads\\" if os.name == "nt" else "~/Downloads/"
"""Where a browser saves a list, for the shell."""
_SPECIAL_ON_WINDOWS = frozenset('&|<>^%"()!\n\r')
_NEVER_ON_WINDOWS = frozenset('%"!')  # Its Command Prompt reads them in quotes too.
_IN_PATTERNS = frozenset("[*?")
_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def command_for(
    fields: Mapping[str, Any], root: Path, words: Sequence[str], *, windows: bool = os.name == "nt"
) -> str | None:
    """The command that makes the output of a journal line again; None if the line does not say enough.

    words: the command with the options that change what is written, without inputs and places. windows: the shell is
    that of Windows.
    """
    base, given, place, path = base_of(fields), fields.get("input"), fields.get("source"), fields.get("path")
    is_at_address = is_path(path) and is_remote_text(str(path))
    if not is_path(given) or not is_path(place) or (base is None and not is_at_address) or QUERY in str(path):
        return None
    given, place, out = str(given), str(place), ["-o", str(root.absolute())]
    if windows and not _can_be_typed(given, place, base or "", *out, *words):
        return None
    if given != path or "/" not in place:
        only = [] if "/" in place else ["--exclude", "*/*"]  # A name alone would match in all folders.
        found = [] if given == path else ["--include", _pattern(place), *only]  # A folder was searched.
        return in_shell([*words, "--overwrite", given, *out, *found], windows=windows)
    # It was listed with its folders.
    if windows:
        if base is None or _SPECIAL_ON_WINDOWS.intersection(place):
            return None
        again = in_shell([*words, "--overwrite", *out, "--from-file", "-"], windows=True)
        return f"{_into(base, windows=True)} && (echo {place}) | {again}"
    listed = f"printf '%s\\0' {in_shell([str(path) if base is None else place])}"
    start = "" if base is None else f"{_into(base, windows=False)} && "
    return f"{start}{listed} | {in_shell([*words, '--overwrite', *out, '--null', '--from-file', '-'])}"


def base_of(fields: Mapping[str, Any]) -> str | None:
    """The folder in which the original of a journal line has the path that its output has in the tree; None if it is
    not known, or at an address.

    Places have forward slashes; paths of Windows have backslashes.
    """
    place, path = fields.get("source"), fields.get("path")
    if not is_path(place) or not is_path(path) or is_remote_text(str(path)):
        return None
    place, path = str(place), str(path)
    if PureWindowsPath(path).drive and not path.startswith("/"):
        base = path.removesuffix(place.replace("/", "\\"))
        return None if base == path or not base.endswith("\\") else str(PureWindowsPath(base))
    if not path.endswith(f"/{place}"):
        return None
    return path.removesuffix(place).rstrip("/") or "/"


def list_command(base: str, root: Path, words: Sequence[str], *, windows: bool = os.name == "nt") -> str:
    """The command that makes outputs of the tree `root` again, whose originals a list names by their paths in `base`.

    The name of the list is to be added. windows: the shell is that of Windows. "" if it cannot be typed there.
    """
    again = [*words, "--overwrite", "-o", str(root.absolute()), "--from-file"]
    if windows and not _can_be_typed(base, *again):
        return ""
    return f"{_into(base, windows=windows)} && {in_shell(again, windows=windows)}"


def _into(folder: str, *, windows: bool) -> str:
    """The command that makes a folder the working directory; on Windows it may be on another drive."""
    return f"cd {'/d ' if windows else ''}{in_shell([folder], windows=windows)}"


def _pattern(place: str) -> str:
    """A pattern for `--include` that matches this place alone."""
    return "".join(f"[{char}]" if char in _IN_PATTERNS else char for char in place)


def in_shell(words: Sequence[str], *, windows: bool = os.name == "nt") -> str:
    """The words as one line for a shell, in visible characters: bash, zsh and others read what $'…' escapes."""
    return " ".join(map(_on_windows if windows else _in_shell, words))


def _can_be_typed(*words: str) -> bool:
    """Whether the Command Prompt of Windows takes these words for nothing else, if `in_shell` has written them.

    Journals may be copied or forged, so a name must not begin another command.
    """
    return all(word.isprintable() and not _NEVER_ON_WINDOWS.intersection(word) for word in words)


def _on_windows(word: str) -> str:
    quoted = subprocess.list2cmdline([word])
    if quoted.startswith('"') or not _SPECIAL_ON_WINDOWS.intersection(word):
        return quoted
    trailing = len(word) - len(word.rstrip("\\"))  # These would escape the last quote.
    return f'"{word}{word[len(word) - trailing :]}"'


def _in_shell(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    try:
        return "$'" + "".join(map(_escaped, word)) + "'"
    except UnicodeEncodeError:  # half of a surrogate pair, which no file has in its name
        return shlex.quote(word.encode("ascii", "replace").decode())


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))
