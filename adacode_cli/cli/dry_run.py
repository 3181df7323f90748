"""`--dry-run`: what would be written, what will fail, and what the run needs: time, and room on the disks.

The weights and the device are checked as a run checks them, but nothing is downloaded, and no output is touched.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adacode_cli.cli.console import Console
from adacode_cli.cli.cost import Cost
from adacode_cli.cli.executing import placed
from adacode_cli.cli.loading import description_of, pinned
from adacode_cli.cli.restore_options import RestoreOptions
from adacode_cli.cli.restore_plan import (
    Request,
    foresight_of,
    keeping_of,
    note_empty_part,
    plan_of,
    show_plan,
    trees_of,
)
from adacode_cli.cli.speed import Speed, speed_of
from adacode_cli.cli.works import is_done_already
from adacode_cli.errors import AdaCodeError, DeviceError, InputError, OutputError
from adacode_cli.limits import DEFAULT_QUALITY
from adacode_cli.sizes import Sizing
from adacode_cli.tasks import TASKS

if TYPE_CHECKING:
    from adacode_cli.batch.description import Description
    from adacode_cli.batch.estimate import Needs
    from adacode_cli.batch.foresight import Foresight
    from adacode_cli.batch.plan import Job, Plan
    from adacode_cli.batch.trees import Trees
    from adacode_cli.engine.restorer import Restorer

_MOST_HEADERS = 500
"""Of images in stores; the error of the sums grows with how different the sizes of the images are."""


def dry_run(paths: list[Path], options: RestoreOptions, request: Request, console: Console) -> int:
    """Shows the plan and what it needs. Returns the exit code of the failures that are known.

    Raises the errors with which the run would end. If outputs exist that it would not replace, the others are shown
    first.
    """
    from adacode_cli.batch.estimate import Needs
    from adacode_cli.batch.output_files import check_directories
    from adacode_cli.imaging.decoder_pool import decoding

    with console.waiting("looking for images, and for results that exist"):
        plan, trees, refusal = _planned(paths, options, request)
    check_directories(plan.roots if plan.jobs else ())
    description, placements = placed(options, description_of(options, request, plan.masks))
    # Nothing is downloaded: the estimate is for the files that are here.
    description = pinned(description, in_cache=True)
    began = time.perf_counter()
    with console.waiting(f"looking for {options.weights}"):
        check_weights(description)
    checked_s = time.perf_counter() - began
    foresight = foresight_of(options, request)
    runs_of = partial(foresight.sizing.run_pixels, factors=TASKS["sr"].scales)
    needs = Needs(options.quality or DEFAULT_QUALITY, foresight.size, runs_of, foresight.upright)
    plan, unread = _with_remote_headers(plan, trees, foresight, console)
    with decoding(isolated=options.isolate, limit_s=options.decode_timeout) as decoder:
        keeping = keeping_of(options)
        exit_code = show_plan(plan, console, trees, foresight, keeping, needs=needs, decoder=decoder, unread=unread)
    needs.extrapolate()
    with console.waiting(f"loading {options.weights}, and measuring how fast this machine is"):
        # Processes of a CPU share its cores, so together they are about as fast as the one that is measured.
        devices = list(dict.fromkeys(one.device for one in placements))
        seconds, speed, unknown = _time(description, needs, checked_s, partial(_check_made, plan, trees), devices)
    if needs.num_files:
        console.estimated(Cost(needs, tuple(needs.disks()), seconds, speed, unknown))
    else:
        note_empty_part(plan, options, console)
        console.note("to restore", "nothing")
    if refusal is not None:
        raise refusal
    return exit_code


def _with_remote_headers(
    plan: Plan, trees: Trees, foresight: Foresight, console: Console
) -> tuple[Plan, frozenset[Job]]:
    """(the plan with headers of images in stores, the jobs that were not looked at because there are so many)."""
    from adacode_cli.storage.path import is_remote

    without = [job for job in plan.jobs if job.header is None and is_remote(job.source)]
    remote = [job for job in without if not is_done_already(job, plan, trees)]
    if not remote:
        return plan, frozenset()
    chosen = set(random.Random(len(remote)).sample(remote, min(_MOST_HEADERS, len(remote))))
    with console.waiting(f"reading the headers of {len(chosen)} files"):
        jobs = foresight.with_remote_headers(plan.jobs, chosen.__contains__, strict=False)
    return replace(plan, jobs=tuple(jobs)), frozenset(remote) - chosen


def check_weights(description: Description) -> None:
    """Raises WeightsError, DeviceError or UsageError for weights, a device or a precision that do not exist."""
    description.network.restorer()
    if description.detection is not None:
        description.detection.finder(description.network.device)


def _one_run(sizing: Sizing) -> Sizing:
    """`sizing` if it is a factor of one run, otherwise the factor of the largest run."""
    largest = max(TASKS["sr"].scales)
    return sizing if sizing.kind == "scale" and sizing.amount <= largest else Sizing("scale", largest)


def _needs_download(restorer: Restorer, description: Description) -> bool:
    """Whether the run would download any of the networks that its images may need. Raises UsageError, WeightsError."""
    task = TASKS[description.task]
    factors = description.sizing.possible_factors(task.scales) if task.enlarges else task.scales
    return any(restorer.needs_download(task.name, factor) for factor in factors)


def _planned(paths: list[Path], options: RestoreOptions, request: Request) -> tuple[Plan, Trees, OutputError | None]:
    """(the plan, what is known of its trees, the error of a run that must not replace existing outputs)."""
    trees = trees_of(options, request)
    try:
        return plan_of(paths, options, request, trees), trees, None
    except OutputError as error:
        if options.skip_existing or options.overwrite:
            raise
        others = replace(options, skip_existing=True)
        trees = trees_of(others, request)
        try:
            return plan_of(paths, others, request, trees), trees, error
        except (InputError, OutputError):
            raise error from None


def _check_made(plan: Plan, trees: Trees, digest: str) -> None:
    """Raises OutputError for outputs that other weights made and that the run must not replace."""
    if plan.has_tree:
        trees.with_weights(digest, plan.jobs)


def _time(
    description: Description, needs: Needs, checked_s: float, check: Callable[[str], None], devices: Sequence[str]
) -> tuple[float | None, Speed | None, str]:
    """(seconds, the speed that they are based on, why they are not known). Raises WeightsError, DeviceError, and what
    `check` raises, which is called with the digest of the weights.

    checked_s: the time of `check_weights`, which is a part of loading, as a run must load the weights too.
    devices: those of the run, if there are several: of one kind, and the first is measured. Each file is restored by
        one of them, so no more of them work than there are files.
    """
    from adacode_cli.imaging.decode import decode

    restorer, one_run = description.network.restorer(), replace(description, sizing=_one_run(description.sizing))
    if _needs_download(restorer, description):
        return None, None, f"{description.network.shown} must be downloaded first"
    began = time.perf_counter()
    stages, digest = description.stages(decode)
    loading_s = checked_s + time.perf_counter() - began
    check(digest)
    if one_run.sizing != description.sizing:
        stages, digest = one_run.stages(decode)
    if not needs.num_known:
        return None, None, "the size of no file is known"
    if description.from_codes:
        return None, None, "files of codes are not measured"
    try:
        speed = speed_of(one_run, stages, digest, restorer.device)
    except AdaCodeError as error:
        if isinstance(error, DeviceError) and not error.only_this_image:
            raise
        return None, None, f"it cannot be measured: {error.message}"
    restoring_s = speed.seconds(needs.num_runs, needs.run_pixels)
    working = devices[: needs.num_known + needs.num_unread]
    if len(working) > 1:
        return loading_s + restoring_s / len(working), replace(speed, device=",".join(working)), ""
    return loading_s + restoring_s, speed, ""
