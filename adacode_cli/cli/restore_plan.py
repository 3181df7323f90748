"""From options to the plan of a run: which files, where to, and what an earlier run has done already.

Nothing here needs the weights, so a mistake in a path is reported before they are loaded. A dry run shows the
plan (`cli.dry_run`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from adacode_cli import formats
from adacode_cli.cli.console import Console
from adacode_cli.cli.hole_options import HoleOptions
from adacode_cli.cli.option_values import shard_of
from adacode_cli.cli.options import NoEffectOnResult, effective
from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.errors import InputError, OutputError, UsageError
from adacode_cli.limits import DEFAULT_QUALITY
from adacode_cli.sizes import AS_LARGE_ALREADY, DEFAULT_SIZING, Fate, Sizing
from adacode_cli.tasks import TASKS

if TYPE_CHECKING:
    from adacode_cli.batch.estimate import Needs
    from adacode_cli.batch.foresight import Foresight
    from adacode_cli.batch.found import PassedOver, Selection
    from adacode_cli.batch.keeping import Keeping
    from adacode_cli.batch.naming import Naming
    from adacode_cli.batch.outcome import Outcome
    from adacode_cli.batch.plan import Job, OnExisting, Plan
    from adacode_cli.batch.trees import Trees
    from adacode_cli.batch.writes import Writes
    from adacode_cli.imaging.decode import Decode


@dataclass(frozen=True)
class Request:
    """What to do with each image: `task` is a name of `tasks.TASKS`.

    `hole` is for tasks that fill holes; `save_codes`, `code_levels` and `from_codes` are for tasks whose images are
    made from codes. `again`: the words of the command that does the same.
    """

    task: str
    sizing: Sizing = DEFAULT_SIZING
    denoise: float = 1.0
    strength: float = 1.0
    hole: HoleOptions | None = None
    save_codes: Path | None = None
    code_levels: int | None = None
    from_codes: bool = False
    again: Annotated[tuple[str, ...], NoEffectOnResult("It is shown beside the results.")] = ()

    @property
    def label(self) -> str:
        """The task with its size, as in the names of folders of results: "sr-x4", "sr-width-3840"."""
        return f"{self.task}-{self.sizing.label}" if TASKS[self.task].enlarges else self.task

    @property
    def step(self) -> str:
        """What was done, as it is written into the provenance of the image."""
        values = {"denoise": self.denoise, "strength": self.strength}
        return ", ".join([self.label, *(f"{name} {value:g}" for name, value in values.items() if value != 1)])

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """Files and directories that hold masks, and so are not inputs."""
        return self.hole.paths() if self.hole else ()


def options_digest(options: RestoreOptions, request: Request) -> str:
    """The digest of all options that change what is written: of every field that is not `NoEffectOnResult`.

    The default quality counts the same whether it is given or not. Exact tiling leaves no trace; sampled tiling does.
    """
    from adacode_cli.batch.record import digest_of
    from adacode_cli.version import __version__

    chosen = effective(options)
    if options.tiling == "sampled":
        chosen["tile"] = options.tile
    if options.quality == DEFAULT_QUALITY:
        chosen["quality"] = None
    return digest_of(chosen | _request_values(request) | {"tool": __version__})


def _request_values(request: Request) -> dict[str, object]:
    """The values of a request that change what is written, with the names and groups that all journals have used."""
    chosen, hole = effective(request), request.hole
    chosen |= effective(hole) if hole else {}
    grouped: dict[str, object] = {
        "label": request.label,
        "hole": (hole.kind(), hole.grow, hole.feather, hole.mask_alpha) if hole else ("", 0, 0, False),
        "codes": (request.save_codes, request.from_codes),
    }
    # Options that came later count only if they are given: the journals of other runs stay valid. Without exemplars,
    # results are those of before they existed. Files that --skip-larger leaves out have no results.
    unset = {"save_mask": None, "exemplars": False, "code_levels": None, "strength": 1.0}
    later = {name for name, value in unset.items() if chosen.get(name, value) == value}
    known = later | {
        "task",
        "sizing",
        "mask_alpha",
        "mask_color",
        "mask_tolerance",
        "grow",
        "feather",
        "save_codes",
        "from_codes",
    }
    return {name: value for name, value in chosen.items() if name not in known} | grouped | _values_of(request.sizing)


def _values_of(sizing: Sizing) -> dict[str, object]:
    if sizing.kind == "scale":
        # The label has six digits of the scale, but further digits can change the size by a pixel.
        return {"scale": sizing.amount}
    return {"size": (sizing.kind, sizing.amount), "shrink": sizing.as_large is Fate.SHRUNK}


def trees_of(options: RestoreOptions, request: Request) -> Trees:
    """What is known of the output trees, and whether it counts: see docs/journal.md for how the options combine."""
    from adacode_cli.batch.record import Settings
    from adacode_cli.batch.trees import Trees

    resume = not options.overwrite if options.resume is None else options.resume
    replace = options.overwrite or not resume
    settings = Settings(options_digest(options, request))
    again = request.again if options.report else None
    return Trees(
        settings,
        resume=resume,
        replace=replace,
        overwrite=options.overwrite,
        verify=options.verify,
        again=again,
    )


@dataclass(frozen=True)
class Choice:
    """What options and request say about a plan, in the form that `make_plan` and the watch take; `writes` are all
    other files.
    """

    naming: Naming
    selection: Selection
    on_existing: OnExisting
    writes: Writes
    shard: tuple[int, int] | None
    refit: Callable[[Sequence[Job]], list[Job]] | None


def choice_of(inputs: list[Path], options: RestoreOptions, request: Request) -> Choice:
    """The choices for these inputs. Raises UsageError and OutputError for options that cannot be together."""
    from adacode_cli.batch.found import Selection
    from adacode_cli.batch.globs import Globs
    from adacode_cli.batch.plan import OnExisting
    from adacode_cli.batch.trees import outputs_in
    from adacode_cli.codes.file import SUFFIX

    on_existing = OnExisting.SKIP if options.skip_existing else OnExisting.REFUSE
    if options.overwrite:
        on_existing = OnExisting.OVERWRITE
    suffixes = frozenset({SUFFIX}) if request.from_codes else formats.input_suffixes()
    globs = Globs(tuple(options.include or ()), tuple(options.exclude or ()))
    naming = naming_of(options, request)
    if options.if_too_large != "fail" and naming.names_one_file():
        raise UsageError("--if-too-large has no effect when -o names the file", hint="Leave out one of the two.")
    writes = writes_of(inputs, options, request, one_file=naming.names_one_file())
    writes.check_folders()
    avoid = (*request.mask_paths, *writes.folders)
    selection = Selection(globs, avoid, suffixes, listed=options.from_file is not None, outputs_in=outputs_in)
    shard = shard_of(options.shard) if options.shard else None
    refit = None
    if options.if_too_large != "fail":
        other = replace(naming, format=options.if_too_large)
        refit = partial(foresight_of(options, request).refitted, other=other)
    return Choice(naming, selection, on_existing, writes, shard, refit)


def plan_of(inputs: list[Path], options: RestoreOptions, request: Request, trees: Trees) -> Plan:
    """The jobs of a run. Raises what `make_plan` raises, and OutputError for all else that must not be written."""
    from adacode_cli.batch.found import Selection
    from adacode_cli.batch.mask_pairs import MaskFolder
    from adacode_cli.batch.plan import make_plan
    from adacode_cli.batch.trees import outputs_in
    from adacode_cli.storage.objects import Replaces

    choice = choice_of(inputs, options, request)
    mask_dir = request.hole.mask_dir if request.hole else None
    masks = MaskFolder(mask_dir, Selection(outputs_in=outputs_in)) if mask_dir is not None else None
    plan = make_plan(
        inputs,
        choice.naming,
        choice.selection,
        choice.on_existing,
        may_go_on=trees.may_go_on,
        kept=choice.writes.kept,
        shard=choice.shard,
        masks=masks,
        refit=choice.refit,
        strict=options.strict and not request.from_codes,
        outputs=trees.outputs,
    )
    if plan.has_tree:
        trees.begin(plan.roots)
    may_replace = trees.may_replace if plan.has_tree else lambda _job, _path, _unchanged: Replaces.NOTHING
    return replace(plan, jobs=choice.writes.check(plan.jobs, may_replace, overwrite=options.overwrite))


def note_empty_part(plan: Plan, options: RestoreOptions, console: Console) -> None:
    """Says why there is nothing to do, if none of the files is in the part that --shard chooses."""
    if options.shard is None or plan.jobs or plan.to_skip or plan.refused:
        return
    files = "the only file is not" if plan.num_in_all_parts == 1 else f"none of the {plan.num_in_all_parts} files is"
    why = "parts are chosen by the paths of the files, and are about equal in large folders"
    console.note(f"part {options.shard.replace('/', ' of ')}", f"{files} in it ({why})")


def naming_of(options: RestoreOptions, request: Request) -> Naming:
    """How outputs are named. Raises UsageError."""
    from adacode_cli.batch.naming import Naming

    return Naming(request.label, options.output, options.format, options.suffix, options.keep_suffix)


def foresight_of(options: RestoreOptions, request: Request, *, is_pipe: bool = False) -> Foresight:
    """What is known of results before they are computed."""
    from adacode_cli.batch.foresight import Foresight

    hint = None
    if naming_of(options, request).names_one_file():
        endings = formats.in_words([format.suffix for format in formats.every() if format.replaces_others], "or")
        hint = f"Choose a name for -o that ends in {endings}."
    elif options.if_too_large == "fail" and not is_pipe:
        hint = f"Choose --format {formats.large()}, or add --if-too-large {formats.FALLBACK}."
    return Foresight(request.sizing if TASKS[request.task].enlarges else Sizing(), request.from_codes, hint)


def keeping_of(options: RestoreOptions) -> Keeping:
    """What must be kept of inputs, and how large they may be."""
    from adacode_cli.batch.keeping import Keeping

    limits = options.max_pixels, options.max_file_bytes
    return Keeping(None, options.strict, options.preserve_times, *limits, options.accept_damaged)


def writes_of(inputs: list[Path], options: RestoreOptions, request: Request, *, one_file: bool) -> Writes:
    """All files that the options add to the outputs, and the given files that are never replaced.

    `one_file`: the output is a single file that -o names.
    """
    from adacode_cli.batch.coding import CodesPlace
    from adacode_cli.batch.kept import Kept
    from adacode_cli.batch.masks import mask_path
    from adacode_cli.batch.stages import map_path, refused_path
    from adacode_cli.batch.writes import Beside, Writes
    from adacode_cli.storage.path import is_remote

    folders = [path for path in (*inputs, *request.mask_paths) if _is_folder(path)]
    others = [path for path in request.mask_paths if path not in folders]
    masks = [path for path in others if is_remote(path) or os.path.isfile(path)]  # noqa: PTH113
    files = [("the mask", path) for path in masks] + [("the weights", Path(options.weights))]
    if request.hole is not None and request.hole.detect is not None:
        files.append(("the detector", Path(request.hole.detect)))
    if options.from_file is not None:
        files.append(("the list of inputs", Path(options.from_file)))
    # A file that -o names is chosen by the user; a directory of outputs beside a given file may contain originals.
    parents = {path.parent for path in (*inputs, *masks) if path not in folders} if not one_file else set()
    beside = []
    if (maps_dir := options.save_weights_map) is not None:
        path = partial(map_path, maps_dir)
        beside.append(Beside("--save-weights-map", "the image of the mixing weights", path, maps_dir, maps_dir))
    if request.hole is not None and (masks_dir := request.hole.save_mask) is not None:
        path = partial(mask_path, masks_dir)
        beside.append(Beside("--save-mask", "the mask of what was found", path, masks_dir, masks_dir, edited=True))
    if (quarantine := options.quarantine) is not None:
        path = partial(refused_path, quarantine)
        beside.append(Beside("--quarantine", "the refused result", path, quarantine, quarantine, replaces=False))
    if request.save_codes is not None:
        place = CodesPlace(request.save_codes)
        place.check(inputs)
        if place.names_one_file and options.output == request.save_codes:
            raise UsageError("-o and --save-codes name the same file", hint="Name the image and its codes differently.")
        beside.append(Beside("--save-codes", "the codes", place.path, place.given))
    return Writes(Kept(tuple(files), tuple(folders), tuple(parents)), tuple(beside), options.log_file)


def _is_folder(path: Path) -> bool:
    from adacode_cli.batch.places import is_folder
    from adacode_cli.storage.path import is_remote

    # Not Path.is_dir, which raises for names that are too long.
    return is_folder(path) if is_remote(path) else os.path.isdir(path)  # noqa: PTH112


def show_plan(
    plan: Plan,
    console: Console,
    trees: Trees,
    foresight: Foresight,
    keeping: Keeping,
    *,
    needs: Needs,
    decoder: Decode,
    unread: Collection[Job] = (),
) -> int:
    """Shows the plan, and adds what it needs to `needs`. Returns the exit code that the run would have for the failures
    that are known. decoder: for files whose headers cannot be read. unread: jobs at whose sources nobody has looked.
    """
    from adacode_cli.batch.outcome import failed_entry, failed_job
    from adacode_cli.batch.report import Tally
    from adacode_cli.batch.trees import Standing

    tally = Tally(plan.num_files)

    def fails(outcome: Outcome) -> None:
        tally.add(outcome)
        console.would_fail(outcome)

    for job in plan.jobs:
        fate = foresight.forecast(job)
        if known := _without_mask(plan, job) or _outdated(plan, trees, job, fate):
            fails(failed_job(job, known))
        elif trees.resume and plan.has_tree and trees.is_made(job) and trees.standing(job) is Standing.SAME_OPTIONS:
            console.left_out(job.source, job.target, "done already, if nothing has changed")
        elif error := foresight.refusal(headed := foresight.headed(job), keeping, decoder):
            fails(failed_job(job, error))
        elif fate is Fate.LEFT_OUT:
            console.left_out(job.source, job.target, AS_LARGE_ALREADY)
        else:
            console.planned(job, fate)
            needs.add(headed, is_read=job not in unread)
    for refused in plan.refused:
        fails(failed_job(refused.job, refused.error))
    for job in plan.to_skip:
        console.left_out(job.source, job.target, "the output exists")
    _show_passed_over(plan, console, lambda entry: fails(failed_entry(entry)))
    return tally.report().exit_code


def _show_passed_over(plan: Plan, console: Console, fails: Callable[[PassedOver], None]) -> None:
    """Shows what a search has found and does not restore. fails: called with what is a failure."""
    for entry in plan.passed_over:
        if entry.failed:
            fails(entry)
        else:
            console.left_out(entry.path, None, entry.reason, is_unread=entry.is_unread)
    if plan.left_out:
        console.others_left_out(plan.left_out)


def _without_mask(plan: Plan, job: Job) -> InputError | None:
    """The error of a job for which the folder of masks, if there is one, holds no mask; also if it is done already."""
    try:
        if plan.masks:
            plan.masks.for_image(job.source)
    except InputError as error:
        return error
    return None


def _outdated(plan: Plan, trees: Trees, job: Job, fate: Fate | None) -> OutputError | None:
    """The error of a job that will be left out, although its output was made from something else."""
    from adacode_cli.batch.trees import outdated

    if fate is not Fate.LEFT_OUT:
        return None
    return outdated(job, trees.known(job) if plan.has_tree else None)
