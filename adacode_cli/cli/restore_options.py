"""The options that `sr`, `inpaint` and `reconstruct` share, each written once.

Every option that is not marked as `NoEffectOnResult` is part of the digest in the journal: a later run with another
value makes the outputs again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from adacode_cli import formats
from adacode_cli.cli import option_values
from adacode_cli.cli.kept_options import LIMIT, KeptOptions
from adacode_cli.cli.options import NoEffectOnResult, flag, verbosity
from adacode_cli.errors import UsageError
from adacode_cli.limits import DECODING_LIMIT_S, DEFAULT_QUALITY
from adacode_cli.storage.path import path_of

_STDIN = "-"

_OUTPUT, _SELECTION, _MODEL, _CONSOLE = "Output", "Which files", "Weights and device", "What is shown"
_output, _selection, _model, _console = (
    partial(typer.Option, rich_help_panel=panel) for panel in (_OUTPUT, _SELECTION, _MODEL, _CONSOLE)
)
_beside = partial(_output, metavar="DIR", parser=path_of)

_WHERE = NoEffectOnResult("It sets the places and names of outputs.")
_WHICH = NoEffectOnResult("It chooses files; each file becomes the same as in any other run.")
_HOW = NoEffectOnResult("It sets how the work is done; the results are the same.")
_SHOWN = NoEffectOnResult("It sets what is shown or logged.")
_AGAIN = NoEffectOnResult("It sets what is done with outputs that exist.")
_WEIGHTS = NoEffectOnResult("The journal has the digest of the weights themselves.")


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
class RestoreOptions(KeptOptions):
    """The options of a run, as Typer parses them. docs/formats.md lists what each format can hold."""

    resume: Annotated[
        bool | None,
        _output(
            "--resume/--no-resume",
            help="Keep intact results that an earlier run made from the same inputs, options and weights; "
            "--no-resume starts over. Default: --resume, but --no-resume with --overwrite.",
            show_default=False,
        ),
        _AGAIN,
    ] = None
    verify: Annotated[
        bool,
        flag(
            "--verify",
            panel=_OUTPUT,
            help="Compare the contents of all inputs and results in stores too, not what stores say of them.",
        ),
        _AGAIN,
    ] = False
    guard: Annotated[
        bool,
        _output(
            "--guard/--no-guard",
            help="Compare each result with its input: a result that is black, flat or off in colour is computed again "
            "in fp32, and refused if it does not become better. Not for reconstruct.",
        ),
    ] = True
    quarantine: Annotated[
        Path | None,
        _beside(help="Write results that the guard refused to this directory; files there are never replaced."),
        NoEffectOnResult("A result that was refused is not an output."),
    ] = None
    isolate: Annotated[
        bool,
        _selection(
            "--isolate/--no-isolate",
            help="Decode files in separate processes, so that a codec that crashes affects one file only.",
        ),
        _HOW,
    ] = True
    decode_timeout: Annotated[
        float,
        _selection(
            "--decode-timeout",
            min=0.1,
            max=1e6,
            metavar="SECONDS",
            help="A file that takes longer to decode fails. Not with --no-isolate.",
        ),
        LIMIT,
    ] = DECODING_LIMIT_S
    color_fix: Annotated[
        Literal["none", "low-frequency"],
        _output(
            metavar="KIND", help="low-frequency: restore the input's slow changes of colour and brightness; or none."
        ),
    ] = "none"
    from_file: Annotated[
        str | None,
        _selection(
            metavar="LIST",
            help="Read the paths of inputs from this file, or from standard input (-), one on each line; with -o the "
            "outputs have the same relative paths. UTF-8, or UTF-16 with a byte order mark (PowerShell).",
        ),
        _WHICH,
    ] = None
    null: Annotated[
        bool, flag("--null", panel=_SELECTION, help="Paths in LIST end with a NUL byte: find … -print0."), _WHICH
    ] = False
    shard: Annotated[
        str | None,
        _selection(
            metavar="I/N",
            callback=option_values.shard,
            help="Restore only the I-th of N parts of the files, divided by their paths: one part for each machine.",
        ),
        _WHICH,
    ] = None
    log_file: Annotated[
        Path | None,
        _console(metavar="FILE", help="Also append a line for each file, with the time, to FILE."),
        _SHOWN,
    ] = None

    output: Annotated[
        Path | None,
        _output(
            "--output",
            "-o",
            metavar="PATH",
            parser=option_values.output,
            help="Directory for the results, mirroring the inputs' tree; for one image also a file name; either may be "
            "an address (s3://BUCKET/FOLDER). Default: a new directory beside each input.",
        ),
        _WHERE,
    ] = None
    format: Annotated[
        str | None,
        _output(
            metavar="FORMAT",
            callback=option_values.format_name,
            help=f"{formats.listed(word='or', by_name=True)}. Default: as the input.",
        ),
    ] = None
    quality: Annotated[
        int | None,
        _output(
            min=1,
            max=100,
            metavar="N",
            help=f"Quality of {formats.listed(each for each in formats.every() if each.lossy)} files, from 1 to 100. "
            f"Default: {DEFAULT_QUALITY}.",
        ),
    ] = None
    suffix: Annotated[str, _output(metavar="TEXT", help="Text to add to each name: a.jpg -> aTEXT.jpg."), _WHERE] = ""
    keep_suffix: Annotated[
        bool,
        flag(
            "--keep-suffix",
            panel=_OUTPUT,
            help="Keep the input's suffix in the names of outputs of another format: a.tif -> a.tif.png.",
        ),
        _WHERE,
    ] = False
    if_too_large: Annotated[
        str,
        _output(
            "--if-too-large",
            metavar="FORMAT",
            callback=option_values.other_format,
            help=f"The format of a result that is too large for its own: {formats.large()} (a.webp -> a.png), or fail.",
        ),
        NoEffectOnResult("It sets names; the content under each name is the same."),
    ] = "fail"
    skip_existing: Annotated[
        bool, flag("--skip-existing", panel=_OUTPUT, help="Keep outputs that exist, and restore the others."), _AGAIN
    ] = False
    overwrite: Annotated[bool, flag("--overwrite", panel=_OUTPUT, help="Replace outputs that exist."), _AGAIN] = False
    save_weights_map: Annotated[
        Path | None,
        _beside(help="Also write a map for each image to this directory: which basis codebook was used where."),
    ] = None

    include: Annotated[
        list[str] | None,
        _selection(
            metavar="GLOB",
            help="Restore only files that match, such as '*.jpg' or '2019/**'; upper and lower case are the same. May "
            "be repeated.",
        ),
        _WHICH,
    ] = None
    exclude: Annotated[
        list[str] | None,
        _selection(
            metavar="GLOB",
            help="Leave out files and directories that match, such as 'thumbs'; upper and lower case are the same. May "
            "be repeated.",
        ),
        _WHICH,
    ] = None
    dry_run: Annotated[
        bool,
        flag(
            "--dry-run",
            panel=_SELECTION,
            help="Print what would be written, which files are known to fail, and what the run needs: time, and room "
            "on the disk. No output is written.",
        ),
        NoEffectOnResult("Nothing is written."),
    ] = False
    watch: Annotated[
        bool,
        flag(
            "--watch",
            panel=_SELECTION,
            help="Also restore the files that come into the directories later, as soon as they are complete. Ctrl-C or "
            "SIGTERM ends the command.",
        ),
        _WHICH,
    ] = False
    watch_interval: Annotated[
        float | None,
        _selection(
            min=0.1,
            max=86400,
            metavar="SECONDS",
            help="With --watch: time between two looks; a file is complete when both find it unchanged. Default: 2.",
        ),
        _WHICH,
    ] = None

    weights: Annotated[
        str,
        _model(
            "--weights",
            "-w",
            metavar="NAME",
            help="A name from 'adacode weights list', a .safetensors file, a published .pth, .pt or .ckpt file, "
            "a folder of a bundle, or hub:OWNER/REPO[@REVISION][/FILE].",
        ),
        _WEIGHTS,
    ] = "compact"
    device: Annotated[
        str,
        _model(
            metavar="DEVICE",
            callback=option_values.device,
            help="auto, cpu, cuda, cuda:N or mps; several, with a process for each, as cuda:0,cuda:1; all: every GPU.",
        ),
        NoEffectOnResult("A run may be continued on another device."),
    ] = "auto"
    processes: Annotated[
        int | None,
        _model(
            min=1,
            max=64,
            metavar="N",
            help="On a CPU: restore in N processes, which share its cores. Default: 1, which any device allows.",
            show_default=False,
        ),
        _HOW,
    ] = None
    engine: Annotated[
        Literal["local", "ray"],
        _model(
            metavar="NAME",
            help="What carries out the work: local, this process and those of --device and --processes; or ray, the "
            "workers of a Ray cluster (docs/clusters.md).",
        ),
        _HOW,
    ] = "local"
    address: Annotated[
        str | None,
        _model(
            metavar="ADDRESS",
            help="With --engine ray: auto, or HOST:PORT of a running cluster. Default: a cluster of this machine.",
            show_default=False,
        ),
        _HOW,
    ] = None
    num_workers: Annotated[
        int | None,
        _model(
            min=1,
            max=4096,
            metavar="N",
            help="With --engine ray: the number of workers. Default: one for each GPU; without GPUs, for each machine.",
            show_default=False,
        ),
        _HOW,
    ] = None
    worker_cpus: Annotated[
        int | None,
        _model(
            min=1,
            max=4096,
            metavar="N",
            help="With --engine ray: CPUs of each worker. Default: without GPUs, its share of those of its machine.",
            show_default=False,
        ),
        _HOW,
    ] = None
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16", "int8"],
        _model(
            metavar="TYPE",
            help="fp32, bf16, fp16, or int8: on a CPU, with weights of 'adacode weights quantize', images of 8 bits "
            "per channel only. auto: bf16 or int8 where they are faster and images hardly differ, otherwise fp32.",
        ),
    ] = "auto"
    tile: Annotated[
        str,
        _model(
            metavar="SIZE",
            callback=option_values.tile,
            help="Side of a tile in output pixels, 64 or more; auto: as the free memory allows; none: each image in "
            "one pass.",
        ),
        NoEffectOnResult("Exact tiling leaves no trace; with sampled tiling the digest contains the tile size."),
    ] = "auto"
    tiling: Annotated[
        Literal["exact", "sampled"],
        _model(
            metavar="KIND",
            help="exact: the same result as without tiles; sampled: an approximation that needs less memory with the "
            "published networks.",
        ),
    ] = "exact"
    jobs: Annotated[
        int | None,
        _model(
            "--jobs",
            "-j",
            min=1,
            max=64,
            metavar="N",
            help="Number of threads that read, and of threads that write, from 1 to 64. Default: 2; on a GPU one for "
            "each core, at most 8.",
            show_default=False,
        ),
        _HOW,
    ] = None
    hub_repo: Annotated[
        str | None,
        _model(
            metavar="OWNER/REPO",
            envvar="ADACODE_HUB_REPO",
            help="Where on the Hugging Face Hub to look for weights that are not bundled.",
        ),
        _WEIGHTS,
    ] = None

    report: Annotated[
        bool, flag("--report", panel=_CONSOLE, help="Make a page of images before and after ('adacode view')."), _SHOWN
    ] = False
    quiet: Annotated[bool, flag("--quiet", "-q", panel=_CONSOLE, help="Show only failures and errors."), _SHOWN] = False
    verbose: Annotated[int, verbosity("Show every file and note, and warnings of libraries.", _CONSOLE), _SHOWN] = 0
    json: Annotated[
        bool, flag("--json", panel=_CONSOLE, help="Write one JSON object per event to standard output."), _SHOWN
    ] = False

    @property
    def tile_choice(self) -> Literal["auto", "none"] | int:
        """`tile` in the form that the engine takes."""
        if self.tile == "auto":
            return "auto"
        return "none" if self.tile == "none" else int(self.tile)


def is_stdin(inputs: list[str] | None) -> bool:
    """True if the one input is a pipe. Raises UsageError if `-` is mixed with others."""
    if not inputs or _STDIN not in inputs:
        return False
    if len(inputs) > 1:
        raise UsageError("'-' cannot be combined with other inputs", hint="It means one image on standard input.")
    return True
