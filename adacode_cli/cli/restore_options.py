"""The options that `sr`, `inpaint` and `reconstruct` share, each written once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from adacode_cli import formats
from adacode_cli.errors import UsageError
from adacode_cli.limits import DECODING_LIMIT_S, DEFAULT_QUALITY, MAX_FILE_BYTES, MAX_PIXELS, MIN_TILE_PX

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_STDIN = "-"
_MODEL = "Weights and device"
_OUTPUT = "Output"
_SELECTION = "Which files"
_CONSOLE = "What is shown"
_SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
_KEPT = "What is kept"


def shard_of(text: str) -> tuple[int, int] | None:
    """(part, parts) of a text such as "2/4", None for another text."""
    found = _SHARD.fullmatch(text)
    part, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    return (part, parts) if 1 <= part <= parts else None


def _shard(value: str | None) -> str | None:
    if value is None or shard_of(value) is not None:
        return value
    raise typer.BadParameter(f"{value!r} is not I/N with I from 1 to N, such as 2/4.")


def _format_name(value: str | None) -> str | None:
    if value is None:
        return None
    found = formats.find(value)
    if found is None:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(formats.names())}.")
    return found.name


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
class KeepingOptions:
    """What a person chose; docs/formats.md says what each format can hold."""

    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            metavar="",
            rich_help_panel=_KEPT,
            help="An image of which something cannot be kept in the output format fails; nothing is written for it.",
        ),
    ] = False
    preserve_times: Annotated[
        bool,
        typer.Option(
            "--preserve-times", metavar="", rich_help_panel=_KEPT, help="Outputs get the file times of their inputs."
        ),
    ] = False
    no_provenance: Annotated[
        bool,
        typer.Option(
            "--no-provenance",
            metavar="",
            rich_help_panel=_KEPT,
            help="Do not note tool, version and weights in the outputs' EXIF and XMP.",
        ),
    ] = False
    accept_damaged: Annotated[
        bool,
        typer.Option(
            "--accept-damaged",
            metavar="",
            rich_help_panel=_KEPT,
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
            rich_help_panel=_KEPT,
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
            rich_help_panel=_KEPT,
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


@dataclass(frozen=True)
class LongRunOptions:
    """What a person chose about a run of many files."""

    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            rich_help_panel=_OUTPUT,
            help="Leave what an earlier run made of the same inputs, options and weights, if it is intact; "
            "--no-resume starts over. Default: --resume, but --no-resume with --overwrite.",
            show_default=False,
        ),
    ] = None
    guard: Annotated[
        bool,
        typer.Option(
            "--guard/--no-guard",
            rich_help_panel=_OUTPUT,
            help="Compare each result with its input: one that is black, flat or drifts in colour is computed again in "
            "fp32, and fails if that does not help. Not for reconstruct.",
        ),
    ] = True
    quarantine: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=_OUTPUT,
            help="Keep results that the guard refused there; nothing there is replaced.",
        ),
    ] = None
    isolate: Annotated[
        bool,
        typer.Option(
            "--isolate/--no-isolate",
            rich_help_panel=_SELECTION,
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
            rich_help_panel=_SELECTION,
            help="A file that takes longer to decode fails. Not with --no-isolate.",
        ),
    ] = DECODING_LIMIT_S
    color_fix: Annotated[
        Literal["none", "low-frequency"],
        typer.Option(
            metavar="KIND",
            rich_help_panel=_OUTPUT,
            help="low-frequency: put the input's slow changes of colour and light back; none.",
        ),
    ] = "none"
    from_file: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            rich_help_panel=_SELECTION,
            help="Read inputs from this file, or from standard input (-), one a line; with -o the outputs lie as the "
            "paths are written. UTF-8, or UTF-16 with a byte order mark (PowerShell).",
        ),
    ] = None
    null: Annotated[
        bool,
        typer.Option(
            "--null", metavar="", rich_help_panel=_SELECTION, help="In LIST, inputs end with a NUL: find … -print0."
        ),
    ] = False
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            callback=_shard,
            rich_help_panel=_SELECTION,
            help="Only the I-th of N parts of the files, by their paths: one part for each machine.",
        ),
    ] = None
    log_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=_CONSOLE, help="Also append a line for each file, with the time, to FILE."
        ),
    ] = None


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
        Literal["png", "tiff", "fail"],
        typer.Option(
            "--if-too-large",
            metavar="FORMAT",
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
