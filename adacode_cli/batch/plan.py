"""Plans a run completely before it begins: the source and target of every job, without collisions.

Errors that are known in advance (existing outputs, no images, two inputs for one output) are raised here, before
anything is computed or written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import compress
from pathlib import Path

from adacode_cli import formats
from adacode_cli.batch.collisions import PlannedFile, absolute, may_collide, refusals
from adacode_cli.batch.discover import discover
from adacode_cli.batch.found import IS_MASK, Found, PassedOver, Selection, joined
from adacode_cli.batch.kept import Kept
from adacode_cli.batch.left_out import LeftOut, unread_reason
from adacode_cli.batch.mask_pairs import MaskFolder, MaskPairs
from adacode_cli.batch.naming import Naming
from adacode_cli.batch.places import is_folder, real_text
from adacode_cli.batch.remote_outputs import RemoteOutputs
from adacode_cli.errors import InputError, OutputError
from adacode_cli.imaging.codec import Header
from adacode_cli.imaging.encode import format_of
from adacode_cli.storage import objects
from adacode_cli.storage.path import is_remote, path_from


class OnExisting(StrEnum):
    """What to do with outputs that exist already."""

    REFUSE = "refuse"
    SKIP = "skip"
    OVERWRITE = "overwrite"


@dataclass(frozen=True, slots=True)
class Job:
    """One image to restore: read `source`, write `target`.

    found: the source.
    root: the output tree.
    name: the path of the target below `root`, with forward slashes.
    instead_of: the usual format of the output, if the result is too large for it; otherwise "".
    header: of the source, if it was read already.
    may_replace: which file in a store that has the name of the output may be replaced.
    beside: (path, which file under it may be replaced) of files beside the output that existed in a store when the run
        was planned.

    Paths are made on request, because a plan may hold a hundred thousand jobs.
    """

    found: Found
    root: Path
    name: str
    instead_of: str = ""
    header: Header | None = field(default=None, compare=False, repr=False)
    may_replace: objects.Replaces = field(default=objects.Replaces.NOTHING, compare=False)
    beside: tuple[tuple[str, objects.Replaces], ...] = field(default=(), compare=False, repr=False)

    @property
    def source(self) -> Path:
        """The file that is read."""
        return self.found.path

    @property
    def target(self) -> Path:
        """The file that is written."""
        return self.root / self.name

    @property
    def target_text(self) -> str:
        """`target` as text."""
        return joined(self.root, self.name)

    def may_replace_beside(self, path: Path) -> objects.Replaces:
        """Which file that has the name `path`, beside the output, may be replaced; on a disk, only OWN matters."""
        return dict(self.beside).get(str(path), objects.Replaces.NOTHING)

    def is_made(self) -> bool:
        """Whether a file of the output's name exists; False for a name that the system does not allow."""
        if is_remote(self.root):
            return objects.status(self.root / self.name, OutputError) is not None
        return os.path.exists(self.target_text)  # noqa: PTH110 (Path.exists raises for a name that is too long)


@dataclass(frozen=True, slots=True)
class Refused:
    """A job that will fail, with the error."""

    job: Job
    error: OutputError


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    jobs: the images to restore, in their order.
    to_skip: jobs whose outputs exist already.
    passed_over: entries that were found but are not restored.
    has_tree: False if the output is a single named file, so that there is no output tree with a journal.
    left_out: the numbers of files of other kinds.
    masks: those of a folder of masks, if there is one.
    refused: jobs that fail without being read.
    num_in_all_parts: the number of images in all parts of which this plan is one.
    """

    jobs: tuple[Job, ...]
    to_skip: tuple[Job, ...]
    passed_over: tuple[PassedOver, ...]
    has_tree: bool
    left_out: LeftOut = field(default_factory=LeftOut)
    masks: MaskPairs | None = None
    refused: tuple[Refused, ...] = ()
    num_in_all_parts: int = 0

    @cached_property
    def roots(self) -> tuple[Path, ...]:
        """The output trees, in the order of their first jobs."""
        return tuple(dict.fromkeys(job.root for job in (*self.jobs, *self.to_skip)))

    @property
    def num_files(self) -> int:
        """The number of files in the summary."""
        failed = len(self.refused) + sum(entry.failed for entry in self.passed_over)
        return len(self.jobs) + len(self.to_skip) + failed


def make_plan(
    inputs: Sequence[Path],
    naming: Naming,
    selection: Selection,
    on_existing: OnExisting,
    *,
    may_go_on: Callable[[Job], bool] = lambda _job: False,
    kept: Kept | None = None,
    shard: tuple[int, int] | None = None,
    masks: MaskFolder | None = None,
    refit: Callable[[Sequence[Job]], list[Job]] | None = None,
    strict: bool = False,
    outputs: RemoteOutputs | None = None,
) -> Plan:
    """The jobs for `inputs`, in the order in which they will run.

    may_go_on: whether the run may continue although the output of a job exists, for `OnExisting.REFUSE`.
    kept: files that are never overwritten; None: the inputs' directories. shard: (I, N) selects the I-th of N parts.
    masks: are paired with the images; masks that are among the images are left out.
    refit: gives other names to jobs whose results are too large for their formats.
    strict: images of kinds that are not read count as failures. outputs: notes which outputs in stores exist.

    Raises InputError if there is nothing to restore or the masks are ambiguous; OutputError if all outputs
    collide, for an output that is an input, and for existing outputs under `OnExisting.REFUSE`;
    UsageError if `-o` is unsuitable for these inputs.
    """
    naming.check(inputs)
    has_tree = not naming.names_one_file()
    found = search(inputs, naming, selection, strict=strict)
    jobs, passed_over = found.jobs, found.passed_over
    pairs = masks.pair([job.found for job in jobs]) if masks else None
    if pairs and pairs.masks:
        jobs = _without_masks(jobs, pairs.masks, passed_over)
    if not jobs:
        raise _nothing_to_do(inputs, passed_over, found.left_out, selection.suffixes)
    jobs, refused = without_collisions(refit(jobs) if refit else jobs, naming)
    if not jobs:
        raise refused[0].error
    every = [*jobs, *(one.job for one in refused)] if refused else jobs
    if shard:
        jobs, refused, passed_over = _of_part(shard, jobs, refused, passed_over)
    kept = kept or Kept(folders=tuple(path for path in inputs if is_folder(path)))
    jobs, to_skip = without_existing(
        jobs,
        every,
        on_existing=on_existing,
        kept=kept,
        may_go_on=lambda job: has_tree and may_go_on(job),
        outputs=outputs,
    )
    files = (tuple(jobs), tuple(to_skip), tuple(passed_over))
    return Plan(*files, has_tree, found.left_out, pairs, tuple(refused), len(every))


@dataclass(frozen=True)
class Search:
    """What lies below the inputs: a job for each image, in their order; entries that are passed over; other files."""

    jobs: list[Job]
    passed_over: list[PassedOver]
    left_out: LeftOut


def search(inputs: Sequence[Path], naming: Naming, selection: Selection, *, strict: bool = False) -> Search:
    """Searches the inputs, except for the output trees below them. Raises what `discover` raises.

    strict: images of kinds that are not read count as failures.
    """
    roots = {given: naming.root_of(given) for given in inputs}
    avoided = _outside_inputs(roots) if not naming.names_one_file() else ()
    selection = replace(selection, avoid=(*selection.avoid, *avoided))
    left_out = LeftOut()
    jobs, passed_over = _jobs(discover(inputs, selection, left_out), naming, roots, is_only=len(inputs) == 1)
    passed_over += [
        PassedOver(path_from(path), unread_reason(path), strict, is_unread=True) for path in left_out.unread
    ]
    return Search(jobs, passed_over, left_out)


def without_existing(
    jobs: Sequence[Job],
    every: Sequence[Job],
    *,
    on_existing: OnExisting,
    kept: Kept,
    may_go_on: Callable[[Job], bool],
    outputs: RemoteOutputs | None = None,
) -> tuple[list[Job], list[Job]]:
    """(the jobs to carry out; those that `OnExisting.SKIP` leaves out because their outputs exist).

    every: the jobs of all inputs, which no output may overwrite.
    outputs: as in `make_plan`.

    Raises OutputError for an output that is an input, and for existing outputs that must not be replaced.
    """
    outputs = outputs or RemoteOutputs()
    exist = _exist(jobs, outputs)
    existing = list(compress(jobs, exist))
    kept.refuse((job.found.path_text for job in every), (job.target_text for job in existing))
    _check_existing(existing, len(jobs), on_existing, kept, may_go_on)
    if on_existing is not OnExisting.SKIP:
        return _marked(jobs, exist, outputs), []
    return [job for job, exists in zip(jobs, exist, strict=True) if not exists], existing


def _without_masks(jobs: list[Job], masks: Collection[str], passed_over: list[PassedOver]) -> list[Job]:
    """The jobs without those whose sources are in `masks`; these are added to `passed_over`."""
    are_masks = [job for job in jobs if job.found.path_text in masks]
    passed_over += [PassedOver(job.source, IS_MASK, failed=False) for job in are_masks]
    return [job for job in jobs if job.found.path_text not in masks]


def _check_existing(
    existing: Sequence[Job], num_jobs: int, on_existing: OnExisting, kept: Kept, may_go_on: Callable[[Job], bool]
) -> None:
    """Raises OutputError if the output of one of the `existing` jobs must not be replaced."""
    if on_existing is OnExisting.SKIP:
        return
    if on_existing is OnExisting.REFUSE:
        foreign = [job.target for job in existing if not may_go_on(job)]
        if foreign:
            among_originals = kept.folder_of(foreign[0].parent) is not None
            raise _exist_already(foreign, num_jobs, among_originals=among_originals)
        return
    for job in existing:
        if kept.folder_of(job.target.parent) and not may_go_on(job):
            kept.refuse_original(job.target)


def _of_part(
    shard: tuple[int, int], jobs: list[Job], refused: list[Refused], passed_over: list[PassedOver]
) -> tuple[list[Job], list[Refused], list[PassedOver]]:
    """What belongs to part I of N."""
    return (
        [job for job in jobs if in_shard(job.found.place, shard)],
        [one for one in refused if in_shard(one.job.found.place, shard)],
        [entry for entry in passed_over if in_shard(str(entry.path), shard)],
    )


def in_shard(place: str, shard: tuple[int, int]) -> bool:
    """Whether a file belongs to part I of N, by its path alone, independent of the machine and of other files."""
    part, parts = shard
    digest = hashlib.sha256(place.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8]) % parts == part - 1


def without_collisions(jobs: list[Job], naming: Naming) -> tuple[list[Job], list[Refused]]:
    """(the jobs whose outputs do not collide with others, the other jobs with their errors)."""
    roots = {root: absolute(root).rstrip(os.sep).replace(os.sep, "/") for root in {job.root for job in jobs}}
    if not may_collide(f"{roots[job.root]}/{job.name}" for job in jobs):  # as in almost every tree
        return jobs, []
    errors = refusals([_planned_file(job, naming) for job in jobs])
    refused = [Refused(job, error) for job, error in zip(jobs, errors, strict=True) if error]
    return [job for job, error in zip(jobs, errors, strict=True) if not error], refused


def _planned_file(job: Job, naming: Naming) -> PlannedFile:
    with_suffix = None
    if not naming.keep_suffix and not naming.names_one_file():
        format = format_of(job.target) if job.instead_of else naming.format
        with_suffix = job.root / replace(naming, format=format, keep_suffix=True).name_of(job.found)
    return PlannedFile(job.source, job.target, bool(job.instead_of), with_suffix)


def _outside_inputs(roots: dict[Path, Path]) -> tuple[Path, ...]:
    """The output trees that are not searched; an output tree that is itself an input is searched."""
    # Not Path.resolve, which raises an error for loops of links.
    inputs = {real_text(given) for given in roots}
    return tuple(root for root in roots.values() if real_text(root) not in inputs)


def _jobs(
    stream: Iterable[Found | PassedOver], naming: Naming, roots: dict[Path, Path], *, is_only: bool
) -> tuple[list[Job], list[PassedOver]]:
    jobs: list[Job] = []
    passed_over: list[PassedOver] = []
    known: set[tuple[str, str]] = set()
    for entry in stream:
        if isinstance(entry, PassedOver):
            passed_over.append(entry)
            continue
        root = roots[entry.given]
        if naming.is_own_output(entry, root):
            passed_over.append(PassedOver(entry.path, "an output of an earlier run, by its suffix", failed=False))
            continue
        job = Job(entry, root, naming.name_of(entry))
        # An input that is given twice is one job. A single input has no file twice and needs no such set.
        if not is_only:
            pair = (os.path.normcase(entry.path_text), os.path.normcase(job.target_text))
            if pair in known:
                continue
            known.add(pair)
        jobs.append(job)
    return jobs, passed_over


def _marked(jobs: Sequence[Job], exist: Sequence[int], outputs: RemoteOutputs) -> list[Job]:
    """The jobs; those whose outputs exist in a store may replace them, or what a killed run may have made of them."""
    if isinstance(jobs, list) and True not in exist:
        return jobs

    def marked(job: Job) -> Job:
        is_own = (job.root, job.name) in outputs.in_flight
        return replace(job, may_replace=objects.Replaces.OWN if is_own else objects.Replaces.ANYTHING)

    marks = zip(jobs, exist, strict=True)
    return [marked(job) if exists and is_remote(job.root) else job for job, exists in marks]


def _exist(jobs: Sequence[Job], outputs: RemoteOutputs) -> Sequence[int]:
    """For each job whether its output exists: 1 or 0, a byte each."""
    remote = [root for root in {job.root for job in jobs} if is_remote(root)]
    for root in remote:
        outputs.look(root, (job.name for job in jobs if job.root == root), is_one=len(jobs) == 1)
    if remote:
        only = jobs[0].root
        if is_remote(only) and all(job.root is only for job in jobs):
            return outputs.exist(only, (job.name for job in jobs))
        return bytes(
            outputs.stamp(job.root, job.name) is not None if is_remote(job.root) else job.is_made() for job in jobs
        )
    # Usually no root exists, so no job is checked. A name that is too long is reported when the directory is made.
    roots = {root for root in {job.root for job in jobs} if os.path.exists(root)}  # noqa: PTH110
    return bytes(job.root in roots and job.is_made() for job in jobs)


def _nothing_to_do(
    inputs: Sequence[Path], passed_over: Sequence[PassedOver], left_out: LeftOut, suffixes: frozenset[str]
) -> InputError:
    problem = next((entry for entry in passed_over if entry.failed and not entry.is_unread), None)
    if problem:
        return InputError(problem.reason, path=problem.path, hint="No image was found that can be read.")
    where = inputs[0] if len(inputs) == 1 else None
    if mask := next((entry for entry in passed_over if entry.reason == IS_MASK and entry.path in inputs), None):
        return InputError(
            "is the mask, and no other image is left", path=mask.path, hint="Name the image that it belongs to."
        )
    if suffixes.isdisjoint(formats.input_suffixes()):
        message = f"no files with the suffix {' or '.join(sorted(suffixes))} found"
        return InputError(message, path=where, hint="Name a directory that holds some, or the files.")
    hint = "Check --include and --exclude; hidden files and files without an image suffix are left out of directories."
    if left_out.other_files.get(formats.CODES_SUFFIX):
        hint += " Files of codes are read with `adacode reconstruct --from-codes`."
    if left_out.unread_images:
        hint = f"Convert images of other kinds to TIFF or PNG first. {left_out.advice}"
    return InputError("; ".join(filter(None, ("no images found", left_out.text))), path=where, hint=hint)


def _exist_already(existing: Sequence[Path], num_jobs: int, *, among_originals: bool) -> OutputError:
    """The error for existing outputs of which no journal says that a run wrote them: they may be originals.

    among_originals: they lie in a folder of inputs, in which --overwrite replaces no such file.
    """
    them = "it" if len(existing) == 1 else "them"
    unknown = f"No record says that adacode made {them}: choose another name or directory with -o."
    replacing = "" if among_originals else f" --overwrite would replace {them}."
    if num_jobs == 1:
        return OutputError("exists already", path=existing[0], hint=unknown + replacing)
    exist = "output exists" if len(existing) == 1 else "outputs exist"
    message = f"{len(existing)} of {num_jobs} {exist} already, the first is {min(existing)}"
    return OutputError(message, hint=f"{unknown} --skip-existing restores only the others.{replacing}")
