"""The command that makes one output of a run again, for a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adacode_cli.batch.state_files import is_path
from adacode_cli.storage.path import QUERY, is_remote_text

_IN_PATTERNS = frozenset("[*?")
_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def command_for(fields: Mapping[str, Any], root: Path, words: Sequence[str]) -> str | None:
    """The command that makes the output of a journal line again; None if the line does not say enough.

    words: the command with the options that change what is written, without inputs and places.
    """
    base, given, place, path = base_of(fields), fields.get("input"), fields.get("source"), fields.get("path")
    is_at_address = is_path(path) and is_remote_text(str(path))
    if not is_path(given) or not is_path(place) or (base is None and not is_at_address) or QUERY in str(path):
        return None
    given, place, out = str(given), str(place), ["-o", str(root.absolute())]
    if given != path:  # A folder was searched.
        only = [] if "/" in place else ["--exclude", "*/*"]  # A name alone would match in all folders.
        return in_shell([*words, "--overwrite", given, *out, "--include", _pattern(place), *only])
    if "/" not in place:
        return in_shell([*words, "--overwrite", given, *out])
    # It was listed with its folders.
    listed = f"printf '%s\\0' {in_shell([str(path) if base is None else place])}"
    start = "" if base is None else f"cd {in_shell([base])} && "
    return f"{start}{listed} | {in_shell([*words, '--overwrite', *out, '--null', '--from-file', '-'])}"


def base_of(fields: Mapping[str, Any]) -> str | None:
    """The folder in which the original of a journal line has the path that its output has in the tree; None if it is
    not known, or at an address.
    """
    place, path = fields.get("source"), fields.get("path")
    if is_path(path) and is_remote_text(str(path)):
        return None
    if not is_path(place) or not is_path(path) or not str(path).endswith(f"/{place}"):
        return None
    return str(path).removesuffix(str(place)).rstrip("/") or "/"


def list_command(base: str, root: Path, words: Sequence[str]) -> str:
    """The command that makes outputs of the tree `root` again, whose originals a list names by their paths in `base`.

    The name of the list is to be added.
    """
    return f"cd {in_shell([base])} && {in_shell([*words, '--overwrite', '-o', str(root.absolute()), '--from-file'])}"


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
