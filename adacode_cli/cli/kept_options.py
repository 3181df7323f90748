"""The options about what a result keeps of its input, and which inputs are refused: a part of `RestoreOptions`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from adacode_cli import formats
from adacode_cli.cli.options import NoEffectOnResult, flag
from adacode_cli.limits import MAX_FILE_BYTES, MAX_PIXELS

_KEPT = "What is kept"
_kept = partial(typer.Option, rich_help_panel=_KEPT)
LIMIT = NoEffectOnResult("A file that a limit refuses has no output.")


@dataclass(frozen=True)
class KeptOptions:
    """The first options of `RestoreOptions`, which the help shows in this order."""

    strict: Annotated[
        bool,
        flag(
            "--strict",
            panel=_KEPT,
            help="An image fails, and nothing is written for it, if its output format cannot keep all that it holds. "
            "Images in directories that are of kinds that are not read fail too.",
        ),
    ] = False
    preserve_times: Annotated[
        bool, flag("--preserve-times", panel=_KEPT, help="Outputs get the file times of their inputs.")
    ] = False
    no_provenance: Annotated[
        bool,
        flag(
            "--no-provenance",
            panel=_KEPT,
            help="Do not record the tool, its version and the weights in the outputs' EXIF and XMP.",
        ),
    ] = False
    accept_damaged: Annotated[
        bool,
        flag(
            "--accept-damaged",
            panel=_KEPT,
            help="Restore the intact part of damaged and truncated "
            f"{formats.listed(each for each in formats.every() if each.salvageable)} files, with a note.",
        ),
        NoEffectOnResult(
            "The readable part of a damaged file is the same each time, and without the option there is no output."
        ),
    ] = False
    max_megapixels: Annotated[
        float,
        _kept(
            "--max-megapixels",
            min=0.0001,
            max=1e9,
            metavar="N",
            help="Refuse larger inputs before they are decoded; for documents the limit holds for each page.",
        ),
        LIMIT,
    ] = MAX_PIXELS // 1_000_000
    max_file_size: Annotated[
        float,
        _kept(
            "--max-file-size",
            min=0.000001,
            max=1e9,
            metavar="MB",
            help="Refuse larger files, including masks and standard input, before they are read.",
        ),
        LIMIT,
    ] = MAX_FILE_BYTES // 1_000_000

    @property
    def max_pixels(self) -> int:
        """`max_megapixels` in pixels."""
        return int(self.max_megapixels * 1_000_000)

    @property
    def max_file_bytes(self) -> int:
        """`max_file_size` in bytes."""
        return int(self.max_file_size * 1_000_000)
