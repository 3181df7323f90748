"""Who writes what and where: each file that a run writes is compared with all others, and with what is kept.

Outputs are planned in `batch.plan`; what options ask for beside them (images of the weights, codes, refused results,
a log) is here. All of it is compared before anything is computed: with `batch.kept`, so that no option replaces an
original, with files that are there already, and with one another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from adacode_cli.batch.claims import CLAIMS
from adacode_cli.batch.collisions import absolute, folded
from adacode_cli.batch.kept import Kept, identity
from adacode_cli.batch.plan import Job
from adacode_cli.batch.state_files import STATE, holds_files
from adacode_cli.errors import OutputError, translated
from adacode_cli.imaging.encode import format_of

# An empty file, or a line of a log: the time, and a word.
_LOG_BEGINS = re.compile(rb"$|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S* [a-z\[]")
Wrote = Callable[[Job, Path], bool]
"""(job, file beside its output) → whether a journal says that a run wrote that file."""


@dataclass(frozen=True)
class Beside:
    """A kind of file that is written for each job beside its output, where `option` says.

    `what` is its name in messages. `folder`: images lie there that must not be taken for originals later, None for
    other files. `replaces`: a file of an earlier run is written again; otherwise a free name is taken.
    """

    option: str
    what: str
    path: Callable[[Job], Path]
    folder: Path | None = None
    replaces: bool = True


@dataclass(frozen=True)
class Writes:
    """All that a run writes except its outputs, and what neither it nor these may replace."""

    kept: Kept
    beside: tuple[Beside, ...] = ()
    log_file: Path | None = None

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where images are written that are no outputs; nothing is looked for there."""
        return tuple(kind.folder for kind in self.beside if kind.folder is not None)

    def check_folders(self) -> None:
        """Raises OutputError for a folder of images that is one of originals, or has come to hold some."""
        for kind in self.beside:
            if kind.folder is None or (kept := self.kept.folder_of(kind.folder)) is None:
                continue
            hint = f"Choose a directory of its own with {kind.option}."
            if identity(kind.folder) == identity(kept):
                message = f"holds what the run reads, and would hold {kind.what} too"
                raise OutputError(message, path=kind.folder, hint=hint)
            if _has_files_of_others(kind.folder):
                message = f"lies in {kept} and holds files that no run has written"
                raise OutputError(message, path=kind.folder, hint=hint)

    def check(self, jobs: Sequence[Job], wrote: Wrote, *, overwrite: bool, outputs: bool = True) -> None:
        """Raises OutputError where two files would have one name, or one would replace what it must not.

        `outputs`: these are files too, as they are not on a pipe.
        """
        if self.beside or self.log_file is not None:
            self._refuse_collisions(jobs, outputs=outputs)
        for kind in self.beside:
            if kind.replaces:
                self._check_existing(kind, jobs, wrote, overwrite=overwrite)
        if self.log_file is not None:
            self._check_log(self.log_file, [job.found.path_text for job in jobs])

    def _check_existing(self, kind: Beside, jobs: Sequence[Job], wrote: Wrote, *, overwrite: bool) -> None:
        paths = ((job, kind.path(job)) for job in jobs)
        existing = [(job, path) for job, path in paths if os.path.lexists(path)]
        self.kept.refuse((job.found.path_text for job in jobs), (path for _, path in existing), kind.option)
        for job, path in existing:
            if wrote(job, path):
                continue
            if not overwrite:
                hint = f"Add --overwrite to write it again, or choose another place with {kind.option}."
                raise OutputError("exists already", path=path, hint=hint)
            self.kept.refuse_original(path, kind.option)

    def _refuse_collisions(self, jobs: Sequence[Job], *, outputs: bool) -> None:
        first: dict[str, tuple[str, Path]] = {}
        for what, source, target in self._all(jobs, outputs=outputs):
            other = first.setdefault(folded(absolute(target)), (what, source))
            if other != (what, source):
                twice = f"would be written twice: as {_of(*other)} and as {_of(what, source)}"
                hint = "Give each kind of file a directory of its own, or leave one image out with --exclude."
                raise OutputError(twice, path=target, hint=hint)

    def _all(self, jobs: Sequence[Job], *, outputs: bool) -> Iterator[tuple[str, Path, Path]]:
        """(what, of which source, target) of everything that is written, the log first."""
        if self.log_file is not None:
            yield "--log-file", Path(), self.log_file
        for job in jobs:
            if outputs:
                yield "the output", job.source, job.target
            for kind in self.beside:
                yield kind.what, job.source, kind.path(job)

    def _check_log(self, path: Path, sources: Iterable[str]) -> None:
        """Lines are added to a log that exists, so it must be one already, and nothing that is kept."""
        hint = "Choose another file with --log-file, such as run.log."
        self.kept.refuse(sources, [path], "--log-file")
        if format_of(path) is not None:
            raise OutputError("has the name of an image, and is to be a log", path=path, hint=hint)
        if path.parent.name == STATE.name and (path.parent / CLAIMS.name).exists():
            raise OutputError(f"lies in {STATE.name}, where only a run's own files are", path=path, hint=hint)
        if path.is_file() and not _LOG_BEGINS.match(_beginning(path)):
            raise OutputError("exists already, and is not a log of adacode", path=path, hint=hint)


def _beginning(path: Path) -> bytes:
    hint = "Choose another --log-file; the same command does the rest."
    with translated(OutputError, "cannot be read", path, hint=hint), path.open("rb") as file:
        return file.read(64)


def _has_files_of_others(folder: Path) -> bool:
    try:
        return holds_files(folder) and not (folder / STATE).is_dir()
    except OSError:  # not there yet; what cannot be read is reported when it is written to
        return False


def _of(what: str, source: Path) -> str:
    return what if source == Path() else f"{what} of {source}"
