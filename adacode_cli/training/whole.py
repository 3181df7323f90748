"""All three stages in order, as one piece of work that can be stopped and gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from adacode_cli.training.recipe import Recipe
from adacode_cli.training.run_folder import FUSED, task_name
from adacode_cli.training.runs import require_trunk, run_basis, run_fuse, run_restore
from adacode_cli.training.session import Session

# Parts of the minutes of a whole training that stages I and II take; the tasks of stage III share the rest.
BASIS_SHARE, FUSE_SHARE = 0.2, 0.2


def shared_out(recipe: Recipe, minutes: float | None, num_tasks: int) -> Recipe:
    """`recipe` with the minutes of the whole training shared among its stages; as it is for None."""
    if minutes is None:
        return recipe
    each = minutes * (1 - BASIS_SHARE - FUSE_SHARE) / num_tasks
    return replace(
        recipe,
        basis=replace(recipe.basis, minutes=minutes * BASIS_SHARE),
        fuse=replace(recipe.fuse, minutes=minutes * FUSE_SHARE),
        restore=replace(recipe.restore, minutes=each),
    )


def run_all(session: Session, tasks: Sequence[tuple[Literal["sr", "inpaint"], int]]) -> bool:
    """Stage I, stage II, and stage III for each (task, scale); False where it was stopped before its end."""
    session.folder.require_free([FUSED, *(task_name(task, scale) for task, scale in tasks)])
    for task, _ in tasks:  # hours before it would be found out
        require_trunk(session.recipe, session.recipe.network.trunk if task == "sr" else None)
    if not run_basis(session) or not run_fuse(session, session.folder.path):
        return False
    fused = session.folder.weights(FUSED)
    return all(run_restore(session, fused, task=task, scale=scale) for task, scale in tasks)
