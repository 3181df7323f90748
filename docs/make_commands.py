"""Writes docs/commands.md, the reference of every command and option, from the program itself.

A command's own options come first. Options that several commands share (fields of a dataclass in the signature of each
of them) are listed once, at the end, with a link from each command.

python docs/make_commands.py
"""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from adacode_cli.cli.main import app
from adacode_cli.cli.reference import (
    Command,
    Parameter,
    groups_of,
    is_option,
    joined,
    leaves,
    names_in,
    panels,
    shared_groups,
    title_of,
)

TARGET = Path(__file__).with_name("commands.md")
TITLE = """# Commands and options

Written by `docs/make_commands.py`; a test compares it with the program.

Every command also has `--help`, and `--config FILE` for its options from a file (except the stages of `train`, whose
`--config` is a recipe); `sr`, `inpaint` and `reconstruct` have `--preset NAME`, and `--help-all`, because their
`--help` shows only the options that are used most. Variables set options too. All of this is described in
[configuration.md](configuration.md). `adacode man` prints the manual page.
"""
HEAD = ["| option | default | meaning |", "| --- | --- | --- |"]


def section(path: str, command: Command, shared: dict[type, list[str]]) -> str:
    """One command: its first sentences, a table of its own parameters, and links to those that it shares."""
    groups = [group for group in groups_of(command) if group in shared]
    elsewhere = names_in(groups)
    own = [parameter for parameter in command.params if parameter.name not in elsewhere]
    lines = [f"## {path}\n", f"{plain(command.help or '')}\n"]
    lines += [*HEAD, *map(row, own), ""] if own else []
    lines += [f"It also has the [{title_of(shared[group])}](#{anchor(title_of(shared[group]))}).\n" for group in groups]
    return "\n".join(lines)


def shared_section(group: type, users: list[str], command: Command) -> str:
    """The options that several commands share, in tables as their help shows them."""
    names = names_in([group])
    lines = [f"## {title_of(users)[:1].upper()}{title_of(users)[1:]}\n"]
    for panel, parameters in panels(each for each in command.params if each.name in names).items():
        lines += [f"### {panel}\n"] if panel else []
        lines += [*HEAD, *map(row, parameters), ""]
    return "\n".join(lines)


def anchor(heading: str) -> str:
    """The name that GitHub gives to a heading."""
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def row(parameter: Parameter) -> str:
    """One parameter as a line of a table."""
    names = (
        [*parameter.opts, *parameter.secondary_opts]
        if is_option(parameter)
        else [parameter.metavar or parameter.name.upper()]
    )
    default = "" if parameter.default in (None, False, (), "") else f"`{parameter.default}`"
    return f"| {', '.join(f'`{n}`' for n in names)} | {default} | {plain(getattr(parameter, 'help', '') or '')} |"


def plain(text: str) -> str:
    """Help text as one line of Markdown."""
    return joined(text.replace("|", "\\|").replace("[", "\\["))  # brackets would be links


def page() -> str:
    """The whole page."""
    found = dict(leaves(get_command(app), "adacode"))
    shared = shared_groups(found)
    sections = [section(path, command, shared) for path, command in found.items()]
    sections += [shared_section(group, users, found[users[0]]) for group, users in shared.items()]
    return "\n".join([TITLE, *sections]).rstrip("\n") + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
    print(TARGET)
