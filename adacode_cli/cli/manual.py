"""`adacode man`: the manual page, made from the program itself, in the language of troff (man(7))."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import typer

from adacode_cli.cli.help_text import command_in_lines
from adacode_cli.cli.reference import (
    Command,
    Entry,
    Parameter,
    Section,
    entry,
    groups_of,
    is_option,
    leaves,
    names_in,
    panels,
    paragraphs,
    sections,
    shared_groups,
    title_of,
    usage,
)
from adacode_cli.cli.streams import write_bytes
from adacode_cli.version import __version__

EPILOG = """Examples:

  adacode man | man -l -    read it (with mandoc: adacode man | mandoc -l)
  adacode man > ~/.local/share/man/man1/adacode.1    then: man adacode"""

_CODES = "Exit codes"
_SOURCE_WIDTH = 78
_COMMAND_WIDTH = 69  # beside the margin on a terminal of 80 columns
_ESCAPES = str.maketrans({"\\": r"\e", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", "…": "..."})
_SYNOPSIS = (
    r"\fBadacode\fR \fICOMMAND\fR [\fIOPTIONS\fR] [\fIINPUT\fR]...",
    r"\fBadacode\fR [\fICOMMAND\fR] \fB\-\-help\fR",
)
_VARIABLES = (
    Entry(
        "ADACODE_COMMAND_OPTION",
        "",
        "Sets an option of a command: ADACODE_SR_SCALE is for the option --scale of adacode sr. The command line "
        "counts more.",
    ),
    Entry("ADACODE_CONFIG", "", "The file of settings, as --config."),
    Entry(
        "ADACODE_CACHE",
        "",
        "The folder of downloaded weights and of measured speeds. Default: adacode in XDG_CACHE_HOME or ~/.cache.",
    ),
    Entry("HF_TOKEN, HF_HUB_OFFLINE, HF_ENDPOINT", "", "Access to the Hugging Face Hub."),
    Entry("OMP_NUM_THREADS", "", "The number of threads of the network on a CPU."),
    Entry("COLUMNS, NO_COLOR, FORCE_COLOR", "", "Width and colours of messages."),
)
_FILES = (
    Entry("adacode.toml", "", "Options that are always used; it is found from the working directory upwards."),
    Entry(
        "OUTPUT/.adacode",
        "",
        "The journal of the runs that wrote the directory OUTPUT, by which a run continues, and the report of the last "
        "one.",
    ),
)
_ONLY = "For sr, inpaint and reconstruct."
_NOTES = "The pages in docs/ of the source describe formats, settings, the journal, JSON output and training."


def man(context: typer.Context) -> None:
    """Print the manual page, for man.

    It has every command with every option, as this version has them.
    """
    root: Any = context.find_root()
    write_bytes(page(root).encode("ascii"))


def page(root: typer.Context) -> str:
    """The whole page, in ASCII. root: a context of the program itself."""
    program: Command = root.command
    found = dict(leaves(program, str(root.info_name)))
    shared = shared_groups(found)
    parts: list[Iterable[str]] = [
        [f'.TH ADACODE 1 "" "adacode {__version__}" "User Commands"', ".nh", ".ad l"],
        [".SH NAME", rf"adacode \- {_escaped(program.help[:1].lower() + program.help[1:].rstrip('.'))}"],
        [".SH SYNOPSIS", f"{_SYNOPSIS[0]}", ".br", f"{_SYNOPSIS[1]}"],
        [".SH OPTIONS"],
        _entries(entry(each) for each in program.get_params(root)),
        _paragraph("Every command also has these options:"),
        _entries(_everywhere(root)),
        [".SH COMMANDS"],
        *(_command(path, command, shared) for path, command in found.items()),
        [".SH SHARED OPTIONS"],
        *(_shared(group, users, found[users[0]]) for group, users in shared.items()),
        [".SH EXIT STATUS"],
        _entries(_exit_codes(program)),
        [".SH ENVIRONMENT"],
        _entries(_VARIABLES),
        [".SH FILES"],
        _entries(_FILES),
        [".SH NOTES", *_paragraph(_NOTES)],
    ]
    lines = [line for part in parts for line in part]
    pairs = zip(["", *lines], lines, strict=False)
    # The macros of headings begin a paragraph already.
    return "".join(f"{line}\n" for before, line in pairs if line != ".PP" or before[:3] not in (".SH", ".SS"))


def _everywhere(root: typer.Context) -> list[Entry]:
    """The options that commands have besides their own."""
    program: Any = root.command
    restoring = program.commands["sr"]
    own = {parameter.name for parameter in restoring.params}
    context = restoring.context_class(restoring, info_name="sr", parent=root)
    *added, help_option = (each for each in restoring.get_params(context) if each.name not in own)
    entries = [entry(each) for each in added]
    restricted = [each if each.name == "--config" else replace(each, text=f"{each.text} {_ONLY}") for each in entries]
    return [*restricted, replace(entry(help_option), text="Show help.")]


def _command(path: str, command: Command, shared: dict[type, list[str]]) -> Iterator[str]:
    yield f'.SS "{_quoted(usage(command, path))}"'
    for paragraph in paragraphs(command.help):
        yield from _paragraph(paragraph)
    groups = [group for group in groups_of(command) if group in shared]
    elsewhere = names_in(groups)
    own = [parameter for parameter in command.params if parameter.name not in elsewhere]
    yield from _entries(entry(each) for each in own if not is_option(each))
    for title, parameters in panels(each for each in own if is_option(each)).items():
        yield from _titled(title, parameters)
    for group in groups:
        yield from _paragraph(f"It also has the {title_of(shared[group])} (SHARED OPTIONS, below).")
    for section in sections(command.epilog):
        yield from _section(section)


def _shared(group: type, users: list[str], command: Command) -> Iterator[str]:
    title = title_of(users)
    yield f'.SS "{_quoted(title[:1].upper() + title[1:])}"'
    names = names_in([group])
    for panel, parameters in panels(each for each in command.params if each.name in names).items():
        yield from _titled(panel, parameters)


def _titled(title: str | None, parameters: Iterable[Parameter]) -> Iterator[str]:
    if title:
        yield from (".PP", rf"\fI{_escaped(title)}\fR")
    yield from _entries(map(entry, parameters))


def _exit_codes(program: Command) -> Iterator[Entry]:
    """The codes in the last lines of the help of the program: "0 done · 2 usage"."""
    text = next(section.text for section in sections(program.epilog) if section.title == _CODES)
    pairs = sorted((int(code), meaning) for code, _, meaning in (each.partition(" ") for each in text.split(" · ")))
    for code, meaning in pairs:
        yield Entry(str(code), "", f"{meaning[:1].upper()}{meaning[1:]}.")


def _entries(entries: Iterable[Entry]) -> Iterator[str]:
    for each in entries:
        names = ", ".join(rf"\fB{_literal(name)}\fR" for name in each.name.split(", "))
        yield ".TP"
        yield f"{names} \\fI{_literal(each.value)}\\fR" if each.value else names
        yield from _filled(each.text)


def _section(section: Section) -> Iterator[str]:
    yield from (".PP", rf"\fI{_escaped(section.title)}\fR")
    if section.has_commands:
        for row in section.rows:
            lines = (rf"\fB{_literal(line)}\fR" for line in command_in_lines(row.left, _COMMAND_WIDTH))
            yield from (".nf", *lines, ".fi")
            yield from (".RS 8", *_filled(row.right), ".RE") if row.right else ()
    else:
        yield from _entries(Entry(row.left, "", row.right) for row in section.rows)
    yield from _paragraph(section.text) if section.text else ()


def _paragraph(text: str) -> Iterator[str]:
    yield ".PP"
    yield from _filled(text)


def _filled(text: str) -> Iterator[str]:
    """Text that is filled into lines, a few words on each line of the source."""
    for line in textwrap.wrap(text, _SOURCE_WIDTH, break_long_words=False, break_on_hyphens=False):
        yield _line(_escaped(line))


def _line(text: str) -> str:
    """A line of the source that is no request: these begin with a dot or an apostrophe."""
    return rf"\&{text}" if text.startswith((".", "'")) else text


def _escaped(text: str) -> str:
    """Text in ASCII in which nothing is a command of troff. In options, hyphens are those that can be typed."""
    words = re.sub(r"(?<![\w-])-[\w-]*", lambda found: found[0].replace("-", r"\-"), text.translate(_ESCAPES))
    return "".join(char if char.isascii() else rf"\[u{ord(char):04X}]" for char in words)


def _literal(text: str) -> str:
    """Text in which every hyphen is one that can be typed."""
    return _escaped(text.replace("-", "\0")).replace("\0", r"\-")


def _quoted(text: str) -> str:
    """Text for an argument of a request."""
    return _literal(text).replace('"', r"\(dq")
