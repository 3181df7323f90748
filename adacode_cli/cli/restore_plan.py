"""From options to the plan of a run: which files, where to, and what an earlier run has done of it.

Nothing here needs the weights, so a mistake in a path is told before anybody waits for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.cli.run_options import shard_of

if TYPE_CHECKING:
    from adacode_cli.batch.masks import MaskSource
    from adacode_cli.batch.plan import Plan
    from adacode_cli.batch.trees import Trees

# Whatever is not named here is part of the digest of a run's options: a new option is taken to change outputs.
_WITHOUT_EFFECT = frozenset(
    {
        "decode_timeout",
        "device",
        "dry_run",
        "exclude",
        "from_file",
        "hub_repo",
        "include",
        "isolate",
        "jobs",
        "json",
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
    """What to do with each image. `mask_source` is built late, as it imports pixels.

    `mask_paths` are no inputs. `mask_kind` says where holes come from, for the journal. `save_codes` and `from_codes`
    are for "reconstruct" alone.
    """

    task: Literal["sr", "inpaint", "reconstruct"]
    label: str
    scale: float = 4.0
    denoise: float = 1.0
    mask_source: Callable[[], MaskSource] | None = None
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
    """The digest of all options that change what is written. Exact tiling leaves no trace, so tiles are not in it."""
    from adacode_cli.batch.record import digest_of
    from adacode_cli.version import __version__

    chosen = {f.name: getattr(options, f.name) for f in fields(options) if f.name not in _WITHOUT_EFFECT}
    if options.tiling == "sampled":
        chosen["tile"] = options.tile
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
    """The jobs of a run. Raises what `make_plan` raises, and the same for codes and for pictures of the weights."""
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
    avoid = (*request.mask_paths, *(path for path in (maps_dir, options.quarantine) if path))
    suffixes = frozenset({SUFFIX}) if request.from_codes else EXTENSIONS
    globs = Globs(tuple(options.include or ()), tuple(options.exclude or ()))
    naming = Naming(request.label, options.output, options.format, options.suffix)
    selection = Selection(globs, avoid, suffixes, listed=options.from_file is not None)
    shard = shard_of(options.shard) if options.shard else None
    plan = make_plan(inputs, naming, selection, on_existing, may_go_on=trees.may_go_on, shard=shard)
    if plan.has_tree:
        trees.begin(plan.roots)
    if maps_dir:
        refuse_shared_targets((job.source, map_path(maps_dir, job)) for job in plan.jobs)
    if request.save_codes:
        may_exist = options.overwrite or options.skip_existing
        CodesPlace(request.save_codes).check(
            inputs, plan.jobs, lambda job: may_exist or (plan.has_tree and trees.may_go_on(job))
        )
    return plan
