"""`adacode sr`, `adacode inpaint` and `adacode reconstruct`: the commands, and how all three become a finished run.

The order is: check the options, inputs, weights and the device as far as that takes no time, plan (a dry run ends
here), load the weights, run. So a mistake is reported before the slow steps: a download, and the import of torch.
"""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from adacode_cli.cli.again import words_again
from adacode_cli.cli.boundary import SOURCES, came_from, interruptions_named, invocation_of, say_last_words
from adacode_cli.cli.cluster import check_address, check_cluster, check_inputs, for_the_engine
from adacode_cli.cli.configuration import set_elsewhere
from adacode_cli.cli.console import Console, console_for
from adacode_cli.cli.dry_run import dry_run
from adacode_cli.cli.executing import executing, is_for_several
from adacode_cli.cli.hole_options import HoleOptions
from adacode_cli.cli.loading import description_of
from adacode_cli.cli.log_file import logged
from adacode_cli.cli.option_values import shard_of
from adacode_cli.cli.options import Inputs, flag, with_option_groups
from adacode_cli.cli.pipe import restore_pipe
from adacode_cli.cli.readiness import check_ready
from adacode_cli.cli.remote_options import check_addresses, check_no_address
from adacode_cli.cli.restore_options import Denoise, RestoreOptions, is_stdin
from adacode_cli.cli.restore_plan import Request, foresight_of, naming_of, note_empty_part, plan_of, trees_of
from adacode_cli.cli.signals import say_at_a_signal
from adacode_cli.cli.size_options import SizeOptions, Strength
from adacode_cli.cli.watch import check_watch, watch_folders
from adacode_cli.cli.works import read_works
from adacode_cli.errors import EXIT_INTERRUPTED, UsageError
from adacode_cli.limits import DECODING_LIMIT_S, MAX_CODE_LEVELS
from adacode_cli.storage.path import is_address, is_remote, path_of

# After a signal a run has this time to write finished results and its summary; then the process ends in any case.
_STOPS_WITHIN_S = 1.7
_STOPS_IN_STORE_WITHIN_S = 4.5
_CODES = "Codes"
_NAME_OUTPUTS = ("format", "suffix", "keep_suffix", "if_too_large")

SR_EPILOG = """Examples:

  adacode sr photos                        a whole tree -> photos-sr-x4/
  adacode sr photos -o out --format png    the same tree in out/, as PNG
  adacode sr a.jpg -o b.png --scale 2      one image, twice as large
  adacode sr photos --long-edge 3840       every image as large as a 4K screen
  adacode sr a.jpg -o b.png --denoise 0.5  keeps some of the grain
  cat a.jpg | adacode sr - > b.jpg         a pipe, in the format of the input
  find photos -name '*.jpg' -print0 | adacode sr --from-file - --null -o out
  adacode sr photos                        again: continues an interrupted run
  adacode sr inbox -o out --watch          also what comes in later"""
INPAINT_EPILOG = """Examples:

  adacode inpaint a.png --mask hole.png      fill what is white in hole.png
  adacode inpaint scans --mask-dir masks     one mask per image, by name
  adacode inpaint logo.png --mask-alpha      fill what is transparent
  adacode inpaint a.png --mask-color '#ff00ff' --grow 2 --feather 4"""
RECONSTRUCT_EPILOG = """Examples:

  adacode reconstruct photos                     -> photos-reconstruct/
  adacode reconstruct photos --save-codes codes  also codes/….adacode
  adacode reconstruct --from-codes codes         -> codes-reconstruct/
  adacode reconstruct --from-codes a.adacode -o a.png
  adacode reconstruct a.png -o b.png --save-weights-map maps"""


@with_option_groups
def sr(
    context: typer.Context,
    size: SizeOptions,
    options: RestoreOptions,
    inputs: Inputs = None,
    *,
    denoise: Denoise = 1.0,
    strength: Strength = 1.0,
) -> None:
    """Make images larger (super-resolution) and clean them.

    Originals are never overwritten. A file that fails does not stop the others; the summary names it.
    """
    if size.skip_larger and is_stdin(inputs):
        hint = "Leave it out: an image that is as large already is passed on as it is."
        raise UsageError("--skip-larger cannot be used with '-', because there would be no output", hint=hint)
    _restore(context, inputs, options, Request("sr", size.sizing(), denoise, strength))


@with_option_groups
def inpaint(context: typer.Context, hole: HoleOptions, options: RestoreOptions, inputs: Inputs = None) -> None:
    """Fill holes in images; in lossless formats, all other pixels stay as they are.

    The hole comes from a mask file, a directory of masks, transparency, a colour
    or a detector. JPEG and other lossy formats move every pixel a little: for results
    that are exact on disk, choose --format png or tiff.
    """
    hole.check()
    if hole.mask_dir is not None and is_stdin(inputs):
        raise UsageError(
            "--mask-dir needs file names to find masks, and standard input has none", hint="Use --mask FILE."
        )
    _restore(context, inputs, options, Request("inpaint", hole=hole))


@with_option_groups
def reconstruct(
    context: typer.Context,
    options: RestoreOptions,
    inputs: Inputs = None,
    *,
    save_codes: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            rich_help_panel=_CODES,
            help="Also write each image's codes and mixing weights: into this directory, or, for one image, into this "
            "file if its name ends in .adacode. The image that is written is bit-identical to that of --from-codes.",
        ),
    ] = None,
    code_levels: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_CODE_LEVELS,
            metavar="N",
            rich_help_panel=_CODES,
            help=f"With --save-codes: keep the first N levels of codes, at most {MAX_CODE_LEVELS}, for smaller files "
            "and coarser images. Default: all that the weights have.",
        ),
    ] = None,
    from_codes: Annotated[
        bool,
        flag("--from-codes", panel=_CODES, help="The inputs are .adacode files, or directories with such files."),
    ] = False,
) -> None:
    """Rebuild images at their own size from codes and mixing weights alone.

    It shows what the codes hold, and does not improve images. Codes and mixing
    weights can be stored in a file, for example for research; for archives,
    image formats keep more in fewer bytes.
    """
    if save_codes and from_codes:
        raise UsageError("--save-codes and --from-codes contradict one another", hint="Leave out one of the two.")
    if code_levels is not None and from_codes:
        hint = "Save the codes of the image again, with --save-codes and --code-levels."
        raise UsageError("--code-levels and --from-codes contradict one another", hint=hint)
    if code_levels is not None and save_codes is None:
        raise UsageError("--code-levels has no effect without --save-codes", hint="Add --save-codes PATH.")
    request = Request("reconstruct", save_codes=save_codes, code_levels=code_levels, from_codes=from_codes)
    _restore(context, inputs, options, request)


def _restore(context: typer.Context, inputs: list[str] | None, options: RestoreOptions, request: Request) -> None:
    """Carries out a command and leaves its exit code in the invocation. Raises AdaCodeError."""
    invocation = invocation_of(context, json=options.json, verbose=options.verbose)
    options = for_the_engine(context, options)
    _check(options)
    options = _with_names_of(context, options, request, is_pipe=is_stdin(inputs))
    if options.from_file is None and is_stdin(inputs):
        options = _for_one_image(context, options)
    if options.report and (refusal := _no_place_for_a_page(inputs, options, request)):
        if came_from(context, "report") == "COMMANDLINE":
            raise refusal
        options = replace(options, report=False)
    if options.report:
        request = replace(request, again=tuple(words_again(context)))
    if options.watch:
        check_watch(inputs or [], options, request)
    say_at_a_signal("" if options.json or options.quiet else "interrupted: nothing was restored")
    try:
        with interruptions_named(_STOPS_IN_STORE_WITHIN_S if _may_write_to_store(inputs, options) else _STOPS_WITHIN_S):
            invocation.exit_code = _restored(_texts(inputs, options), options, request, set_elsewhere(context))
    except KeyboardInterrupt:
        say_last_words()
        invocation.exit_code = EXIT_INTERRUPTED


def _may_write_to_store(inputs: list[str] | None, options: RestoreOptions) -> bool:
    """Whether outputs may be in a store: those of an address or of a list are beside their inputs without -o."""
    if options.output is not None:
        return is_remote(options.output)
    return options.from_file is not None or any(is_address(text) for text in inputs or ())


def _with_names_of(
    context: typer.Context, options: RestoreOptions, request: Request, *, is_pipe: bool
) -> RestoreOptions:
    """The options without those that name outputs and contradict a file that -o names, if they count less than -o.

    So a file of settings that asks for PNG does not forbid `-o b.jpg`.
    """
    if not (is_pipe or naming_of(options, request).names_one_file()):
        return options
    # A pipe without -o has no name, as the command line says.
    output = "COMMANDLINE" if options.output is None else came_from(context, "output")
    names = _NAME_OUTPUTS if options.output is not None else ("if_too_large",)
    weaker = {name for name in names if SOURCES.index(came_from(context, name)) < SOURCES.index(output)}
    defaults: dict[str, Any] = {field.name: field.default for field in fields(options) if field.name in weaker}
    return replace(options, **defaults)


def _for_one_image(context: typer.Context, options: RestoreOptions) -> RestoreOptions:
    """The options with one device, one process and no cluster, of those that a file of settings or a variable gives."""
    if came_from(context, "engine") != "COMMANDLINE":
        options = replace(options, engine="local", address=None, num_workers=None)
    if came_from(context, "processes") != "COMMANDLINE":
        options = replace(options, processes=None)
    if came_from(context, "device") != "COMMANDLINE":
        first = "auto" if options.device == "all" else options.device.split(",")[0]
        options = replace(options, device=first)
    return options


def _restored(inputs: list[str], options: RestoreOptions, request: Request, places: dict[str, str]) -> int:
    if options.engine == "ray":
        check_inputs(inputs, options, request)
    if options.from_file is None and is_stdin(inputs):
        if is_for_several(options):
            hint = "Name one device, and leave out --processes."
            raise UsageError("one image on standard input cannot be restored by several processes", hint=hint)
        check_no_address(options, request)
        return restore_pipe(options, request)
    return _files(inputs, options, request, places)


def _check(options: RestoreOptions) -> None:
    if options.skip_existing and options.overwrite:
        raise UsageError("--skip-existing and --overwrite contradict one another", hint="Leave out one of the two.")
    if options.skip_existing and options.verify:
        hint = "Leave out --skip-existing, which keeps results without a check."
        raise UsageError("--skip-existing and --verify contradict one another", hint=hint)
    if options.quiet and options.verbose:
        raise UsageError("--quiet and --verbose contradict one another", hint="Leave out one of the two.")
    if not options.isolate and options.decode_timeout != DECODING_LIMIT_S:
        hint = "Leave out one of the two: decoding in the run's own process cannot be stopped."
        raise UsageError("--decode-timeout has no effect with --no-isolate", hint=hint)
    if options.null and options.from_file is None:
        raise UsageError("--null has no effect without --from-file", hint="Add --from-file LIST, or leave out --null.")
    if options.watch_interval is not None and not options.watch:
        raise UsageError("--watch-interval has no effect without --watch", hint="Add --watch, or leave it out.")
    check_cluster(options)


def _no_place_for_a_page(inputs: list[str] | None, options: RestoreOptions, request: Request) -> UsageError | None:
    """The error of `--report` where there is no directory of results, in which the page would lie; else None."""
    if options.from_file is None and is_stdin(inputs):
        hint = "Leave it out, or name the image and a directory with -o."
        return UsageError("--report cannot be used with '-', because there is no directory of results", hint=hint)
    if naming_of(options, request).names_one_file():
        hint = "Leave it out, or name a directory with -o."
        return UsageError("--report needs a directory of results, and -o names a file", hint=hint)
    return None


def _texts(inputs: list[str] | None, options: RestoreOptions) -> list[str]:
    if options.from_file is None:
        if not inputs:
            raise UsageError("no input is given", hint="Name images or directories, or give --from-file a list.")
        if "" in inputs:
            hint = "Check for an empty variable in a script; '.' is the working directory."
            raise UsageError("an input has an empty name", hint=hint)
        return inputs
    if inputs:
        raise UsageError(
            "--from-file and inputs on the command line are both given", hint="Put all inputs into the list."
        )
    return []


def _files(inputs: list[str], options: RestoreOptions, request: Request, places: dict[str, str]) -> int:
    from adacode_cli.cli.path_list import read_paths

    paths = [path_of(text) for text in inputs]
    if options.from_file is not None:
        paths = read_paths(options.from_file, null=options.null)
    check_addresses(paths, options, request)
    naming_of(options, request).check(paths)
    check_ready(inputs, options, request)
    check_address(paths, options)
    if options.watch:
        return watch_folders(paths, options, request, places)
    console = console_for(request.task, quiet=options.quiet, verbose=options.verbose, as_json=options.json)
    if options.dry_run:
        return dry_run(paths, options, request, console)
    return _run(paths, options, request, console, places)


def _run(paths: list[Path], options: RestoreOptions, request: Request, console: Console, places: dict[str, str]) -> int:
    with console.waiting("looking for images, and for results that exist"):
        from adacode_cli.batch.output_files import check_directories
        from adacode_cli.batch.run import run

        trees = trees_of(options, request)
        plan = plan_of(paths, options, request, trees)
        check_directories(plan.roots if plan.jobs else ())
    note_empty_part(plan, options, console)
    description = description_of(options, request, plan.masks)
    shard = shard_of(options.shard) if options.shard else None
    roots = plan.roots if plan.has_tree and plan.jobs else ()
    with (
        trees.held(roots, shard, partial(console.note, "store")),
        console,
        executing(options, description, console, (*paths, *request.mask_paths)) as (executor, weights),
    ):
        if plan.has_tree:
            with console.waiting("looking for results that exist"):
                trees.with_weights(weights, plan.jobs)
        read = partial(read_works, plan, trees, foresight_of(options, request))
        with console.expecting(plan.num_files, read), logged(options.log_file, console.on_event) as log:
            report = run(plan, executor, on_event=log.on_event, trees=trees, log_error=log.error, places=places)
        return report.exit_code
