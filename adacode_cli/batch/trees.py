"""What a run knows of its output trees: what was made there, with which settings, and who works there now.

An existing output has one of five states: made from this input with the same options, made with other options, made
from another input, in flight (its line in the journal may be missing), or unknown. Only in the first state does a run
continue without an option that allows it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Protocol

from adacode_cli import atomic
from adacode_cli.batch.claims import Claims, Holder, claimed, folder_of
from adacode_cli.batch.contents import Content, holds, holds_any
from adacode_cli.batch.gallery.folder import Gallery
from adacode_cli.batch.gallery.in_store import GalleryInStore
from adacode_cli.batch.journal import JOURNAL, Journal
from adacode_cli.batch.kept import identity
from adacode_cli.batch.lease import Waiting
from adacode_cli.batch.outcome import Made, Outcome, OutputState
from adacode_cli.batch.output_files import remove_leftovers
from adacode_cli.batch.plan import Job
from adacode_cli.batch.record import Record, Settings, absolute_text, line_of
from adacode_cli.batch.remote_outputs import RemoteOutputs
from adacode_cli.batch.remote_tree import RemoteTree, close_all
from adacode_cli.batch.report import REPORT, Report, write_report
from adacode_cli.errors import JournalError, OutputError
from adacode_cli.sizes import AS_LARGE_ALREADY
from adacode_cli.storage.objects import Replaces
from adacode_cli.storage.path import is_remote, is_remote_text, path_from
from adacode_cli.storage.refusals import EXISTS


class Standing(StrEnum):
    """The state of an existing output according to the journal and the claims of its tree."""

    SAME_OPTIONS = "same options"
    OTHER_OPTIONS = "other options"
    OTHER_INPUT = "other input"
    IN_FLIGHT = "in flight"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one output, so that any process can decide what to do with it.

    settings: those of this run.
    replace, overwrite: as in `Trees`.
    counted: the record of the journal by which the output may count as done.
    last: the last record.
    new: the last record since this run was planned.
    target_stamp: what its store stated of the output when the run was planned; None if it is local or did not exist.
    verify: as in `Trees`.
    """

    settings: Settings
    replace: bool
    overwrite: bool
    counted: Record | None
    last: Record | None
    new: Record | None
    target_stamp: int | None = None
    verify: bool = False

    def is_done(self, job: Job) -> bool:
        """Whether the output is known to be done without reading the source, because its store says that neither has
        changed. False if only the contents can tell.
        """
        record, found = self.counted, job.found
        if record is None or self.overwrite or self.verify or record.settings != self.settings:
            return False
        if record.mask or record.side_files:
            return False
        same_source = bool(found.stamp) and record.source_stamp == found.stamp and record.path == absolute_text(job)
        return same_source and self._is_intact(job, record)

    def _is_intact(self, job: Job, record: Record) -> bool:
        """Whether the output is as it was made, by what its store says, or else by its content."""
        if self.target_stamp and self.target_stamp == record.output_stamp and not self.verify:
            return True
        return holds(job.target, record.output)

    def state_of(self, job: Job, made: Made, paths: Collection[Path] = ()) -> OutputState:
        """The state of the output: done, if it is intact and this run would make the same from source and mask; changed
        since; or to make.

        paths: the files that this run writes for the job.

        Raises OutputError if another run made it in another way and this run must not replace it.
        """
        record, is_made = self.counted, cache(job.is_made)  # A store is asked once.
        if record is None:
            earlier = None if self.overwrite else self.last
            is_changed = earlier is not None and is_made() and not holds(job.target, earlier.output)
            return OutputState.CHANGED if is_changed else OutputState.TO_MAKE
        if self.overwrite and is_made():
            _refuse_new_output(job, made.source, self.new)
        if not self.overwrite and is_made() and record.source != made.source and not _is_of(job, record):
            raise _made_from_other_input(job, record)
        if record.settings != self.settings:
            if not self.replace and is_made():
                raise made_with_other_settings(job.target, "options or weights")
            return OutputState.TO_MAKE
        if not self.overwrite and is_made() and not self._is_intact(job, record):
            return OutputState.CHANGED
        is_same = (record.source, record.mask) == (made.source, made.mask) and self._is_whole(job, record, paths)
        return OutputState.DONE if is_same else OutputState.TO_MAKE

    def _is_whole(self, job: Job, record: Record, paths: Collection[Path]) -> bool:
        # A journal may be forged, so of the addresses in it only those are opened to which this run writes.
        own = {str(path): path for path in paths if is_remote(path)}
        beside = [(own.get(text) if is_remote_text(text) else Path(text), one) for text, one in record.side_files]
        return self._is_intact(job, record) and all(path is not None and holds(path, one) for path, one in beside)


class Held(Protocol):
    """The right to write the files of one output."""

    def release(self) -> None:
        """Gives it up. Must be called once."""
        ...


@dataclass
class _Tree:
    journal: Journal
    claims: Claims
    claim_names: frozenset[str]


@dataclass
class Trees:
    """The output trees of one run. The digest of the weights is set when they are loaded (`with_weights`).

    resume: finished outputs are skipped; without it, only those that another process made since this run was planned.
    replace: outputs of earlier runs with other options or weights may be written again.
    overwrite: any output may be written again, also one that was made from another input or was changed since.
    verify: contents are always compared; what stores state of files proves nothing.
    again: the words of the command that makes outputs again, for the gallery; None: the run has no gallery.
    """

    settings: Settings = field(default_factory=Settings)
    resume: bool = False
    replace: bool = True
    overwrite: bool = False
    verify: bool = False
    outputs: RemoteOutputs = field(default_factory=RemoteOutputs)
    again: Sequence[str] | None = None
    _tell: Waiting = lambda _what: None
    _galleries: dict[Path, Gallery | GalleryInStore] = field(default_factory=dict)
    _trees: dict[Path, _Tree | RemoteTree] = field(default_factory=dict)
    _by_identity: dict[tuple[int, int], _Tree | RemoteTree] = field(default_factory=dict)

    def begin(self, roots: Sequence[Path]) -> None:
        """To be called when the run is planned: later lines in the journals of `roots` are from processes beside it."""
        for root in roots:
            self._tree(root)

    @contextmanager
    def held(
        self, roots: Sequence[Path], shard: tuple[int, int] | None = None, waiting: Waiting = lambda _what: None
    ) -> Iterator[None]:
        """Within the block, no other run writes to those trees that are in a store, except to other parts.

        shard: (I, N) if this run is a part. waiting: is told what is waited for, also at the end of the run. Raises
        OutputError, and at the end of the block JournalError if lines could not be written.
        """
        self._tell = waiting
        remote = [tree for root in roots if isinstance(tree := self._tree(root), RemoteTree)]
        try:
            for tree in remote:
                tree.hold(shard, waiting)
            yield
        except BaseException:
            close_all(remote)
            raise
        if (error := close_all(remote)) is not None:
            raise error

    def flush(self) -> None:
        """Writes the lines of journals in stores that wait to be written. Raises JournalError."""
        for tree in self._trees.values():
            if isinstance(tree, RemoteTree):
                tree.flush()

    def look_again(self, roots: Sequence[Path]) -> None:
        """To be called before each further plan of a watch: reads the claims in `roots` of processes beside it."""
        for root in roots:
            self._tree(root).claim_names = self._tree(root).claims.names()

    def is_made(self, job: Job) -> bool:
        """Whether the output of a job exists; in a store, whether it did when the run was planned."""
        return self.outputs.stamp(job.root, job.name) is not None if is_remote(job.root) else job.is_made()

    def check_options(self, jobs: Iterable[Job]) -> None:
        """Raises OutputError for an output that was made with other options and must not be replaced."""
        if self.replace:
            return
        for job in jobs:
            if self.is_made(job) and self.standing(job) is Standing.OTHER_OPTIONS:
                raise made_with_other_settings(job.target, "options")

    def standing(self, job: Job) -> Standing:
        """The state of the existing output of `job`. Raises JournalError."""
        tree, name = self._tree(job.root), job.name
        record = tree.journal.done(name)
        if record:
            if not _is_of(job, record):
                return Standing.OTHER_INPUT
            same = record.settings.options == self.settings.options
            return Standing.SAME_OPTIONS if same else Standing.OTHER_OPTIONS
        return Standing.IN_FLIGHT if claimed(name, tree.claim_names) else Standing.UNKNOWN

    def may_go_on(self, job: Job) -> bool:
        """Whether this run may keep or replace the existing output of `job`; False if no run is known to have made it.

        Raises OutputError if it was made with other options or from another input, and JournalError.
        """
        standing = self.standing(job)
        if standing is Standing.OTHER_INPUT and not self.overwrite:
            raise _made_from_other_input(job, self._tree(job.root).journal.done(job.name))
        if standing is Standing.OTHER_OPTIONS and not self.replace:
            raise made_with_other_settings(job.target, "options")
        if standing is Standing.IN_FLIGHT and not self.overwrite and is_remote(job.root):
            self.outputs.in_flight.add((job.root, job.name))
        return standing is not Standing.UNKNOWN

    def may_replace(self, job: Job, path: Path, unchanged: bool = False) -> Replaces:
        """Which file `path` beside the output of `job` this run may replace: any, if a run wrote it; one that states
        the same source, if a killed run may have been writing it; otherwise none.

        unchanged: and it has not been edited since.
        """
        tree = self._tree(job.root)
        known_files = tree.journal.side_files(job.name)
        if unchanged and any(path_from(recorded) == path.absolute() for recorded, _ in known_files):
            is_own = holds_any(path, [content for _, content in known_files])
            return Replaces.ANYTHING if is_own else Replaces.NOTHING
        if any(_is_file(path, *known) for known in known_files):
            return Replaces.ANYTHING
        if claimed(job.name, tree.claim_names):
            return Replaces.OWN
        if isinstance(tree, RemoteTree):  # One run at a time writes there, so nothing has come since.
            return Replaces.NOTHING
        # Claims are read again, and before the journal: a process writes its line before it releases its claim.
        if claimed(job.name, tree.claims.names()):
            return Replaces.OWN
        is_new = any(_is_file(path, *known) for known in tree.journal.side_files(job.name))
        return Replaces.ANYTHING if is_new else Replaces.NOTHING

    def with_weights(self, weights: str, jobs: Sequence[Job]) -> None:
        """Sets the digest of the weights. Raises OutputError for outputs of other weights that must not be replaced."""
        self.settings = Settings(self.settings.options, weights)
        if self.replace:
            return
        others = {
            root: self._tree(root).journal.targets_with_other_weights(weights) for root in {job.root for job in jobs}
        }
        for job in jobs:
            if job.name in others[job.root] and self.is_made(job):
                raise made_with_other_settings(job.target, "weights")

    def clean(self, jobs: Sequence[Job], paths: Callable[[Job], Sequence[Path]]) -> None:
        """Removes temporary files that killed runs left in the trees of `jobs` and in the folders of their `paths`."""

        @cache
        def folders() -> Collection[str]:
            """All folders to which this run writes; only computed if there are claims."""
            return {folder_of(path) for job in jobs for path in paths(job) if not is_remote(path)}

        for root in {job.root for job in jobs}:
            tree = self._tree(root)
            if isinstance(tree, RemoteTree):
                of_tree = [job for job in jobs if job.root == root]
                tree.claims.expect(job.name for job in of_tree)
                begun = (job for job in of_tree if claimed(job.name, tree.claim_names))
                remove_leftovers(path for job in begun for path in paths(job))  # Some may be on a disk.
                continue
            tree.claims.clean(folders)
            atomic.remove_leftovers(root / REPORT)

    def claim(self, job: Job, paths: Sequence[Path]) -> Held | None:
        """Claims a job's output; returns None while another process has the claim. Raises OutputError."""
        tree = self._tree(job.root)
        if isinstance(tree, RemoteTree):
            return tree.claims.take(job.name)
        return tree.claims.take(job.name, [path for path in paths if not is_remote(path)])

    def holder(self, job: Job) -> Holder:
        """The holder of the claim on a job's output, as far as the claim states it."""
        return self._tree(job.root).claims.holder(job.name)

    def known(self, job: Job) -> Known:
        """What the journal currently contains on a job's output. Raises JournalError."""
        journal = self._tree(job.root).journal
        record, new = journal.done(job.name), journal.done(job.name, only_new=True)
        counted = record if self.resume else new
        stamp = self.outputs.stamp(job.root, job.name)
        return Known(self.settings, self.replace, self.overwrite, counted, record, new, stamp, self.verify)

    def begin_galleries(self, roots: Sequence[Path]) -> None:
        """Writes the galleries, if the run has some, with what the trees hold already. Raises OutputError."""
        if self.again is None:
            return
        for root in roots:
            if root not in self._galleries:
                tree = self._tree(root)
                gallery = tree.gallery() if isinstance(tree, RemoteTree) else Gallery(root)
                gallery.begin({self.settings.options: list(self.again)})
                self._galleries[root] = gallery

    def note(self, ended: Sequence[tuple[Job, Outcome]]) -> None:
        """Adds the journals' lines, those of one tree together, and brings galleries up to date from time to time.

        Raises JournalError.
        """
        lines: dict[Path, list[bytes]] = {}
        for job, outcome in ended:
            self._keep_if_unknown(job, outcome)
            lines.setdefault(job.root, []).append(line_of(job, outcome, self.settings))
        for root, of_tree in lines.items():
            self._tree(root).journal.add(*of_tree)
            if gallery := self._galleries.get(root):
                with suppress(Exception):  # No page ends a run; if it remains so, the end of the run reports it.
                    gallery.advance()

    def _keep_if_unknown(self, job: Job, outcome: Outcome) -> None:
        """Keeps the announcement of an output if its store gave no answer: nobody knows whether the output is there."""
        tree, failure = self._tree(job.root), outcome.failure
        is_unknown = failure and failure.kind == OutputError.kind and EXISTS not in failure.message
        if is_unknown and isinstance(tree, RemoteTree):
            tree.claims.keep(job.name)

    def report(self, roots: Sequence[Path], report: Report, began: datetime) -> None:
        """Writes the report into the trees. Raises OutputError, JournalError, unless another error stopped the run."""
        for root in roots:
            try:
                write_report(root, report, self.settings, began)
                # An interrupted run has no time for requests; the next one makes the page.
                is_hurried = isinstance(report.stopped_by, KeyboardInterrupt) and is_remote(root)
                if (gallery := self._galleries.get(root)) and not is_hurried:
                    if is_remote(root):
                        self._tell("writing the page of the report")
                    gallery.end()
            except (OutputError, JournalError):
                if report.stopped_by is None:
                    raise

    def _tree(self, root: Path) -> _Tree | RemoteTree:
        if root not in self._trees:
            file = identity(root)  # Two names of one tree, for example a link and its target, share a value.
            tree = self._by_identity.get(file) if file else None
            self._trees[root] = tree or (RemoteTree(root) if is_remote(root) else _opened_tree(root))
            if file:
                self._by_identity[file] = self._trees[root]
        return self._trees[root]


def outputs_in(root: Path) -> Callable[[str], bool] | None:
    """A test whether a run wrote a file, by its path in the directory `root`; None if there is no journal.

    Raises JournalError.
    """
    if not os.path.lexists(root / JOURNAL):
        return None
    in_flight, journal, top = Claims(root).names(), Journal(root), root.absolute()
    records = journal.records()
    side_files = (Path(path) for path, _ in journal.all_side_files() if not is_remote_text(path))
    others = {path.relative_to(top).as_posix() for path in side_files if path.is_relative_to(top)}
    return lambda name: name in records or name in others or claimed(name, in_flight)


def _opened_tree(root: Path) -> _Tree:
    # Claims are read before the journal: a process writes its line before it releases its claim.
    claims = Claims(root)
    names = claims.names()
    journal = Journal(root)
    journal.begin()
    return _Tree(journal, claims, names)


def made_with_other_settings(target: Path, what: str) -> OutputError:
    """The error for an output of an earlier run with other options or weights."""
    hint = "Add --overwrite to make it again, --skip-existing to keep it, or choose another directory with -o."
    return OutputError(f"exists already, and was made with other {what}", path=target, hint=hint)


def outdated(job: Job, known: Known | None, source: Content | None = None) -> OutputError | None:
    """The error for a job that writes nothing although its output exists, unless the output was made from its source as
    it is now, and is intact.

    source: the content of the source; if None, the source is read here.
    """
    if not job.is_made():
        return None
    record = known.last if known else None
    if record is not None and holds(job.target, record.output):
        is_same = holds(job.source, record.source) if source is None else record.source == source
        if is_same:
            return None
    message = (
        f"exists already, but was not made from {job.source} as it is now, which is left out: it is {AS_LARGE_ALREADY}"
    )
    hint = "Remove this output, run without --skip-larger, or choose another directory with -o."
    return OutputError(message, path=job.target, hint=hint)


def _made_from_other_input(job: Job, record: Record | None) -> OutputError:
    assert record is not None, "the caller has checked this"
    hint = "Choose another directory with -o, or add --overwrite to replace it, or --skip-existing to keep it."
    return OutputError(f"exists already, and was made from another input: {record.path}", path=job.target, hint=hint)


def _refuse_new_output(job: Job, source: Content, new: Record | None) -> None:
    """Raises OutputError for an output of this run or of one beside it, to which `--overwrite` does not apply."""
    if new is not None and new.source != source and not _is_of(job, new):
        hint = "Choose another directory with -o for one of the two."
        raise OutputError(f"was made from another input in the meantime: {new.path}", path=job.target, hint=hint)


def _is_of(job: Job, record: Record) -> bool:
    """Whether a record is of this job's source: by its path, or by its content if a folder was moved."""
    here = absolute_text(job)
    if record.path is None or record.path == here:
        return True
    with suppress(OSError, ValueError):
        if not is_remote_text(record.path) and not is_remote_text(here) and Path(record.path).samefile(here):
            return True
    return holds(job.source, record.source)


def _is_file(path: Path, recorded: str, content: Content) -> bool:
    """Whether a file is the one that a record names: by its path, or by its content if folders were moved."""
    if path_from(recorded) == path.absolute():
        return True
    return path_from(recorded).name == path.name and holds(path, content)
