"""What the network has to do for each file of a run, from headers and from what the journal knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from adacode_cli import formats
from adacode_cli.cli.time_left import NOTHING, Work, Works
from adacode_cli.errors import AdaCodeError, InputError
from adacode_cli.tasks import TASKS

if TYPE_CHECKING:
    from adacode_cli.batch.foresight import Foresight
    from adacode_cli.batch.plan import Job, Plan
    from adacode_cli.batch.trees import Trees


def read_works(plan: Plan, trees: Trees, foresight: Foresight, works: Works) -> Iterator[None]:
    """Adds the work of each job of a plan to `works`, one at each step."""
    for job in plan.jobs:
        works.add(str(job.source), work_of(job, foresight), is_done=is_done_already(job, plan, trees))
        yield


def work_of(job: Job, foresight: Foresight) -> Work | None:
    """The runs of the network for a job, and the megapixels that they get; None if its header does not tell.

    A file that is no image fails before the network, so it counts as nothing.
    """
    from adacode_cli.imaging.headers import format_at
    from adacode_cli.storage.path import is_remote

    header = foresight.headed(job).header
    if header is None:
        if is_remote(job.source):
            return None
        is_image = foresight.from_codes or (job.source.is_file() and format_at(job.source) is not None)
        return None if is_image else NOTHING
    format = formats.of_suffix(job.target.suffix)
    pages = header.pages if format is not None and format.pages else 1
    with suppress(InputError):  # A header may be wrong, so this is no error.
        size = foresight.upright(header.height, header.width)
        runs = foresight.sizing.run_pixels(*size, TASKS["sr"].scales)
        return Work(pages * len(runs), pages * sum(runs) / 1e6)
    return None


def is_done_already(job: Job, plan: Plan, trees: Trees) -> bool:
    """Whether a run finds the output of a job done, if nothing has changed since."""
    from adacode_cli.batch.trees import Standing

    with suppress(AdaCodeError):
        return trees.resume and plan.has_tree and trees.is_made(job) and trees.standing(job) is Standing.SAME_OPTIONS
    return False
