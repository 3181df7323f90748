"""The options about what of a file survives, shared by `sr`, `inpaint` and `reconstruct`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from adacode_cli import formats
from adacode_cli.limits import MAX_FILE_BYTES, MAX_PIXELS

_PANEL = "What is kept"


@dataclass(frozen=True)
class KeepingOptions:
    """What a person chose; docs/formats.md says what each format can hold."""

    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            metavar="",
            rich_help_panel=_PANEL,
            help="An image of which something cannot be kept in the output format fails; nothing is written for it.",
        ),
    ] = False
    preserve_times: Annotated[
        bool,
        typer.Option(
            "--preserve-times", metavar="", rich_help_panel=_PANEL, help="Outputs get the file times of their inputs."
        ),
    ] = False
    no_provenance: Annotated[
        bool,
        typer.Option(
            "--no-provenance",
            metavar="",
            rich_help_panel=_PANEL,
            help="Do not note tool, version and weights in the outputs' EXIF and XMP.",
        ),
    ] = False
    accept_damaged: Annotated[
        bool,
        typer.Option(
            "--accept-damaged",
            metavar="",
            rich_help_panel=_PANEL,
            help="Restore what is whole of damaged and truncated "
            f"{formats.listed(each for each in formats.every() if each.salvageable)} files, with a note.",
        ),
    ] = False
    max_megapixels: Annotated[
        float,
        typer.Option(
            "--max-megapixels",
            min=0.0001,
            max=1e9,
            metavar="N",
            rich_help_panel=_PANEL,
            help="Refuse larger inputs, all pages together, before they are decoded.",
        ),
    ] = MAX_PIXELS // 1_000_000
    max_file_size: Annotated[
        float,
        typer.Option(
            "--max-file-size",
            min=0.000001,
            max=1e9,
            metavar="MB",
            rich_help_panel=_PANEL,
            help="Refuse files of more megabytes, also masks and standard input, before they are read.",
        ),
    ] = MAX_FILE_BYTES // 1_000_000

    @property
    def max_pixels(self) -> int:
        """`max_megapixels` as readers want it."""
        return int(self.max_megapixels * 1_000_000)

    @property
    def max_file_bytes(self) -> int:
        """`max_file_size` as readers want it."""
        return int(self.max_file_size * 1_000_000)
