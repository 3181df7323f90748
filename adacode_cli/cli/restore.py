"""`adacode sr`, `adacode inpaint` and `adacode reconstruct`: the commands, and how all three become a finished run.

The order is: check the options, plan, (a dry run ends here,) load the weights, run. So a mistake in a path is reported
before anybody waits for a download or for torch to be imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adacode_cli.cli.boundary import session_of
from adacode_cli.cli.console import console_for
from adacode_cli.cli.loading import description_of
from adacode_cli.cli.log_file import logged
from adacode_cli.cli.options import with_option_groups
from adacode_cli.cli.pipe import restore_pipe
from adacode_cli.cli.restore_options import Denoise, Inputs, RestoreOptions, is_stdin
from adacode_cli.cli.restore_plan import Request, foresight_of, keeping_of, plan_of, show_plan, trees_of
from adacode_cli.cli.signals import interruptible
from adacode_cli.errors import EXIT_INTERRUPTED, UsageError
from adacode_cli.limits import DECODING_LIMIT_S
from adacode_cli.tasks import TASKS

if TYPE_CHECKING:
    from adacode_cli.batch.mask_pairs import MaskPairs
    from adacode_cli.batch.masks import HoleSource

# A run has this long to write what it has and to say how it ended; then the process ends in whatever it is doing.
_STOPS_WITHIN_S = 1.7
SR_EPILOG = """[bold]Examples[/bold]

  adacode sr photos                        a whole tree -> photos-sr-x4/
  adacode sr photos -o out --format png    the same tree in out/, as PNG
  adacode sr a.jpg -o b.png --scale 2      one image, twice as large
  adacode sr a.jpg -o b.png --denoise 0.5  leaves some of the grain
  cat a.jpg | adacode sr - > b.jpg         a pipe; as the input, or as --format
  find photos -name '*.jpg' -print0 | adacode sr --from-file - --null -o out
  adacode sr photos                        again: goes on after an interruption"""
Scale = Annotated[
    float,
    typer.Option(
        "--scale",
        "-s",
        min=1.0,
        max=4.0,
        metavar="FACTOR",
        help="How much larger, from 1 to 4; fractions too.",
    ),
]
INPAINT_EPILOG = """[bold]Examples[/bold]

  adacode inpaint a.png --mask hole.png      fill what is white in hole.png
  adacode inpaint scans --mask-dir masks     one mask per image, by name
  adacode inpaint logo.png --mask-alpha      fill what is transparent
  adacode inpaint a.png --mask-color '#ff00ff' --grow 2 --feather 4"""
_PANEL = "The hole (exactly one)"
_EDGE = "Its edge"
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
RECONSTRUCT_EPILOG = """[bold]Examples[/bold]

  adacode reconstruct photos                     -> photos-reconstruct/
  adacode reconstruct photos --save-codes codes  also codes/….adacode
  adacode reconstruct --from-codes codes         -> codes-reconstruct/
  adacode reconstruct --from-codes a.adacode -o a.png
  adacode reconstruct a.png -o b.png --save-weights-map maps"""
_CODES = "Codes"


def restore(context: typer.Context, inputs: list[str] | None, options: RestoreOptions, request: Request) -> None:
    """Carries out a command and leaves its exit code in the session. Raises AdaCodeError."""
    session = session_of(context)
    session.json, session.verbose = options.json, options.verbose
    _check(options)
    with interruptible(limit_s=_STOPS_WITHIN_S):
        try:
            session.exit_code = _restored(_texts(inputs, options), options, request)
        except KeyboardInterrupt:
            session.exit_code = EXIT_INTERRUPTED


def _restored(inputs: list[str], options: RestoreOptions, request: Request) -> int:
    if options.from_file is None and is_stdin(inputs):
        return restore_pipe(options, request)
    return _files(inputs, options, request)


def _check(options: RestoreOptions) -> None:
    if options.skip_existing and options.overwrite:
        raise UsageError("--skip-existing and --overwrite contradict one another", hint="Drop one of the two.")
    if options.quiet and options.verbose:
        raise UsageError("--quiet and --verbose contradict one another", hint="Drop one of the two.")
    if not options.isolate and options.decode_timeout != DECODING_LIMIT_S:
        hint = "Drop one of the two: what is decoded in the run itself cannot be stopped."
        raise UsageError("--decode-timeout has no effect with --no-isolate", hint=hint)
    if options.null and options.from_file is None:
        raise UsageError("--null is about --from-file, which is not given", hint="Add --from-file LIST or drop it.")


def _texts(inputs: list[str] | None, options: RestoreOptions) -> list[str]:
    if options.from_file is None:
        if not inputs:
            raise UsageError("no input is given", hint="Name images or directories, or give --from-file a list.")
        if "" in inputs:
            hint = "A variable in a script may be empty; '.' is the working directory."
            raise UsageError("an input has an empty name", hint=hint)
        return inputs
    if inputs:
        raise UsageError("--from-file and inputs on the command line are both given", hint="Put all into the list.")
    return []


def _files(inputs: list[str], options: RestoreOptions, request: Request) -> int:
    from adacode_cli.batch.local import LocalExecutor
    from adacode_cli.batch.run import run
    from adacode_cli.cli.path_list import read_paths
    from adacode_cli.imaging.decoder_pool import decoding

    paths = [Path(text) for text in inputs]
    if options.from_file is not None:
        paths = read_paths(options.from_file, null=options.null)
    trees = trees_of(options, request)
    plan = plan_of(paths, options, request, trees)
    console = console_for(request.task, quiet=options.quiet, verbose=options.verbose, as_json=options.json)
    if options.dry_run:
        return show_plan(plan, console, trees, foresight_of(options, request), keeping_of(options))
    with console, decoding(isolated=options.isolate, limit_s=options.decode_timeout) as decoder:
        with console.waiting(f"loading {options.weights}"):
            stages, weights = description_of(options, request, plan.masks).stages(decoder)
        if plan.has_tree:
            trees.with_weights(weights, plan.jobs)
        with logged(options.log_file, console.on_event) as log:
            executor = LocalExecutor(stages, jobs=options.jobs)
            report = run(plan, executor, on_event=log.on_event, trees=trees, log_error=log.error)
        return report.exit_code


@with_option_groups
def sr(
    context: typer.Context, options: RestoreOptions, inputs: Inputs = None, scale: Scale = 4.0, denoise: Denoise = 1.0
) -> None:
    """Make images larger (super-resolution) and clean them.

    Originals are never written to. One bad file does not stop the others; the summary names it.
    """
    restore(context, inputs, options, Request("sr", TASKS["sr"].label(scale), scale=scale, denoise=denoise))


def _color(value: str | None) -> str | None:
    if value is None or _COLOR.fullmatch(value):
        return value
    raise typer.BadParameter(f"{value!r} is not a colour such as '#ffffff' (quoted, because # begins a comment).")


@dataclass(frozen=True)
class HoleOptions:
    """Where the hole of each image is, and how its edge is treated."""

    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_PANEL,
            help="A picture of the image's size, white where the hole is, or with strokes on a transparent layer; used "
            "for all inputs.",
        ),
    ] = None
    mask_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=_PANEL,
            help="A directory with a mask per image: at the image's path there (1931/p1.png for 1931/p1.jpg), or with "
            "_mask behind its name, or anywhere under a name that is unique.",
        ),
    ] = None
    mask_alpha: Annotated[
        bool,
        typer.Option(
            "--mask-alpha", metavar="", rich_help_panel=_PANEL, help="What is transparent; it is opaque afterwards."
        ),
    ] = False
    mask_color: Annotated[
        str | None,
        typer.Option(
            metavar="COLOR", callback=_color, rich_help_panel=_PANEL, help="What has exactly this colour: '#rrggbb'."
        ),
    ] = None
    grow: Annotated[
        int,
        typer.Option(min=0, max=1024, metavar="PIXELS", rich_help_panel=_EDGE, help="Make the hole larger by so much."),
    ] = 0
    feather: Annotated[
        int,
        typer.Option(
            min=0,
            max=1024,
            metavar="PIXELS",
            rich_help_panel=_EDGE,
            help="Blend over so much outside the hole. Everything beyond stays bit-identical.",
        ),
    ] = 0

    def paths(self) -> tuple[Path, ...]:
        """Files and directories that hold masks, not images."""
        return tuple(path for path in (self.mask, self.mask_dir) if path is not None)

    def source(self) -> Callable[[MaskPairs | None], HoleSource]:
        """What builds the chosen source of holes. Raises UsageError unless exactly one is chosen."""
        chosen = [self.mask is not None, self.mask_dir is not None, self.mask_alpha, self.mask_color is not None]
        if sum(chosen) != 1:
            problem = "no hole is given" if not any(chosen) else "more than one hole is given"
            raise UsageError(problem, hint="Use exactly one of --mask, --mask-dir, --mask-alpha, --mask-color.")
        return self._build

    def kind(self) -> str:
        """Where the holes come from, in a word; their files' contents are looked at for each image."""
        if self.mask_color is not None:
            return self.mask_color.lower()
        return "alpha" if self.mask_alpha else "file"

    def _build(self, pairs: MaskPairs | None) -> HoleSource:
        from adacode_cli.batch import masks

        edge = masks.Edge(self.grow, self.feather)
        if self.mask is not None:
            return masks.OneFile(self.mask, edge)
        if pairs is not None:
            return masks.PairedFiles(pairs, edge)
        if self.mask_color is not None:
            return masks.OneColor(self.mask_color, edge)
        return masks.Transparency(edge)


@with_option_groups
def inpaint(context: typer.Context, hole: HoleOptions, options: RestoreOptions, inputs: Inputs = None) -> None:
    """Fill holes in images; what lies outside stays bit-identical.

    The hole comes from a mask file, a directory of masks, transparency or a colour. Files of lossy formats, such as
    JPEG, are encoded anew, which moves every pixel a little: for results that are exact on disk, choose --format png or
    tiff.
    """
    source = hole.source()
    if hole.mask_dir is not None and is_stdin(inputs):
        raise UsageError("--mask-dir needs file names to pair, and standard input has none", hint="Use --mask FILE.")
    request = Request(
        "inpaint",
        "inpaint",
        holes=source,
        mask_dir=hole.mask_dir,
        mask_kind=hole.kind(),
        mask_paths=hole.paths(),
        grow_px=hole.grow,
        feather_px=hole.feather,
        opaque_hole=hole.mask_alpha,
    )
    restore(context, inputs, options, request)


@with_option_groups
def reconstruct(
    context: typer.Context,
    options: RestoreOptions,
    inputs: Inputs = None,
    save_codes: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            rich_help_panel=_CODES,
            help="Also write each image's codes and mixing weights: into this directory, or, for one image, into this "
            "file (.adacode). The image that is written is then the one that --from-codes gives, bit for bit.",
        ),
    ] = None,
    from_codes: Annotated[
        bool,
        typer.Option(
            "--from-codes",
            metavar="",
            rich_help_panel=_CODES,
            help="The inputs are .adacode files, or directories with such files.",
        ),
    ] = False,
) -> None:
    """Rebuild images at their own size from the codebooks alone.

    Shows what the codebooks can express: the quality that every other task starts from. The codes are a compressed
    form of the image, which can be kept in a file.
    """
    if save_codes and from_codes:
        raise UsageError("--save-codes and --from-codes contradict one another", hint="Drop one of the two.")
    request = Request("reconstruct", "reconstruct", save_codes=save_codes, from_codes=from_codes)
    restore(context, inputs, options, request)
