"""From options to the description of what a run does to each file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.cli.restore_plan import Request, foresight_of, keeping_of
from adacode_cli.tasks import TASKS

if TYPE_CHECKING:
    from adacode_cli.batch.description import Description
    from adacode_cli.batch.mask_pairs import MaskPairs


def description_of(
    options: RestoreOptions, request: Request, pairs: MaskPairs | None = None, *, is_pipe: bool = False
) -> Description:
    """What is done to each file. `pairs` are the masks of a folder, if there is one. `is_pipe`: the only file is
    standard input.
    """
    from adacode_cli.batch.coding import CodesPlace
    from adacode_cli.batch.description import Description, NetworkDescription

    network = NetworkDescription(
        options.weights,
        options.device,
        options.precision,
        options.tile_choice,
        options.tiling,
        options.hub_repo,
    )
    return Description(
        network,
        request.task,
        request.sizing,
        request.denoise,
        "" if options.no_provenance else request.step,
        request.hole.source(pairs) if request.hole else None,
        options.quality,
        options.save_weights_map,
        request.hole.save_mask if request.hole else None,
        options.quarantine,
        keeping_of(options),
        foresight_of(options, request, is_pipe=is_pipe),
        guarded=options.guard and TASKS[request.task].keeps_colors,
        color_fixed=options.color_fix == "low-frequency",
        save_codes=CodesPlace(request.save_codes) if request.save_codes else None,
        code_levels=request.code_levels,
        from_codes=request.from_codes,
        strength=request.strength,
        detection=request.hole.detection() if request.hole else None,
        gallery=options.report and not is_pipe,
    )


def pinned(description: Description, *, in_cache: bool = False) -> Description:
    """The same; weights on the Hub at the commit that their branch names now, so that every process and every later
    loading uses the same files. in_cache: without the network, at the commit that the cache knows.

    Raises WeightsError.
    """
    from adacode_cli.checkpoints import bundles

    pin = bundles.pinned_in_cache if in_cache else bundles.pinned
    return replace(description, network=replace(description.network, weights=pin(description.network.weights)))
