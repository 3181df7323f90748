"""Writes docs/commands.md, the reference of every command and option, from the program itself.

python docs/make_commands.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from typer.main import get_command

from adacode_cli.cli.main import app

TARGET = Path(__file__).with_name("commands.md")
TITLE = "# Commands and options\n\nWritten by `docs/make_commands.py`; a test compares it with the program.\n"


def commands(command: object, path: str) -> Iterator[tuple[str, object]]:
    """Every leaf command with its full name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, child in inner.items():
        yield from commands(child, f"{path} {name}")


def section(path: str, command: object) -> str:
    """One command: its first sentences and a table of its parameters."""
    help_text = plain(getattr(command, "help", "") or "")
    lines = [f"## {path}\n", f"{help_text}\n", "| option | default | meaning |", "| --- | --- | --- |"]
    for parameter in command.params:  # type: ignore[attr-defined]
        is_option = parameter.opts[0].startswith("-")
        names = (
            (*parameter.opts, *parameter.secondary_opts)
            if is_option
            else [parameter.metavar or parameter.human_readable_name]
        )
        default = "" if parameter.default in (None, False, (), "") else f"`{parameter.default}`"
        lines.append(
            f"| {', '.join(f'`{n}`' for n in names)} | {default} | {plain(getattr(parameter, 'help', '') or '')} |"
        )
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Help text as one line of Markdown."""
    text = re.sub(r"\[/?[a-z ]+\]", "", text)
    return " ".join(text.replace("|", "\\|").split())


def page() -> str:
    """The whole page."""
    sections = [section(path, command) for path, command in commands(get_command(app), "adacode")]
    return "\n".join([TITLE, *sections])


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
    print(TARGET)
