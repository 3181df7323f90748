"""Checks of what is given as the value of an option, before a command begins."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import typer

from adacode_cli import formats
from adacode_cli.errors import UsageError
from adacode_cli.limits import MIN_TILE_PX
from adacode_cli.storage.opening import require_library
from adacode_cli.storage.path import RemotePath, is_remote, path_of

_DEVICE = re.compile(r"auto|cpu|mps|all|cuda(:\d+)?|cuda:\d+(,cuda:\d+)+")
_SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


def shard_of(text: str) -> tuple[int, int] | None:
    """(part, parts) of a text such as "2/4", None for another text."""
    found = _SHARD.fullmatch(text)
    part, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    return (part, parts) if 1 <= part <= parts else None


def shard(value: str | None) -> str | None:
    """The value of `--shard`. Raises BadParameter."""
    if value is None or shard_of(value) is not None:
        return value
    raise typer.BadParameter("it must be I/N with I from 1 to N, such as 2/4")


def format_name(value: str | None) -> str | None:
    """The name of the format that `--format` means. Raises BadParameter."""
    if value is None:
        return None
    found = formats.find(value)
    if found is None:
        raise typer.BadParameter(f"it must be {formats.in_words(formats.names(), 'or')}")
    return found.name


def output(text: str) -> Path:
    """The value of `-o`. Raises UsageError for "-", which many programs take for standard output, and for the name of
    an image of a kind that is not written, unless it is that of a directory.
    """
    # It is checked as text: as paths, "./-" and "-" are the same, and so are "a.gif/" and "a.gif".
    if text == "-":
        hint = "For one image, leave out -o: adacode … - < a.png > b.png. A directory of this name is -o ./-."
        raise UsageError("-o - does not mean standard output", hint=hint)
    if text.lower().startswith("file://"):
        hint = f"Give the path alone: -o {shlex.quote(text[len('file://') :])}."
        raise UsageError(f"-o {text}: addresses of local files are not supported", hint=hint)
    path = path_of(text)
    if is_remote(path):
        require_writable(path, "-o")
        return path
    is_directory = text.endswith(("/", os.sep)) or os.path.isdir(text)  # noqa: PTH112 (no error for a long name)
    if _is_unwritable(path.suffix.lower()) and not is_directory:
        endings = formats.in_words([format.suffix for format in formats.every()], "or")
        hint = f"Choose a name that ends in {endings}. For a directory of this name, write -o {shlex.quote(text)}/."
        raise UsageError(f"-o {text}: {path.suffix} files cannot be written", hint=hint)
    return path


def require_writable(path: RemotePath, option: str) -> None:
    """Raises UsageError if no file can be written at the address that `option` names."""
    if not path.kind.can_write:
        hint = "Choose a local directory, or one on another store (docs/storage.md)."
        raise UsageError(f"{option} {path}: on {path.kind.title}, files can only be read", hint=hint)
    require_library(path)


def _is_unwritable(suffix: str) -> bool:
    """Whether files with this suffix, in lower case, hold images or videos of a kind that is not written."""
    if formats.of_suffix(suffix) is not None:
        return False
    is_read = any(suffix in (*format.suffixes, *format.input_suffixes) for format in formats.known())
    return is_read or formats.unread(suffix) is not None


def other_format(value: str) -> str:
    """The value of `--if-too-large`. Raises BadParameter."""
    choices = [*(format.name for format in formats.every() if format.replaces_others), "fail"]
    if value not in choices:
        raise typer.BadParameter(f"it must be {formats.in_words(choices, 'or')}")
    return value


def tile(value: str) -> str:
    """The value of `--tile`. Raises BadParameter."""
    if value in ("auto", "none") or (value.isascii() and value.isdigit() and int(value) >= MIN_TILE_PX):
        return value
    raise typer.BadParameter(f"it must be auto, none or a whole number of at least {MIN_TILE_PX}")


def device(value: str) -> str:
    """The value of `--device`. Raises BadParameter."""
    if _DEVICE.fullmatch(value):
        return value
    raise typer.BadParameter("it must be auto, cpu, cuda, cuda:N, mps, all, or several such as cuda:0,cuda:1")
