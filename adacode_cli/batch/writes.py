"""Checks all files that a run will write against one another and against files that must be kept.

`batch.plan` plans the outputs; this module has the further files that options request (weight maps, codes, refused
results, a log). All files are checked before anything is computed: against `batch.kept`, so that no option replaces an
original, against existing files, and against one another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from adacode_cli.batch.claims import CLAIMS
from adacode_cli.batch.collisions import absolute, folded
from adacode_cli.batch.kept import Kept, identity
from adacode_cli.batch.output_files import holds_files_of_others
from adacode_cli.batch.plan import Job
from adacode_cli.batch.state_files import STATE
from adacode_cli.errors import OutputError, translated
from adacode_cli.imaging.encode import format_of
from adacode_cli.storage import listing, objects
from adacode_cli.storage.objects import Replaces
from adacode_cli.storage.path import is_remote, path_from

_READERS = 8
_AT_ONCE = 256  # files of a store that are looked at before one that must not be replaced is reported
# The beginning of a log: nothing, or the time and a word.
_LOG_BEGINS = re.compile(rb"$|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S* [a-z\[]")
MayReplace = Callable[[Job, Path, bool], Replaces]
"""(job, file beside its output, whether it must be unchanged) → which file a run may replace, by the journals."""


@dataclass(frozen=True)
class Beside:
    """A kind of file that is written for each job beside its output.

    option: the option that requests it and names its place.
    what: its name in messages.
    path: its path for a job.
    place: what the option names: that file, or a folder that holds those of all jobs.
    folder: the folder of images that later runs must not use as originals; None for other files.
    replaces: a file of an earlier run is written again; otherwise a free name is used.
    edited: people edit these files, so one that has changed since it was written is theirs.
    """

    option: str
    what: str
    path: Callable[[Job], Path]
    place: Path
    folder: Path | None = None
    replaces: bool = True
    edited: bool = False


@dataclass(frozen=True)
class Writes:
    """All files that a run writes except its outputs, and the files that must not be replaced."""

    kept: Kept
    beside: tuple[Beside, ...] = ()
    log_file: Path | None = None

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of images that are not outputs; they are not searched for inputs."""
        return tuple(kind.folder for kind in self.beside if kind.folder is not None)

    def check_folders(self) -> None:
        """Raises OutputError for a folder of images that contains, or may contain, originals."""
        for kind in self.beside:
            if kind.folder is None or (kept := self.kept.folder_of(kind.folder)) is None:
                continue
            hint = f"Choose a directory of its own with {kind.option}."
            if identity(kind.folder) == identity(kept):
                message = f"holds the inputs of the run, and would also hold {kind.what}"
                raise OutputError(message, path=kind.folder, hint=hint)
            if holds_files_of_others(kind.folder):
                message = f"lies in {kept} and holds files that no run wrote"
                raise OutputError(message, path=kind.folder, hint=hint)

    def check(
        self, jobs: Sequence[Job], may_replace: MayReplace, *, overwrite: bool, outputs: bool = True
    ) -> tuple[Job, ...]:
        """The jobs, which now know what they may replace (`Job.beside`), where outputs or these files are in stores.

        Raises OutputError if two files would have one name, or one would replace a file that must be kept.

        outputs: whether outputs are files, which they are not on a pipe.
        """
        if self.beside or self.log_file is not None:
            self._refuse_collisions(jobs, outputs=outputs)
        found: dict[Job, list[tuple[str, Replaces]]] = {}
        for kind in self.beside:
            for job, path, replaces in self._existing(kind, jobs, may_replace, overwrite=overwrite):
                # On a disk, what a killed run may have written is only replaced by the same.
                if is_remote(path) or (is_remote(job.root) and replaces is Replaces.OWN):
                    found.setdefault(job, []).append((str(path), replaces))
        if self.log_file is not None:
            self._check_log(self.log_file, [job.found.path_text for job in jobs])
        if not found:
            return tuple(jobs)
        return tuple(replace(job, beside=tuple(found[job])) if job in found else job for job in jobs)

    def _existing(
        self, kind: Beside, jobs: Sequence[Job], may_replace: MayReplace, *, overwrite: bool
    ) -> Iterator[tuple[Job, Path, Replaces]]:
        """(job, path, which file there may be replaced) of each file that exists. Raises OutputError if none may."""
        is_empty = _is_empty(kind, jobs)
        if is_empty or not kind.replaces:
            return
        existing = _that_exist(kind, jobs)
        self.kept.refuse((job.found.path_text for job in jobs), (path for _, path in existing), kind.option)
        replaceable = _each(lambda one: may_replace(*one, kind.edited), existing)
        for (job, path), replaces in zip(existing, replaceable, strict=True):
            if replaces is not Replaces.NOTHING:
                yield job, path, Replaces.ANYTHING if overwrite else replaces
                continue
            if not overwrite:
                hint = f"Choose another place with {kind.option}. --overwrite would replace the file that is there."
                raise OutputError("exists already", path=path, hint=hint)
            self.kept.refuse_original(path, kind.option)
            yield job, path, Replaces.ANYTHING

    def _refuse_collisions(self, jobs: Sequence[Job], *, outputs: bool) -> None:
        first: dict[str, tuple[str, Path]] = {}
        for what, source, target in self._all(jobs, outputs=outputs):
            other = first.setdefault(folded(absolute(target)), (what, source))
            if other != (what, source):
                twice = f"would be written twice: as {_of(*other)} and as {_of(what, source)}"
                hint = "Give each kind of file a directory of its own, or leave one image out with --exclude."
                raise OutputError(twice, path=target, hint=hint)

    def _all(self, jobs: Sequence[Job], *, outputs: bool) -> Iterator[tuple[str, Path, Path]]:
        """(kind, source, target) of every file that is written, the log first."""
        if self.log_file is not None:
            yield "--log-file", Path(), self.log_file
        for job in jobs:
            if outputs:
                yield "the output", job.source, job.target
            for kind in self.beside:
                yield kind.what, job.source, kind.path(job)

    def _check_log(self, path: Path, sources: Iterable[str]) -> None:
        """Checks that an existing log file is a log, because lines are appended to it, and that it may be changed."""
        hint = "Choose another file with --log-file, such as run.log."
        self.kept.refuse(sources, [path], "--log-file")
        if format_of(path) is not None:
            raise OutputError("has the name of an image, but a log is to be written", path=path, hint=hint)
        if path.parent.name == STATE.name and (path.parent / CLAIMS.name).exists():
            raise OutputError(f"lies in {STATE.name}, which is reserved for the files of runs", path=path, hint=hint)
        if path.is_file() and not _LOG_BEGINS.match(_beginning(path)):
            raise OutputError("exists already, and is not a log of adacode", path=path, hint=hint)


def _beginning(path: Path) -> bytes:
    hint = "Choose another --log-file, and run the same command again."
    with translated(OutputError, "cannot be read", path, hint=hint), path.open("rb") as file:
        return file.read(64)


def _is_empty(kind: Beside, jobs: Sequence[Job]) -> bool:
    """Whether nothing is in the place of one kind of files, which only a store says at once. Raises OutputError for a
    bucket that is not there.
    """
    if not jobs:
        return True
    is_file = kind.path(jobs[0]) == kind.place
    folder = kind.place.parent if is_file else kind.place
    return is_remote(folder) and not listing.first_entries(folder, OutputError)


def _that_exist(kind: Beside, jobs: Sequence[Job]) -> list[tuple[Job, Path]]:
    """(job, path) of the files of one kind that exist; in a store, by one list. Raises OutputError."""
    if not is_remote(kind.place):
        return [(job, path) for job in jobs if os.path.lexists(path := kind.path(job))]
    if len(jobs) == 1:
        path = kind.path(jobs[0])
        return [(jobs[0], path)] if is_remote(path) and objects.status(path, OutputError) is not None else []
    wanted = {str(kind.path(job)): job for job in jobs}
    names = (f"{kind.place}/{place}" for place, _ in listing.entries(kind.place, OutputError))
    return [(wanted[name], path_from(name)) for name in names if name in wanted]


def _each(look: Callable[[tuple[Job, Path]], Replaces], existing: list[tuple[Job, Path]]) -> Iterator[Replaces]:
    """What `look` says of each existing file; several files of a store are looked at together."""
    if not existing or not is_remote(existing[0][1]):
        yield from map(look, existing)
        return
    with ThreadPoolExecutor(_READERS, thread_name_prefix="look") as pool:
        for start in range(0, len(existing), _AT_ONCE):
            yield from pool.map(look, existing[start : start + _AT_ONCE])


def _of(what: str, source: Path) -> str:
    return what if source == Path() else f"{what} of {source}"
