"""What commands, arguments and options are called and do, as plain data.

The help on a terminal, the manual page and docs/commands.md are made from it. It reads what Typer's commands state in
public attributes, because the classes behind them change from one version of Typer to the next.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeAlias, get_type_hints

# The classes of click that Typer includes have no public names.
Command: TypeAlias = Any
Parameter: TypeAlias = Any

_HEADING = re.compile(r"(\S.*):")
_COLUMNS = re.compile(r"(\S.*?)\s{2,}(\S.*)")
_CONTINUED = " \\"
_COMMANDS_FOLLOW = ("Example", "Examples", "Start here")


@dataclass(frozen=True)
class Entry:
    """An argument, an option or a command. name: as it is typed; value: what stands for its value, or "".

    text: one or more sentences, in one line.
    """

    name: str
    value: str
    text: str

    @property
    def label(self) -> str:
        """Name and value: "--output, -o PATH"."""
        return f"{self.name} {self.value}".rstrip()


@dataclass(frozen=True)
class Row:
    """A line of a section: a command with what it does, or a term with what it means, which may be ""."""

    left: str
    right: str


@dataclass(frozen=True)
class Section:
    """What follows the options: rows of commands or terms, and then sentences, each of which may be missing."""

    title: str
    rows: tuple[Row, ...] = ()
    text: str = ""

    @property
    def has_commands(self) -> bool:
        """Whether the left side of each row is to be typed."""
        return self.title in _COMMANDS_FOLLOW


def leaves(command: Command, path: str) -> Iterator[tuple[str, Command]]:
    """Every command that can be run and is not hidden, with its full name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, child in inner.items():
        if not child.hidden:
            yield from leaves(child, f"{path} {name}")


def groups_of(command: Command) -> list[type]:
    """The dataclasses whose fields are options of a command."""
    hints = get_type_hints(inspect.unwrap(command.callback))
    return [hint for hint in hints.values() if isinstance(hint, type) and is_dataclass(hint)]


def shared_groups(found: dict[str, Command]) -> dict[type, list[str]]:
    """Every dataclass of options that several of the commands have, with the names of these commands."""
    users: dict[type, list[str]] = {}
    for path, command in found.items():
        for group in groups_of(command):
            users.setdefault(group, []).append(path)
    return {group: names for group, names in users.items() if len(names) > 1}


def title_of(users: list[str]) -> str:
    """The title of the options that these commands share: "options of adacode eval sr, inpaint and reconstruct"."""
    first, *others = users
    prefix = first.rpartition(" ")[0]
    short = [name.removeprefix(f"{prefix} ") for name in others]
    return f"options of {', '.join([first, *short[:-1]])} and {short[-1]}"


def names_in(groups: Iterable[type]) -> set[str]:
    """The names of the parameters that these dataclasses declare."""
    return {field.name for group in groups for field in fields(group)}


def panels(parameters: Iterable[Parameter]) -> dict[str | None, list[Parameter]]:
    """The parameters by the titles of their panels, in order of appearance; those without a title come first."""
    found: dict[str | None, list[Parameter]] = {None: []}
    for parameter in parameters:
        found.setdefault(parameter.rich_help_panel, []).append(parameter)
    return {title: each for title, each in found.items() if each}


def is_option(parameter: Parameter) -> bool:
    """Whether the parameter is an option; otherwise it is an argument."""
    return bool(parameter.opts[0].startswith("-"))


def has_value(parameter: Parameter) -> bool:
    """Whether an option is followed by a value; flags, and options that are counted, are not."""
    return not (parameter.is_flag or getattr(parameter, "count", False))


def entry(parameter: Parameter) -> Entry:
    """An argument or option, with its default and what else a person must know of it."""
    if not is_option(parameter):
        return Entry(_value(parameter) + ("..." if parameter.nargs == -1 else ""), "", _sentences(parameter))
    ordered = sorted(parameter.opts, key=lambda name: not name.startswith("--"))
    names = ", ".join((*ordered, *parameter.secondary_opts))
    return Entry(names, _value(parameter) if has_value(parameter) else "", _sentences(parameter))


def usage(command: Command, path: str) -> str:
    """The command with all that can be given, in brackets what may be left out: "adacode sr [OPTIONS] [INPUT]..."."""
    if hasattr(command, "commands"):
        return f"{path} [OPTIONS] COMMAND [ARGS]..."
    arguments = [
        (label if each.required else f"[{label}]") + ("..." if each.nargs == -1 else "")
        for each in command.params
        if not is_option(each)
        for label in [_value(each)]
    ]
    return " ".join([path, "[OPTIONS]", *arguments])


def _value(parameter: Parameter) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _sentences(parameter: Parameter) -> str:
    text = joined(parameter.help or "")
    default = _default(parameter)
    parts = [
        "Required." if parameter.required and is_option(parameter) else "",
        text,
        f"Default: {default}." if default and "Default:" not in text else "",
        f"Variable: {parameter.envvar}." if parameter.show_envvar and isinstance(parameter.envvar, str) else "",
    ]
    return " ".join(filter(None, parts))


def _default(parameter: Parameter) -> str:
    value = parameter.default
    if is_option(parameter) and not has_value(parameter) and not parameter.secondary_opts:
        return ""
    if not parameter.show_default or value is None or value == "" or callable(value):
        return ""
    if getattr(parameter, "is_flag", False):
        return str(parameter.opts[0]) if value else ""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def joined(text: str) -> str:
    """`text` in one line."""
    return " ".join(text.split())


def paragraphs(text: str | None) -> list[str]:
    """Each paragraph of a text in one line. They are separated by empty lines."""
    return [joined(each) for each in re.split(r"\n\s*\n", inspect.cleandoc(text or "")) if each.strip()]


def summary(command: Command) -> str:
    """The first paragraph of what a command does."""
    return next(iter(paragraphs(command.help)), "")


def sections(epilog: str | None) -> list[Section]:
    """The sections of a text after the options. A title ends with a colon; rows are indented; sentences are not."""
    found: list[Section] = []
    for block in filter(str.strip, re.split(r"\n\s*\n", epilog or "")):
        heading = _HEADING.fullmatch(block.strip())
        if heading:
            found.append(Section(heading[1]))
            continue
        last = found.pop() if found else Section("")
        if not block.startswith(" "):
            found.append(Section(last.title, last.rows, joined(block)))
        elif last.has_commands or any(_COLUMNS.fullmatch(line.strip()) for line in block.splitlines()):
            found.append(Section(last.title, tuple(_rows(block))))
        else:
            found.append(Section(last.title, text=joined(block)))
    return found


def examples(command: Command) -> list[Row]:
    """The examples of a command, the most common ones first."""
    return [row for section in sections(command.epilog) if section.has_commands for row in section.rows]


def _rows(block: str) -> list[Row]:
    """Rows of two columns. A deeper indented line continues the line above: its command after \\, or its right side."""
    lines = block.splitlines()
    least = min(len(line) - len(line.lstrip()) for line in lines)
    rows: list[Row] = []
    for line in lines:
        text = line.strip()
        if line[least] != " ":
            columns = _COLUMNS.fullmatch(text)
            rows.append(Row(columns[1], columns[2]) if columns else Row(text, ""))
        elif rows[-1].left.endswith("\\"):
            rows.append(Row(f"{rows.pop().left.rstrip(_CONTINUED)} {text}", ""))
        else:
            above = rows.pop()
            rows.append(Row(above.left, f"{above.right} {text}".strip()))
    return rows
