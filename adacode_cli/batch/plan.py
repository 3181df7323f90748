"""A run is planned whole before it touches anything: every job's source and target are known and do not collide.

Whatever can be refused (two inputs for one output, outputs that exist, no images at all) is refused here, when
nothing has been computed or written yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from adacode_cli.batch.collisions import refuse_overwritten_inputs, refuse_shared_targets
from adacode_cli.batch.discover import Found, PassedOver, Selection, discover
from adacode_cli.batch.naming import Naming
from adacode_cli.errors import InputError, OutputError


class OnExisting(StrEnum):
    """What happens to outputs that exist already."""

    REFUSE = "refuse"
    SKIP = "skip"
    OVERWRITE = "overwrite"


@dataclass(frozen=True, slots=True)
class Job:
    """One image to restore: read `source`, write `target`, which lies in the output tree `root`."""

    source: Path
    target: Path
    root: Path


@dataclass(frozen=True)
class Plan:
    """What a run will do. `to_skip` have their outputs already; `passed_over` was found but is not restored.

    `has_tree` is False when the output is a single named file, which has no tree around it to keep a journal in.
    """

    jobs: tuple[Job, ...]
    to_skip: tuple[Job, ...]
    passed_over: tuple[PassedOver, ...]
    has_tree: bool

    @property
    def roots(self) -> tuple[Path, ...]:
        """The output trees, in the order in which they are first written to."""
        return tuple(dict.fromkeys(job.root for job in (*self.jobs, *self.to_skip)))

    @property
    def num_files(self) -> int:
        """How many files the summary will account for."""
        return len(self.jobs) + len(self.to_skip) + sum(entry.failed for entry in self.passed_over)


def make_plan(inputs: Sequence[Path], naming: Naming, selection: Selection, on_existing: OnExisting) -> Plan:
    """The jobs for `inputs`, in the order in which they will run.

    Raises InputError when there is nothing to restore, OutputError for collisions, for an output that is an input,
    and for existing outputs under `OnExisting.REFUSE`; UsageError where `-o` cannot serve these inputs.
    """
    naming.check(inputs)
    roots = {given: naming.root_of(given) for given in inputs}
    avoided = () if naming.names_one_file() else _outside_inputs(roots)
    selection = replace(selection, avoid=(*selection.avoid, *avoided))
    jobs, passed_over = _jobs(discover(inputs, selection), naming, roots)
    if not jobs:
        raise _nothing_to_do(inputs, passed_over)
    pairs = [(job.source, job.target) for job in jobs]
    refuse_shared_targets(pairs)
    existing = _existing(jobs)
    refuse_overwritten_inputs(pairs, existing)
    if existing and on_existing is OnExisting.REFUSE:
        raise _exist_already(existing, len(jobs))
    skipped = existing if on_existing is OnExisting.SKIP else set()
    return Plan(
        jobs=tuple(job for job in jobs if job.target not in skipped),
        to_skip=tuple(job for job in jobs if job.target in skipped),
        passed_over=tuple(passed_over),
        has_tree=not naming.names_one_file(),
    )


def _outside_inputs(roots: dict[Path, Path]) -> tuple[Path, ...]:
    """The output trees that discovery must stay out of; an output tree that is itself an input is walked."""
    inputs = {given.resolve() for given in roots}
    return tuple(root for root in roots.values() if root.resolve() not in inputs)


def _jobs(
    stream: Iterable[Found | PassedOver], naming: Naming, roots: dict[Path, Path]
) -> tuple[list[Job], list[PassedOver]]:
    jobs: list[Job] = []
    passed_over: list[PassedOver] = []
    seen: set[tuple[Path, Path]] = set()
    for entry in stream:
        if isinstance(entry, PassedOver):
            passed_over.append(entry)
            continue
        root = roots[entry.given]
        if naming.is_own_output(entry, root):
            passed_over.append(PassedOver(entry.path, "an output of an earlier run, by its suffix", failed=False))
            continue
        target = naming.target_of(entry, root)
        if (entry.path, target) not in seen:  # the same input named twice is one job
            seen.add((entry.path, target))
            jobs.append(Job(entry.path, target, root))
    return jobs, passed_over


def _existing(jobs: Sequence[Job]) -> set[Path]:
    roots = {root for root in {job.root for job in jobs} if root.exists()}  # mostly none, which saves a look per job
    return {job.target for job in jobs if job.root in roots and job.target.exists()}


def _nothing_to_do(inputs: Sequence[Path], passed_over: Sequence[PassedOver]) -> InputError:
    problem = next((entry for entry in passed_over if entry.failed), None)
    if problem:
        return InputError(problem.reason, path=problem.path, hint="No image was found that can be read.")
    where = inputs[0] if len(inputs) == 1 else None
    hint = "Check --include and --exclude; hidden files and files without an image suffix are left out of directories."
    return InputError("no images found", path=where, hint=hint)


def _exist_already(existing: set[Path], num_jobs: int) -> OutputError:
    hint = "Add --skip-existing to do only the rest, or --overwrite to do all again."
    if num_jobs == 1:
        return OutputError("exists already", path=next(iter(existing)), hint=hint)
    exist = "output exists" if len(existing) == 1 else "outputs exist"
    return OutputError(f"{len(existing)} of {num_jobs} {exist} already, the first is {min(existing)}", hint=hint)
