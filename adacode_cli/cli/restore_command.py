"""What `sr`, `inpaint` and `reconstruct` have in common: from options to a finished run.

The order is: check the options, plan, (dry run ends here,) load the weights, run. So a mistake in a path is told
before anybody waits for a download or for torch to be imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from adacode_cli.cli import stdout
from adacode_cli.cli.boundary import session_of
from adacode_cli.cli.console import Console, console_for
from adacode_cli.cli.restore_options import RestoreOptions, is_stdin
from adacode_cli.cli.signals import interruptible
from adacode_cli.errors import EXIT_INTERRUPTED, OutputError, UsageError

if TYPE_CHECKING:
    from adacode_cli.batch.masks import MaskSource
    from adacode_cli.batch.plan import Plan
    from adacode_cli.batch.stages import Stages

STDIN_FORMAT = "png"


@dataclass(frozen=True)
class Request:
    """What to do with each image. `mask_source` is built late, as it imports pixels; `mask_paths` are no inputs.

    `save_codes` and `from_codes` are for "reconstruct" alone.
    """

    task: Literal["sr", "inpaint", "reconstruct"]
    label: str
    scale: float = 4.0
    mask_source: Callable[[], MaskSource] | None = None
    mask_paths: tuple[Path, ...] = ()
    grow_px: int = 0
    feather_px: int = 0
    opaque_hole: bool = False
    save_codes: Path | None = None
    from_codes: bool = False


def restore(context: typer.Context, inputs: list[str], options: RestoreOptions, request: Request) -> None:
    """Carries out a command and leaves its exit code in the session. Raises AdaCodeError."""
    session = session_of(context)
    session.json, session.verbose = options.json, options.verbose
    _check(options)
    with interruptible():
        session.exit_code = _interrupted_is_a_code(
            lambda: _pipe(options, request) if is_stdin(inputs) else _files(inputs, options, request)
        )


def _interrupted_is_a_code(work: Callable[[], int]) -> int:
    try:
        return work()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _check(options: RestoreOptions) -> None:
    if options.skip_existing and options.overwrite:
        raise UsageError("--skip-existing and --overwrite contradict one another", hint="Drop one of the two.")
    if options.quiet and options.verbose:
        raise UsageError("--quiet and --verbose contradict one another", hint="Drop one of the two.")


def _files(inputs: list[str], options: RestoreOptions, request: Request) -> int:
    from adacode_cli.batch.run import run

    plan = _plan([Path(text) for text in inputs], options, request)
    console = console_for(request.task, quiet=options.quiet, verbose=options.verbose, as_json=options.json)
    if options.dry_run:
        _show_plan(plan, console)
        return 0
    with console:
        with console.waiting(f"loading {options.weights}"):
            stages = _stages(options, request)
        return run(plan, stages, jobs=options.jobs, on_event=console.on_event).exit_code


def _plan(inputs: list[Path], options: RestoreOptions, request: Request) -> Plan:
    from adacode_cli.batch.coding import CodesPlace
    from adacode_cli.batch.collisions import refuse_shared_targets
    from adacode_cli.batch.discover import Selection
    from adacode_cli.batch.globs import Globs
    from adacode_cli.batch.naming import Naming
    from adacode_cli.batch.plan import OnExisting, make_plan
    from adacode_cli.batch.stages import map_path
    from adacode_cli.codes.file import SUFFIX
    from adacode_cli.imaging.decode import EXTENSIONS

    on_existing = OnExisting.SKIP if options.skip_existing else OnExisting.REFUSE
    if options.overwrite:
        on_existing = OnExisting.OVERWRITE
    maps_dir = options.save_weights_map
    avoid = (*request.mask_paths, *([maps_dir] if maps_dir else []))
    suffixes = frozenset({SUFFIX}) if request.from_codes else EXTENSIONS
    globs = Globs(tuple(options.include or ()), tuple(options.exclude or ()))
    naming = Naming(request.label, options.output, options.format, options.suffix)
    plan = make_plan(inputs, naming, Selection(globs, avoid, suffixes), on_existing)
    if maps_dir:
        refuse_shared_targets((job.source, map_path(maps_dir, job)) for job in plan.jobs)
    if request.save_codes:
        may_exist = options.overwrite or options.skip_existing
        CodesPlace(request.save_codes).check(inputs, plan.jobs, may_exist=may_exist)
    return plan


def _show_plan(plan: Plan, console: Console) -> None:
    for job in plan.jobs:
        console.planned(job)
    for job in plan.to_skip:
        console.left_out(job.source, job.target, "the output exists")
    for entry in plan.passed_over:
        console.left_out(entry.path, None, entry.reason)


def _stages(options: RestoreOptions, request: Request) -> Stages:
    from adacode_cli.batch.coding import CodesPlace, FromCodesStages, SavingStages
    from adacode_cli.batch.keeping import Keeping
    from adacode_cli.batch.restoring import Restoring
    from adacode_cli.batch.stages import Stages
    from adacode_cli.engine.restorer import Restorer
    from adacode_cli.imaging.provenance import HistoryEntry

    mask_for = request.mask_source() if request.mask_source else None
    restorer = Restorer.from_pretrained(
        options.weights,
        device=options.device,
        precision=options.precision,
        tile=options.tile_choice,
        tiling=options.tiling,
        hub_repo=options.hub_repo,
    )
    digest = restorer.prepare(request.task, request.scale)
    restoring = Restoring(
        restorer, request.task, request.scale, request.grow_px, request.feather_px, request.opaque_hole
    )
    history = None if options.no_provenance else HistoryEntry(request.label, _shown(options.weights), digest)
    keeping = Keeping(history, options.strict, options.preserve_times, options.max_pixels)
    common = (restoring, mask_for, options.quality, options.save_weights_map, keeping)
    if request.save_codes:
        return SavingStages(*common, coder=restorer, codes_path=CodesPlace(request.save_codes).path)
    return FromCodesStages(*common, coder=restorer) if request.from_codes else Stages(*common)


def _shown(weights: str) -> str:
    """Weights by name; of a file not its folders, which are nobody's business who gets the picture."""
    return weights if weights.startswith("hub:") else Path(weights).name


def _pipe(options: RestoreOptions, request: Request) -> int:
    from adacode_cli.batch.coding import CodesPlace
    from adacode_cli.batch.stream import STDIN, STREAM, restore_bytes

    target, format_name = _pipe_target(options)
    if request.save_codes:
        CodesPlace(request.save_codes).check([STREAM.source], [STREAM], may_exist=options.overwrite)
    if options.dry_run:
        stdout.write_line(f"{STDIN} -> {target or '<stdout>'}")
        return 0
    console = console_for(request.task, quiet=options.quiet, verbose=options.verbose, as_json=False)
    with console.waiting("restoring standard input"):
        data, notes = restore_bytes(sys.stdin.buffer.read(), _stages(options, request), format_name)
    for note in notes:
        console.note(STDIN, note)
    if target is None:
        stdout.write_bytes(data)
    else:
        _write(target, data)
    return 0


def _pipe_target(options: RestoreOptions) -> tuple[Path | None, str]:
    """The file that receives the restored pipe, or None for standard output; and its format."""
    from adacode_cli.imaging.encode import format_of

    if options.json:
        raise UsageError("--json cannot be used with '-'", hint="Restore a file, or leave out --json.")
    if sys.stdin is None or sys.stdin.isatty():
        hint = "Pipe one in: cat a.jpg | adacode … - > b.png"
        raise UsageError("'-' waits for an image on standard input, and there is none", hint=hint)
    if options.output is None:
        if sys.stdout.isatty() and not options.dry_run:
            raise UsageError("an image would be written to the terminal", hint="Redirect it: adacode … - > b.png")
        return None, options.format or STDIN_FORMAT
    named_format = format_of(options.output)
    if named_format is None or options.output.is_dir():
        raise UsageError(f"-o {options.output} names no image file", hint="With '-', give a name such as -o b.png.")
    if options.format not in (None, named_format):
        raise UsageError(f"-o {options.output} contradicts --format {options.format}", hint="Drop one of the two.")
    if options.output.exists() and not options.overwrite:
        raise OutputError("exists already", path=options.output, hint="Add --overwrite to write it again.")
    return options.output, named_format


def _write(target: Path, data: bytes) -> None:
    from adacode_cli.batch.stages import write_new

    write_new(target, data)
