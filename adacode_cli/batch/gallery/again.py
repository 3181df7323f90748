"""The command that makes one output of a run again, for a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adacode_cli.batch.state_files import is_path

_IN_PATTERNS = frozenset("[*?")
_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def command_for(fields: Mapping[str, Any], root: Path, words: Sequence[str]) -> str | None:
    """The command that makes the output of a journal line again; None if the line does not say enough.

    words: the command with the options that change what is written, without inputs and places.
    """
    places = [fields.get(name) for name in ("input", "source", "path", "target")]
    if not all(map(is_path, places)):
        return None
    given, place, path, target = map(str, places)
    if given != path:  # A folder was searched.
        inputs = [given, "-o", str(root.absolute()), "--include", _pattern(place)]
        inputs += [] if "/" in place else ["--exclude", "*/*"]  # A name alone would match in all folders.
    elif "/" not in place:
        inputs = [given, "-o", str(root.absolute())]
    else:  # It was listed with its folders.
        inputs = [given, "-o", str(root.absolute() / target)]
    return in_shell([*words, "--overwrite", *inputs])


def _pattern(place: str) -> str:
    """A pattern for `--include` that matches this place alone."""
    return "".join(f"[{char}]" if char in _IN_PATTERNS else char for char in place)


def in_shell(words: Sequence[str]) -> str:
    """The words as one line for a shell, in visible characters: bash, zsh and others read what $'…' escapes."""
    if os.name == "nt":
        return subprocess.list2cmdline(words)
    return " ".join(map(_in_shell, words))


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
