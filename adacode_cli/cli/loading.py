"""From options to the stages of a run: the weights are loaded here, and here only, because it takes its time."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.cli.restore_plan import Request, foresight_of, keeping_of
from adacode_cli.tasks import TASKS

if TYPE_CHECKING:
    from adacode_cli.batch.mask_pairs import MaskPairs
    from adacode_cli.batch.restoring import Restore
    from adacode_cli.batch.stages import Stages
    from adacode_cli.engine.restorer import Restorer
    from adacode_cli.imaging.decode import Decode


def loaded(
    options: RestoreOptions,
    request: Request,
    decoder: Decode,
    pairs: MaskPairs | None = None,
    *,
    is_pipe: bool = False,
) -> tuple[Stages, str]:
    """The stages of every file, which `decoder` decodes, and the digest of the weights that they use.

    `pairs` are masks of a folder, if there is one. `is_pipe`: the one file comes on standard input. Raises
    WeightsError, DeviceError.
    """
    from adacode_cli.batch.coding import CodesPlace, FromCodesStages, SavingStages
    from adacode_cli.batch.stages import Stages
    from adacode_cli.imaging.provenance import HistoryEntry

    mask_for = request.mask_source(pairs) if request.mask_source else None
    restorer, weights = _restorer(options, request, options.precision)
    restore = _watched(_restoring(restorer, request), options, request)
    history = None if options.no_provenance else HistoryEntry(request.step, _shown(options.weights), weights)
    kept_apart = options.save_weights_map, options.quarantine
    what = keeping_of(options, history), decoder, restorer.lanes, foresight_of(options, request, is_pipe=is_pipe)
    common = (restore, mask_for, options.quality, *kept_apart, *what)
    if request.save_codes:
        codes_path = CodesPlace(request.save_codes).path
        return SavingStages(*common, coder=restorer, codes_path=codes_path), weights
    return FromCodesStages(*common, coder=restorer) if request.from_codes else Stages(*common), weights


def _shown(weights: str) -> str:
    """Weights by name; of a file not its folders, which are nobody's business who gets the picture."""
    return weights if weights.startswith("hub:") else Path(weights).name


def _restorer(options: RestoreOptions, request: Request, precision: str) -> tuple[Restorer, str]:
    """The loaded restorer, and the digest of its weights."""
    from adacode_cli.engine.restorer import Restorer

    restorer = Restorer.from_pretrained(
        options.weights,
        device=options.device,
        precision=precision,
        tile=options.tile_choice,
        tiling=options.tiling,
        hub_repo=options.hub_repo,
    )
    return restorer, restorer.prepare(request.task, request.scale, request.denoise)


def _restoring(restorer: Restorer, request: Request) -> Restore:
    from adacode_cli.batch.restoring import Restoring

    return Restoring(
        restorer,
        request.task,
        request.scale,
        request.denoise,
        request.grow_px,
        request.feather_px,
        request.opaque_hole,
    )


def _watched(restore: Restore, options: RestoreOptions, request: Request) -> Restore:
    """`restore` with the guard and the colour fix that were asked for; the guard sees what the network made."""
    from adacode_cli.batch.color_fix import ColorFixed
    from adacode_cli.batch.comparison import Edge
    from adacode_cli.batch.guard import Guarded

    @cache
    def in_float32() -> Restore:
        return _restoring(_restorer(options, request, "fp32")[0], request)

    loading = Lock()

    def careful() -> Restore:
        with loading:  # several threads may have a doubt at once
            return in_float32()

    edge = Edge(request.grow_px, request.feather_px)
    if options.guard and TASKS[request.task].keeps_colors:
        restore = Guarded(restore, careful, edge)
    return ColorFixed(restore, edge) if options.color_fix == "low-frequency" else restore
