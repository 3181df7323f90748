"""The options of `sr`, `inpaint` and `reconstruct` about long runs: which files, going on, what is kept and told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from adacode_cli.limits import DECODING_LIMIT_S

OUTPUT = "Output"
SELECTION = "Which files"
CONSOLE = "What is shown"
_SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


def _shard(value: str | None) -> str | None:
    if value is None or shard_of(value) is not None:
        return value
    raise typer.BadParameter(f"{value!r} is not I/N with I from 1 to N, such as 2/4.")


def shard_of(text: str) -> tuple[int, int] | None:
    """(part, parts) of a text such as "2/4", None for another text."""
    found = _SHARD.fullmatch(text)
    part, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    return (part, parts) if 1 <= part <= parts else None


@dataclass(frozen=True)
class LongRunOptions:
    """What a person chose about a run of many files."""

    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            rich_help_panel=OUTPUT,
            help="Leave what an earlier run made of the same inputs, options and weights, if it is intact; "
            "--no-resume starts over. Default: --resume, but --no-resume with --overwrite.",
            show_default=False,
        ),
    ] = None
    guard: Annotated[
        bool,
        typer.Option(
            "--guard/--no-guard",
            rich_help_panel=OUTPUT,
            help="Compare each result with its input: one that is black, flat or drifts in colour is computed again in "
            "fp32, and fails if that does not help. Not for reconstruct.",
        ),
    ] = True
    quarantine: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=OUTPUT,
            help="Keep results that the guard refused there; nothing there is replaced.",
        ),
    ] = None
    isolate: Annotated[
        bool,
        typer.Option(
            "--isolate/--no-isolate",
            rich_help_panel=SELECTION,
            help="Decode files in processes of their own, so that a crash of a codec fails one file only.",
        ),
    ] = True
    decode_timeout: Annotated[
        float,
        typer.Option(
            "--decode-timeout",
            min=0.1,
            max=1e6,
            metavar="SECONDS",
            rich_help_panel=SELECTION,
            help="A file that takes longer to decode fails. Not with --no-isolate.",
        ),
    ] = DECODING_LIMIT_S
    color_fix: Annotated[
        Literal["none", "low-frequency"],
        typer.Option(
            metavar="KIND",
            rich_help_panel=OUTPUT,
            help="low-frequency: put the input's slow changes of colour and light back; none.",
        ),
    ] = "none"
    from_file: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            rich_help_panel=SELECTION,
            help="Read inputs from this file, or from standard input (-), one a line; with -o the outputs lie as the "
            "paths are written. UTF-8, or UTF-16 with a byte order mark (PowerShell).",
        ),
    ] = None
    null: Annotated[
        bool,
        typer.Option(
            "--null", metavar="", rich_help_panel=SELECTION, help="In LIST, inputs end with a NUL: find … -print0."
        ),
    ] = False
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            callback=_shard,
            rich_help_panel=SELECTION,
            help="Only the I-th of N parts of the files, by their paths: one part for each machine.",
        ),
    ] = None
    log_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=CONSOLE, help="Also append a line for each file, with the time, to FILE."
        ),
    ] = None
