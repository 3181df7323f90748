"""Reads `adacode.toml`: where it is, what is in it, and on which line of it a setting stands.

What a setting means is known to `cli.settings`. Here a file is text that becomes tables. Every fault of it becomes a
UsageError that names the file and, where it is known, the line.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from adacode_cli.errors import UsageError, reason

NAME = "adacode.toml"
# In the place of a file's path: no file is read, and none is looked for.
NONE = "none"
MAX_BYTES = 1_000_000
# In a line: the time to parse a name grows with the square of its parts, and 50,000 of them take minutes.
_MAX_DOTS = 1000
_SHARED_FILE = "pyproject.toml"
_OWN_TABLE = ("tool", "adacode")

_HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PLACE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)$")

Keys = tuple[str, ...]


@dataclass(frozen=True)
class ConfigFile:
    """A file of settings as it was read.

    is_found: nobody named the file; it was found from the working directory upwards.
    tables: its content, without the tables of other programs.
    """

    path: Path
    is_found: bool
    text: str
    table: dict[str, object]

    def place(self, keys: Keys) -> str:
        """Where the setting `keys` stands: "adacode.toml, line 3", or the file alone if its line is not known."""
        line = self.line_of(keys)
        return f"{self.path}, line {line}" if line else str(self.path)

    def line_of(self, keys: Keys) -> int | None:
        """The line, from 1, on which the setting `keys` begins, or the innermost table around it; None if unknown."""
        best, best_line = 0, None
        for number, path in _lines(self.text):
            own = path[2:] if path[:2] == _OWN_TABLE else path
            if keys[: len(own)] == own and len(own) > best:
                best, best_line = len(own), number
        return best_line

    def fault(self, keys: Keys, problem: str, hint: str) -> UsageError:
        """The error for a setting that cannot be used."""
        line = self.line_of(keys)
        return UsageError(f"line {line}: {problem}" if line else problem, path=self.path, hint=hint)


def found_file() -> Path | None:
    """The first file or dead link `adacode.toml` in the working directory and the folders above it, or None."""
    try:
        folder = Path.cwd()
    except OSError:  # The working directory was removed; commands report this.
        return None
    # Not Path.is_file, which raises where a folder may not be searched.
    paths = (each / NAME for each in (folder, *folder.parents))
    # A link to a file that does not exist counts: reading it reports this.
    return next((path for path in paths if os.path.isfile(path) or _is_dead_link(path)), None)  # noqa: PTH113


def _is_dead_link(path: Path) -> bool:
    return os.path.islink(path) and not os.path.exists(path)  # noqa: PTH114, PTH110


def read_config(named: str | None) -> ConfigFile | None:
    """The file that `named` names; without a name, the one that is found. None for "none", and if none is found.

    Raises UsageError for an empty name, and for a file that cannot be read or is no TOML.
    """
    if named == NONE:
        return None
    if named == "":
        hint = f"Name a file, or leave out --config; --config {NONE} reads no file."
        raise UsageError("--config names no file: its value is empty", hint=hint)
    path = found_file() if named is None else Path(named)
    if path is None:
        return None
    text = _text_of(path)
    return ConfigFile(path, named is None, text, _own_table(path, _parsed(path, text)))


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) <= MAX_BYTES:
            return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("is not a text in UTF-8", path=path, hint="Save it in UTF-8.") from error
    except (OSError, ValueError) as error:  # ValueError: no file can have this name
        if _is_dead_link(path):
            hint = f"Remove or mend the link; --config {NONE} uses no file."
            raise UsageError("is a link to a file that does not exist", path=path, hint=hint) from error
        problem = reason(error) if isinstance(error, OSError) else "no file can have this name"
        hint = f"Check the path that --config names; --config {NONE} uses no file."
        raise UsageError(f"cannot be read: {problem}", path=path, hint=hint) from error
    raise UsageError(f"has more than {MAX_BYTES // 1_000_000} MB", path=path, hint="Name a file of settings.")


def _parsed(path: Path, text: str) -> dict[str, object]:
    hint = 'A setting is a line such as: format = "png"'
    for number, content in enumerate(text.splitlines(), 1):
        if content.count(".") > _MAX_DOTS:
            raise UsageError(f"line {number} has more than {_MAX_DOTS} dots", path=path, hint=hint)
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise UsageError("has too many brackets within one another", path=path, hint=hint) from error
    except ValueError as error:
        place = _PLACE.search(message := str(error))
        problem = _PLACE.sub("", message)
        line = int(place[1]) if place and place[1] else len(text.splitlines())
        raise UsageError(f"line {line} is no TOML: {problem[:1].lower()}{problem[1:]}", path=path, hint=hint) from error


def _own_table(path: Path, tables: dict[str, object]) -> dict[str, object]:
    """The tables of this program: those of [tool.adacode] if there is that table, otherwise all."""
    tool = tables.get("tool")
    inner = tool.get("adacode") if isinstance(tool, dict) else None
    if inner is None:
        return {} if path.name == _SHARED_FILE else tables
    if not isinstance(inner, dict):
        hint = "Write the settings below a line [tool.adacode]."
        raise UsageError("has no table [tool.adacode], but a single value of this name", path=path, hint=hint)
    if len(tables) > 1 and path.name != _SHARED_FILE:
        hint = "Write all settings within [tool.adacode], or all without it."
        raise UsageError("has settings within [tool.adacode] and outside of it", path=path, hint=hint)
    return inner


def _lines(text: str) -> list[tuple[int, Keys]]:
    """(number, keys) of each line that begins a table or a setting. Lines within long texts may be among them."""
    found: list[tuple[int, Keys]] = []
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            table = _keys(header[1])
            found.append((number, table))
        elif key := _KEY.match(line):
            found.append((number, (*table, *_keys(key[1]))))
    return found


def _keys(text: str) -> Keys:
    return tuple(part.strip().strip("\"'") for part in text.split("."))
