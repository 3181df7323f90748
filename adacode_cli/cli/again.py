"""The words of the command that makes results again: the running command with the options that change them.

Where the options are from (command line, file, variable, preset) makes no difference, so the command needs no file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from adacode_cli.cli.configuration import set_elsewhere, words_of
from adacode_cli.cli.settings import options_of

# What chooses files and places, what is done with outputs that exist, and what is shown.
_LEFT_OUT = frozenset(
    {
        *("config", "preset", "help", "help-all", "output", "from-file", "null", "shard", "include", "exclude"),
        *("dry-run", "watch", "watch-interval", "resume", "verify", "overwrite", "skip-existing", "quiet", "verbose"),
        *("json", "log-file", "jobs", "processes", "device"),
    }
)


def words_again(context: typer.Context) -> list[str]:
    """The program, the command and the options. Paths are absolute."""
    words = ["adacode", *words_of(context)]
    if set_elsewhere(context):
        words += ["--config", "none"]
    for name, option in options_of(context.command).items():
        value = context.params.get(option.name)
        if name not in _LEFT_OUT and value is not None and value != option.default:
            words += _words(name, option, value)
    return words


def _words(name: str, option: Any, value: object) -> list[str]:  # noqa: ANN401 (a class without a public name)
    if option.is_flag:
        return [f"--{name}" if value else str((option.secondary_opts or [f"--no-{name}"])[0])]
    values = value if isinstance(value, list | tuple) else [value]
    return [word for one in values for word in (f"--{name}", _text(one))]


def _text(value: object) -> str:
    if isinstance(value, Path) or (isinstance(value, str) and os.sep in value and os.path.exists(value)):  # noqa: PTH110
        return os.path.abspath(value)  # noqa: PTH100 (Path.absolute leaves dots)
    return f"{value:g}" if isinstance(value, float) and f"{value:g}" == str(value).removesuffix(".0") else str(value)
