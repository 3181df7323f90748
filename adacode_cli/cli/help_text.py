"""How help looks on a terminal of any width: whole words, one column of names and one of what they mean.

A command with very many options has two texts. The first one, for --help, shows those that people use first.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from adacode_cli.cli.reference import (
    Command,
    Entry,
    Parameter,
    Row,
    Section,
    entry,
    examples,
    is_option,
    panels,
    paragraphs,
    sections,
    summary,
    usage,
)

_WIDEST = 100  # longer lines are hard to read
_NARROWEST = 40
_INDENT = "  "
_TIED = "\0"  # a space at which a line is not broken
_WORDS = re.compile(r"""(?:'[^']*'|"[^"]*"|\S)+""")
_HEADING, _NAME, _VALUE, _REMARK = "bold", "bold cyan", "yellow", "dim"
_EXAMPLES_OF_FIRST, _EXAMPLES_OF_USAGE = 3, 2

FIRST_OPTIONS: dict[str, tuple[str, ...]] = {
    "sr": (
        *("output", "scale", "long_edge", "denoise", "format", "quality"),
        *("overwrite", "dry_run", "weights", "device"),
    ),
    "inpaint": (
        *("mask", "mask_dir", "mask_alpha", "mask_color", "grow", "feather"),
        *("output", "format", "overwrite", "device"),
    ),
    "reconstruct": (
        *("output", "save_codes", "from_codes", "code_levels", "format", "quality"),
        *("overwrite", "dry_run", "weights", "device"),
    ),
}
"""By the command's name, the parameters that --help shows; --help-all shows all."""


def command_lines(command: Command, path: str, parameters: Sequence[Parameter], width: int) -> Iterator[Text]:
    """The help of a command with all of the `parameters`. path: its full name; width: of the terminal."""
    width = _usable(width)
    yield from _head(command, path, width)
    arguments = [entry(each) for each in parameters if not is_option(each)]
    options = panels(each for each in parameters if is_option(each))
    tables = {title or "Options": [entry(each) for each in found] for title, found in options.items()}
    yield from _tables({"Arguments": arguments} | tables, width)
    for section in sections(command.epilog):
        yield from _section(section, width)


def first_lines(command: Command, path: str, parameters: Sequence[Parameter], width: int) -> Iterator[Text]:
    """The help of a command of `FIRST_OPTIONS`: the options that people use first, and how to see the others."""
    width = _usable(width)
    yield from _head(command, path, width)
    chosen = {each.name: entry(each) for each in parameters}
    arguments = [entry(each) for each in parameters if not is_option(each)]
    first = [chosen[name] for name in FIRST_OPTIONS[command.name]]
    yield from _tables({"Arguments": arguments, "Options that are used most": first}, width)
    yield from _section(Section("Examples", tuple(examples(command)[:_EXAMPLES_OF_FIRST])), width)
    yield Text()
    yield from _styled_lines(f"{path} --help-all shows all options.", width)


def group_lines(command: Command, path: str, parameters: Sequence[Parameter], width: int) -> Iterator[Text]:
    """The help of a group of commands."""
    width = _usable(width)
    yield from _head(command, path, width)
    tables: dict[str, list[Entry]] = {}
    for name, child in command.commands.items():
        if not child.hidden:
            title = child.rich_help_panel if isinstance(child.rich_help_panel, str) else "Commands"
            tables.setdefault(title, []).append(Entry(name, "", summary(child)))
    yield from _tables(tables | {"Options": [entry(each) for each in parameters]}, width)
    for section in sections(command.epilog):
        yield from _section(section, width)


def usage_lines(command: Command, path: str, width: int) -> Iterator[Text]:
    """What a command that was given nothing answers: its usage and two examples."""
    width = _usable(width)
    yield from _usage(command, path, width)
    yield Text()
    yield from _styled_lines(summary(command), width)
    rows = tuple(examples(command)[:_EXAMPLES_OF_USAGE])
    yield from _section(Section("Example" if len(rows) == 1 else "Examples", rows), width) if rows else ()
    yield Text()
    yield from _styled_lines(f"{path} --help shows what can be given.", width)


def shown(lines: Iterable[Text], console: Console) -> str:
    """The lines as they are written to the console, with its colours if it has any."""
    with console.capture() as captured:
        for line in lines:
            console.print(line, soft_wrap=True)
    return captured.get()


def plain_console(**settings: Any) -> Console:  # noqa: ANN401 (as rich's)
    """A console that prints texts as they are."""
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True, **settings)


def _usable(width: int) -> int:
    return max(_NARROWEST, min(width, _WIDEST))


def wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of whole words; only a word that is longer than a line makes one that is too long."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _head(command: Command, path: str, width: int) -> Iterator[Text]:
    yield from _usage(command, path, width)
    for paragraph in paragraphs(command.help):
        yield Text()
        yield from _styled_lines(paragraph, width)


def _usage(command: Command, path: str, width: int) -> Iterator[Text]:
    first, *others = wrapped(usage(command, path), width - len("Usage: "))
    yield Text.assemble(("Usage: ", _HEADING), first)
    yield from (Text(f"{'':<7}{line}") for line in others)


def _styled_lines(text: str, width: int, style: str = "") -> Iterator[Text]:
    yield from (Text(line, style) for line in wrapped(text, width))


def _tables(tables: dict[str, list[Entry]], width: int) -> Iterator[Text]:
    """Titles with their entries; all entries have their meanings in one column."""
    most = width * 3 // 10
    longest = max((len(each.label) for entries in tables.values() for each in entries), default=0)
    column = len(_INDENT) + min(most, longest) + 2
    for title, entries in tables.items():
        if entries:
            yield Text()
            yield Text(title, _HEADING)
        for each in entries:
            yield from _entry(each, column, width)


def _entry(each: Entry, column: int, width: int) -> Iterator[Text]:
    meanings = wrapped(each.text, width - column)
    label = Text.assemble(_INDENT, (each.name, _NAME))
    if each.value:
        label.append(f" {each.value}", _VALUE)
    if len(label) + 2 <= column and meanings:
        label.append(" " * (column - len(label)) + meanings.pop(0))
    yield label
    yield from (Text(f"{'':<{column}}{line}") for line in meanings)


def _section(section: Section, width: int) -> Iterator[Text]:
    yield Text()
    if section.title:
        yield Text(section.title, _HEADING)
    yield from _rows(section, width)
    if section.rows and section.text:
        yield Text()
    yield from (Text(f"{_INDENT}{line}") for line in _in_items(section.text, width - len(_INDENT)))


def _in_items(text: str, width: int) -> list[str]:
    """As `wrapped`; but if the text is a list whose items are separated by ·, no item is broken."""
    items = text.split(" · ")
    if len(items) > 1:
        text = " ".join([*(f"{each} ·".replace(" ", _TIED) for each in items[:-1]), items[-1].replace(" ", _TIED)])
    return [line.replace(_TIED, " ") for line in wrapped(text, width)]


def _rows(section: Section, width: int) -> Iterator[Text]:
    pairs = [row for row in section.rows if row.right]
    column = len(_INDENT) + max((len(row.left) for row in pairs), default=0) + 2
    beside = all(column + len(row.right) <= width for row in pairs) if section.has_commands else column <= width // 2
    for row in section.rows:
        left = command_in_lines(row.left, width) if section.has_commands else [f"{_INDENT}{row.left}"]
        if row.right and beside:
            yield from _two_columns(row, column, width)
            continue
        yield from map(Text, left)
        yield from (Text(f"{'':<6}{line}", _REMARK) for line in wrapped(row.right, width - 6))


def _two_columns(row: Row, column: int, width: int) -> Iterator[Text]:
    first, *others = wrapped(row.right, width - column)
    yield Text.assemble(f"{_INDENT + row.left:<{column}}", (first, _REMARK))
    yield from (Text(f"{'':<{column}}{line}", _REMARK) for line in others)


def command_in_lines(command: str, width: int) -> list[str]:
    """A command, indented, in as many lines as it needs so that it can be copied; texts in quotes are not broken."""
    lines = [_INDENT + (words := _WORDS.findall(command))[0]]
    room = width - len(" \\")
    for index, word in enumerate(words[1:], start=1):
        is_last = index == len(words) - 1
        if len(lines[-1]) + 1 + len(word) <= (width if is_last else room):
            lines[-1] += f" {word}"
        else:
            lines[-1] += " \\"
            lines.append(f"{_INDENT * 3}{word}")
    return lines
