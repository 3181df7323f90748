"""What a file of settings or a preset means: which value each option of each command gets from it, and from where.

A value is checked here as the command line checks it, by the option itself. So a wrong value is reported with its place
in the file, even if another command runs. A file that nobody named may set only the options in `IN_FOUND_FILES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from difflib import get_close_matches
from typing import Any, TypeAlias

import typer

from adacode_cli.cli.alternatives import overruled
from adacode_cli.cli.boundary import ClickException, help_hint, in_our_words
from adacode_cli.cli.config_file import NONE, ConfigFile, Keys
from adacode_cli.cli.slips import without_opposites
from adacode_cli.cli.usage_text import expectation
from adacode_cli.errors import UsageError

# The classes of click that Typer includes have no public names.
Command: TypeAlias = Any
Option: TypeAlias = Any
Words = tuple[str, ...]

PRESET = "preset"
PRESETS: dict[str, dict[str, object]] = {
    "archive": {"format": "tiff", "strict": True, "preserve-times": True},
    "web": {"format": "webp", "quality": 80},
    "print": {"format": "tiff", "color-fix": "low-frequency"},
}
# Settings outside of every table hold for these commands.
RESTORING = ("sr", "inpaint", "reconstruct")

# Somebody else may have put a file among the photographs. What it sets must do no more than change what the results are
# like, within what every run checks: it must not name a file or an address, have anything replaced, left out or not
# written, weaken a check or a limit, or hide a message.
IN_FOUND_FILES = frozenset(
    {
        *("code-levels", "color-fix", "denoise", "device", "exemplars", "feather", "format", "grow", "height"),
        *("if-too-large", "jobs", "keep-suffix", "long-edge", "mask-alpha", "mask-color", "mask-tolerance"),
        *(
            "megapixels",
            "no-provenance",
            "precision",
            "preserve-times",
            PRESET,
            "quality",
            "scale",
            "short-edge",
            "strength",
            "strict",
        ),
        *("suffix", "tile", "tiling", "verbose", "width"),
    }
)


@dataclass(frozen=True)
class Setting:
    """The value of one option, as the command line would get it, and the place where it was set."""

    value: object
    place: str


Settings = dict[str, Setting]


def long_name(option: Option) -> str:
    """The option's name in files: "keep-suffix" for --keep-suffix."""
    return next(str(name) for name in option.opts if name.startswith("--")).removeprefix("--")


def options_of(command: Command) -> dict[str, Option]:
    """The options of a command by their names in files."""
    options = [each for each in command.params if each.opts[0].startswith("-")]
    return {long_name(option): option for option in options}


def has_presets(words: Words) -> bool:
    """Whether presets are for this command: ("sr",) is a command, ("eval", "sr") is another."""
    return words in [(name,) for name in RESTORING]


def commands_of(command: Command, words: Words = ()) -> Iterator[tuple[Words, Command]]:
    """Every command below `command` that can be run, with the words that call it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    for name, child in inner.items():
        yield from commands_of(child, (*words, name))


def preset_settings(name: str) -> Settings:
    """The settings of a preset by options' names. Raises UsageError for an unknown name."""
    if name not in PRESETS:
        problem = f"there is no preset {name!r}{nearest(name, PRESETS)}"
        raise UsageError(problem, hint=f"Choose one of {', '.join(PRESETS)}.")
    return {option: Setting(_as_typed(value), f"preset {name}") for option, value in PRESETS[name].items()}


class Reader:
    """Reads the settings in a file for the commands of the program whose root command is `root`."""

    def __init__(self, file: ConfigFile, root: Command, context: typer.Context) -> None:
        self._file = file
        self._context = context
        self._commands = dict(commands_of(root))
        self._root = root

    def settings(self) -> dict[Words, Settings]:
        """The settings for each command, by options' names. Raises UsageError for the first that cannot be used."""
        found: dict[Words, Settings] = {words: {} for words in self._commands}
        shared = {key: value for key, value in self._file.table.items() if not isinstance(value, dict)}
        self._refuse_twins((), shared)
        for key, value in shared.items():
            self._share(key, value, found)
        for key, value in self._file.table.items():
            if isinstance(value, dict):
                self._read(self._root, (key,), value, found)
        return found

    def _share(self, key: str, value: object, found: dict[Words, Settings]) -> None:
        """Adds a setting that stands outside of every table to the commands that have the option."""
        users = [(name,) for name in RESTORING if _plain(key) in self._names((name,))]
        if not users:
            known = {name for words in RESTORING for name in self._names((words,))}
            raise self._unknown((key,), f"there is no option {key!r}", key, known)
        for words in users:
            self._set((key,), words, value, found[words])

    def _read(self, parent: Command, keys: Keys, table: Mapping[str, object], found: dict[Words, Settings]) -> None:
        command = parent.commands.get(keys[-1])
        if command is None:
            problem = f"there is no command '{' '.join(keys)}' for the table [{'.'.join(keys)}]"
            raise self._unknown(keys, problem, keys[-1], parent.commands)
        if hasattr(command, "commands"):
            for key, value in table.items():
                if not isinstance(value, dict):
                    tables = ", ".join(f"[{'.'.join((*keys, name))}]" for name in command.commands)
                    problem = f"{key!r} stands in [{'.'.join(keys)}], which is no command"
                    raise self._file.fault((*keys, key), problem, f"Write it into one of {tables}.")
                self._read(command, (*keys, key), value, found)
            return
        self._refuse_twins(keys, table)
        own: Settings = {}
        for key, value in table.items():
            if _plain(key) not in self._names(keys):
                problem = f"adacode {' '.join(keys)} has no option {key!r}"
                raise self._unknown((*keys, key), problem, key, self._names(keys))
            self._set((*keys, key), keys, value, own)
        found[keys] = _counting(found[keys], own)

    def _refuse_twins(self, keys: Keys, table: Iterable[str]) -> None:
        known: dict[str, str] = {}
        for key in table:
            if (other := known.setdefault(_plain(key), key)) != key:
                raise self._file.fault((*keys, key), f"{key!r} is the same option as {other!r}", "Remove one of them.")

    def _names(self, words: Words) -> set[str]:
        names = set(options_of(self._commands[words]))
        return names | {PRESET} if has_presets(words) else names

    def _set(self, keys: Keys, words: Words, value: object, settings: Settings) -> None:
        name = _plain(keys[-1])
        if self._file.is_found and name not in IN_FOUND_FILES:
            hint = (
                f"If you trust the file, name it: --config {self._file.path}. Otherwise --config {NONE} leaves it out. "
                f"--{name} can be given on the command line."
            )
            problem = f"{keys[-1]!r} may not stand in a file that was found, only in one that --config names"
            raise self._file.fault(keys, problem, hint)
        self._check(keys, words, name, value)
        settings[name] = Setting(_as_typed(value), self._file.place(keys))

    def _check(self, keys: Keys, words: Words, name: str, value: object) -> None:
        hint = help_hint(f"adacode {' '.join(words)}")
        if name == PRESET:
            if value not in PRESETS:
                near = nearest(str(value), PRESETS)
                raise self._file.fault(
                    keys, f"there is no preset {value!r}{near}", f"Choose one of {', '.join(PRESETS)}."
                )
            return
        option = options_of(self._commands[words])[name]
        if problem := _wrong_type(option, value):
            raise self._file.fault(keys, f"the value of {keys[-1]!r} must be {problem}, not {_shown(value)}", hint)
        try:
            option.process_value(self._context, _as_typed(value))
        except ClickException as error:
            must = expectation(self._commands[words], option) or in_our_words(getattr(error, "message", str(error)))
            raise self._file.fault(keys, f"{keys[-1]!r} cannot be {_shown(value)}: {must}", hint) from error

    def _unknown(self, keys: Keys, problem: str, key: str, known: Iterable[str]) -> UsageError:
        near = nearest(_plain(key), known)
        return self._file.fault(keys, f"{problem}{near}", "docs/configuration.md describes what may stand in the file.")


def _counting(shared: Settings, own: Settings) -> Settings:
    """The settings of a command's own table and, except where the table leaves no place for them, the shared ones."""
    both = shared | own
    given = {name: int(name in own) for name, setting in both.items() if setting.value is not False}
    return {name: setting for name, setting in both.items() if name not in overruled(given, is_run=False)}


def _plain(key: str) -> str:
    """A key as options are called: keys may have underscores too."""
    return key.replace("_", "-")


def nearest(word: str, known: Iterable[str]) -> str:
    """A question after the nearest known word, as the end of a sentence; "" if none is near."""
    near = get_close_matches(word, list(without_opposites(word, known)), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _wrong_type(option: Option, value: object) -> str:
    """What a value of TOML should be to suit an option, or "" if it does."""
    if option.is_flag:
        return "" if isinstance(value, bool) else "true or false"
    if option.count:
        return "" if isinstance(value, bool | int) else "true, false or a number"
    if option.multiple:
        is_list = isinstance(value, list) and all(map(_is_word, value))
        return "" if is_list else "a list of texts"
    return "" if _is_word(value) else "a text or a number"


def _is_word(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _as_typed(value: object) -> object:
    """A value of TOML as the command line would get it: a text, or a list of texts; flags are true or false."""
    if isinstance(value, list):
        return [str(each) for each in value]
    return value if isinstance(value, bool) else str(value)


def _shown(value: object) -> str:
    """A value as it is written in TOML."""
    match value:
        case bool():
            return str(value).lower()
        case date() | time():
            return value.isoformat()
        case list():
            return f"[{', '.join(map(_shown, value))}]"
        case dict():
            return f"{{ {', '.join(f'{key} = {_shown(each)}' for key, each in value.items())} }}"
    return repr(value)
