"""The options that `sr`, `inpaint` and `reconstruct` share, each written once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from adacode_cli import formats
from adacode_cli.cli.keeping_options import KeepingOptions
from adacode_cli.cli.run_options import CONSOLE, OUTPUT, SELECTION, LongRunOptions
from adacode_cli.errors import UsageError
from adacode_cli.limits import DEFAULT_QUALITY, MIN_TILE_PX

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_STDIN = "-"

_OUTPUT, _SELECTION, _CONSOLE = OUTPUT, SELECTION, CONSOLE
_MODEL = "Weights and device"


def _format_name(value: str | None) -> str | None:
    if value is None:
        return None
    found = formats.find(value)
    if found is None:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(formats.names())}.")
    return found.name


def _other_format(value: str) -> str:
    choices = [*(format.name for format in formats.every() if format.replaces_others), "fail"]
    if value not in choices:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(choices)}.")
    return value


def _tile(value: str) -> str:
    if value in ("auto", "none") or (value.isascii() and value.isdigit() and int(value) >= MIN_TILE_PX):
        return value
    raise typer.BadParameter(f"{value!r} is neither 'auto' nor 'none' nor a number from {MIN_TILE_PX} on.")


def _device(value: str) -> str:
    if _DEVICE.fullmatch(value):
        return value
    raise typer.BadParameter(f"{value!r} is not one of auto, cpu, cuda, cuda:N, mps.")


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Images and directories (searched through all levels), or - for one image on standard input.",
        show_default=False,
    ),
]

Denoise = Annotated[
    float,
    typer.Option(
        "--denoise",
        min=0.0,
        max=1.0,
        metavar="STRENGTH",
        help="How much noise and grain to remove: from 0 (keep them) to 1 (remove them). Values below 1 need weights "
        "that 'adacode weights list' names for it.",
    ),
]


@dataclass(frozen=True)
class RestoreOptions(LongRunOptions, KeepingOptions):
    """What a person chose for a run, as Typer hands it over."""

    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            rich_help_panel=_OUTPUT,
            help="Directory for the results, mirroring the inputs' tree; for one image also a file name. "
            "Default: a new directory beside each input.",
        ),
    ] = None
    format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            callback=_format_name,
            rich_help_panel=_OUTPUT,
            help=f"{formats.listed(word='or', by_name=True)}. Default: as the input.",
        ),
    ] = None
    quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            metavar="Q",
            rich_help_panel=_OUTPUT,
            help=f"Of {formats.listed(each for each in formats.every() if each.lossy)}. Default: {DEFAULT_QUALITY}.",
        ),
    ] = None
    suffix: Annotated[
        str,
        typer.Option(metavar="TEXT", rich_help_panel=_OUTPUT, help="Put after each name: a.jpg -> aTEXT.jpg."),
    ] = ""
    keep_suffix: Annotated[
        bool,
        typer.Option(
            "--keep-suffix",
            metavar="",
            rich_help_panel=_OUTPUT,
            help="Keep the input's suffix in the names of outputs of another format: a.tif -> a.tif.png.",
        ),
    ] = False
    if_too_large: Annotated[
        str,
        typer.Option(
            "--if-too-large",
            metavar="FORMAT",
            callback=_other_format,
            rich_help_panel=_OUTPUT,
            help=f"{formats.large()}: what a result becomes that is too large for its format, a.webp -> a.png; fail.",
        ),
    ] = "fail"
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing", metavar="", rich_help_panel=_OUTPUT, help="Leave outputs that exist and do the rest."
        ),
    ] = False
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", metavar="", rich_help_panel=_OUTPUT, help="Write outputs that exist again."),
    ] = False
    save_weights_map: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=_OUTPUT,
            help="Also write there, for each image, a picture of which basis codebook was used where.",
        ),
    ] = None

    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            rich_help_panel=_SELECTION,
            help="Only files that match, such as '*.jpg' or '2019/**'. May be repeated.",
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            rich_help_panel=_SELECTION,
            help="Not the files and directories that match, such as 'thumbs'. May be repeated.",
        ),
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            metavar="",
            rich_help_panel=_SELECTION,
            help="Print what would be written and what is known to fail, and do nothing.",
        ),
    ] = False

    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            "-w",
            metavar="NAME",
            rich_help_panel=_MODEL,
            help="A name from 'adacode weights list', a .safetensors or published .pth file, or hub:OWNER/REPO/FILE.",
        ),
    ] = "compact"
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE", callback=_device, rich_help_panel=_MODEL, help="auto, cpu, cuda, cuda:N or mps."
        ),
    ] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option(metavar="TYPE", rich_help_panel=_MODEL, help="auto, fp32, bf16 or fp16."),
    ] = "auto"
    tile: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            callback=_tile,
            rich_help_panel=_MODEL,
            help="Side of a tile in output pixels, 64 or more; auto fits the free memory, none takes each image whole.",
        ),
    ] = "auto"
    tiling: Annotated[
        Literal["exact", "sampled"],
        typer.Option(
            metavar="KIND",
            rich_help_panel=_MODEL,
            help="exact: as if not tiled; sampled: less memory for the published networks, close to it.",
        ),
    ] = "exact"
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            max=64,
            metavar="N",
            rich_help_panel=_MODEL,
            help="Threads that read, and as many that write. Default: 2; on a GPU one a core, at most 8.",
            show_default=False,
        ),
    ] = None
    hub_repo: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/REPO",
            envvar="ADACODE_HUB_REPO",
            rich_help_panel=_MODEL,
            help="Where on the Hugging Face Hub to look for weights that are not bundled.",
        ),
    ] = None

    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", metavar="", rich_help_panel=_CONSOLE, help="Only failures and errors.")
    ] = False
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            metavar="",
            rich_help_panel=_CONSOLE,
            help="Every file, every note, tracebacks of errors.",
        ),
    ] = False
    json: Annotated[
        bool,
        typer.Option(
            "--json", metavar="", rich_help_panel=_CONSOLE, help="One JSON object per event on standard output."
        ),
    ] = False

    @property
    def tile_choice(self) -> Literal["auto", "none"] | int:
        """`tile` as the engine wants it."""
        if self.tile == "auto":
            return "auto"
        return "none" if self.tile == "none" else int(self.tile)


def is_stdin(inputs: list[str] | None) -> bool:
    """True if the one input is a pipe. Raises UsageError if `-` is mixed with others."""
    if not inputs or _STDIN not in inputs:
        return False
    if len(inputs) > 1:
        raise UsageError("'-' cannot be combined with other inputs", hint="It stands for one image on standard input.")
    return True
