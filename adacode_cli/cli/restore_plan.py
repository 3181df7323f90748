"""From options to the plan of a run: which files, where to, and what an earlier run has done of it.

Nothing here needs the weights, so a mistake in a path is told before anybody waits for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adacode_cli import formats
from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.cli.run_options import shard_of
from adacode_cli.errors import UsageError
from adacode_cli.limits import DEFAULT_QUALITY
from adacode_cli.tasks import TASKS

if TYPE_CHECKING:
    from adacode_cli.batch.foresight import Foresight
    from adacode_cli.batch.keeping import Keeping
    from adacode_cli.batch.mask_pairs import MaskPairs
    from adacode_cli.batch.masks import HoleSource
    from adacode_cli.batch.naming import Naming
    from adacode_cli.batch.plan import Plan
    from adacode_cli.batch.trees import Trees
    from adacode_cli.batch.writes import Writes

# Whatever is not named here is part of the digest of a run's options: a new option is taken to change outputs.
# What is whole of a damaged file is the same each time, so a run that accepts it goes on where one that did not ended.
_WITHOUT_EFFECT = frozenset(
    {
        "accept_damaged",
        "decode_timeout",
        "device",
        "dry_run",
        "exclude",
        "from_file",
        "hub_repo",
        "if_too_large",  # names alone: what lies under a name is the same
        "include",
        "isolate",
        "jobs",
        "json",
        "keep_suffix",
        "log_file",
        "max_file_size",
        "max_megapixels",
        "null",
        "output",
        "overwrite",
        "quarantine",
        "quiet",
        "resume",
        "shard",
        "skip_existing",
        "suffix",
        "tile",
        "verbose",
        "weights",
    }
)


@dataclass(frozen=True)
class Request:
    """What to do with each image. `holes` are built late, as that imports pixels, of what `mask_dir` was paired to.

    `mask_paths` are no inputs. `mask_kind` says where holes come from, for the journal. `save_codes` and `from_codes`
    are for "reconstruct" alone.
    """

    task: str
    label: str
    scale: float = 4.0
    denoise: float = 1.0
    holes: Callable[[MaskPairs | None], HoleSource] | None = None
    mask_dir: Path | None = None
    mask_kind: str = ""
    mask_paths: tuple[Path, ...] = ()
    grow_px: int = 0
    feather_px: int = 0
    opaque_hole: bool = False
    save_codes: Path | None = None
    from_codes: bool = False

    @property
    def step(self) -> str:
        """What was done, in the words of a picture's history."""
        return self.label if self.denoise == 1 else f"{self.label}, denoise {self.denoise:g}"


def options_digest(options: RestoreOptions, request: Request) -> str:
    """The digest of all options that change what is written. Exact tiling leaves no trace, so tiles are not in it.

    The default quality is the same whether it is spelt out or not.
    """
    from adacode_cli.batch.record import digest_of
    from adacode_cli.version import __version__

    chosen = {f.name: getattr(options, f.name) for f in fields(options) if f.name not in _WITHOUT_EFFECT}
    if options.tiling == "sampled":
        chosen["tile"] = options.tile
    if options.quality == DEFAULT_QUALITY:
        chosen["quality"] = None
    hole = (request.mask_kind, request.grow_px, request.feather_px, request.opaque_hole)
    codes = (request.save_codes, request.from_codes)
    # The label shows six digits of the scale, and one more digit can be one more pixel.
    own = {"label": request.label, "scale": request.scale, "denoise": request.denoise, "hole": hole, "codes": codes}
    return digest_of(chosen | own | {"tool": __version__})


def trees_of(options: RestoreOptions, request: Request) -> Trees:
    """What is known of the output trees, and whether it counts: see docs/journal.md for how the options combine."""
    from adacode_cli.batch.record import Settings
    from adacode_cli.batch.trees import Trees

    resume = not options.overwrite if options.resume is None else options.resume
    replace = options.overwrite or not resume
    settings = Settings(options_digest(options, request))
    return Trees(settings, resume=resume, replace=replace, overwrite=options.overwrite)


def plan_of(inputs: list[Path], options: RestoreOptions, request: Request, trees: Trees) -> Plan:
    """The jobs of a run. Raises what `make_plan` raises, and OutputError for all else that must not be written."""
    from adacode_cli.batch.discover import Selection
    from adacode_cli.batch.globs import Globs
    from adacode_cli.batch.mask_pairs import MaskFolder
    from adacode_cli.batch.plan import OnExisting, make_plan
    from adacode_cli.batch.trees import outputs_in
    from adacode_cli.codes.file import SUFFIX

    on_existing = OnExisting.SKIP if options.skip_existing else OnExisting.REFUSE
    if options.overwrite:
        on_existing = OnExisting.OVERWRITE
    suffixes = frozenset({SUFFIX}) if request.from_codes else formats.input_suffixes()
    globs = Globs(tuple(options.include or ()), tuple(options.exclude or ()))
    naming = _naming_of(options, request)
    if options.if_too_large != "fail" and naming.names_one_file():
        raise UsageError("--if-too-large has no effect when -o names the file", hint="Drop one of the two.")
    writes = writes_of(inputs, options, request, one_file=naming.names_one_file())
    writes.check_folders()
    avoid = (*request.mask_paths, *writes.folders)
    selection = Selection(globs, avoid, suffixes, listed=options.from_file is not None, outputs_in=outputs_in)
    shard = shard_of(options.shard) if options.shard else None
    masks = MaskFolder(request.mask_dir, Selection(outputs_in=outputs_in)) if request.mask_dir is not None else None
    refit = None
    if options.if_too_large != "fail":
        other = replace(naming, format=options.if_too_large)
        refit = partial(foresight_of(options, request).refitted, other=other)
    plan = make_plan(
        inputs,
        naming,
        selection,
        on_existing,
        may_go_on=trees.may_go_on,
        kept=writes.kept,
        shard=shard,
        masks=masks,
        refit=refit,
    )
    if plan.has_tree:
        trees.begin(plan.roots)
    wrote = trees.wrote if plan.has_tree else lambda _job, _path: False
    writes.check(plan.jobs, wrote, overwrite=options.overwrite)
    return plan


def _naming_of(options: RestoreOptions, request: Request) -> Naming:
    from adacode_cli.batch.naming import Naming

    return Naming(request.label, options.output, options.format, options.suffix, options.keep_suffix)


def foresight_of(options: RestoreOptions, request: Request, *, is_pipe: bool = False) -> Foresight:
    """What is known of results before they are computed."""
    from adacode_cli.batch.foresight import Foresight

    hint = None
    if _naming_of(options, request).names_one_file():
        endings = formats.in_words([format.suffix for format in formats.every() if format.replaces_others], "or")
        hint = f"Choose a name for -o that ends in {endings}."
    elif options.if_too_large == "fail" and not is_pipe:
        hint = f"Choose --format {formats.large()}, or add --if-too-large {formats.FALLBACK}."
    return Foresight(request.scale if TASKS[request.task].enlarges else 1.0, request.from_codes, hint)


def keeping_of(options: RestoreOptions) -> Keeping:
    """What of inputs must survive and how large they may be."""
    from adacode_cli.batch.keeping import Keeping

    limits = options.max_pixels, options.max_file_bytes
    return Keeping(None, options.strict, options.preserve_times, *limits, options.accept_damaged)


def writes_of(inputs: list[Path], options: RestoreOptions, request: Request, *, one_file: bool) -> Writes:
    """All that the options ask to be written beside outputs, and what was given and is kept.

    `one_file`: the output is a single file that -o names.
    """
    from adacode_cli.batch.coding import CodesPlace
    from adacode_cli.batch.kept import Kept
    from adacode_cli.batch.stages import map_path, refused_path
    from adacode_cli.batch.writes import Beside, Writes

    # Not Path.is_dir and Path.is_file, which raise for names that are too long.
    masks = [path for path in request.mask_paths if os.path.isfile(path)]  # noqa: PTH113
    files = [("the mask", path) for path in masks] + [("the weights", Path(options.weights))]
    if options.from_file is not None:
        files.append(("the list of inputs", Path(options.from_file)))
    folders = [path for path in (*inputs, *request.mask_paths) if os.path.isdir(path)]  # noqa: PTH112
    # What -o names as one file is meant; beside a file that was given, a directory of outputs may meet originals.
    parents = {path.parent for path in (*inputs, *masks) if path not in folders} if not one_file else set()
    beside = []
    if (maps_dir := options.save_weights_map) is not None:
        path = partial(map_path, maps_dir)
        beside.append(Beside("--save-weights-map", "the picture of the mixing weights", path, maps_dir))
    if (quarantine := options.quarantine) is not None:
        path = partial(refused_path, quarantine)
        beside.append(Beside("--quarantine", "the refused result", path, quarantine, replaces=False))
    if request.save_codes is not None:
        place = CodesPlace(request.save_codes)
        place.check(inputs)
        beside.append(Beside("--save-codes", "the codes", place.path))
    return Writes(Kept(tuple(files), tuple(folders), tuple(parents)), tuple(beside), options.log_file)
