"""`--dry-run`: what a run would do, and what of it is known to fail; nothing is decoded, computed or written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adacode_cli.cli.console import Console
from adacode_cli.errors import InputError

if TYPE_CHECKING:
    from adacode_cli.batch.foresight import Foresight
    from adacode_cli.batch.keeping import Keeping
    from adacode_cli.batch.outcome import Outcome
    from adacode_cli.batch.plan import Job, Plan
    from adacode_cli.batch.trees import Trees


def show_plan(plan: Plan, console: Console, trees: Trees, foresight: Foresight, keeping: Keeping) -> int:
    """Shows the plan. Returns the exit code that the run would have for the failures that are known."""
    from adacode_cli.batch.outcome import failed_entry, failed_job
    from adacode_cli.batch.report import Tally
    from adacode_cli.batch.trees import Standing

    tally = Tally(plan.num_files)

    def fails(outcome: Outcome) -> None:
        tally.add(outcome)
        console.would_fail(outcome)

    for job in plan.jobs:
        if lacking := _without_mask(plan, job):
            fails(failed_job(job, lacking))
        elif trees.resume and plan.has_tree and job.is_made() and trees.standing(job) is Standing.SAME_OPTIONS:
            console.left_out(job.source, job.target, "done already, if nothing has changed")
        elif error := foresight.refusal(job, keeping):
            fails(failed_job(job, error))
        else:
            console.planned(job)
    for refused in plan.refused:
        fails(failed_job(refused.job, refused.error))
    for job in plan.to_skip:
        console.left_out(job.source, job.target, "the output exists")
    for entry in plan.passed_over:
        if entry.failed:
            fails(failed_entry(entry))
        else:
            console.left_out(entry.path, None, entry.reason)
    if plan.left_out:
        console.others_left_out(plan.left_out)
    return tally.report().exit_code


def _without_mask(plan: Plan, job: Job) -> InputError | None:
    """Why a job fails, done already or not, because the folder of masks, if there is one, holds none for it."""
    try:
        if plan.masks:
            plan.masks.for_image(job.source)
    except InputError as error:
        return error
    return None
