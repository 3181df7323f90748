"""The interface between the coordinator, which orders the work of a run, and executors, which carry it out.

A coordinator knows the plan, the journal, the claims and the receiver of events. An executor knows where jobs are
computed: in this process (`batch.local`), or in others. It takes each job from the coordinator, carries it through the
stages, and returns its outcome:

    take(job) → Assignment ─ JobPassage: fetch, take_in, infer, write ─ Outcome → ended(job, outcome), finished(outcome)

Jobs, assignments and outcomes can be pickled, and `batch.description` loads the same stages in another process.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from adacode_cli.batch.amounts import out_of_memory, size_of
from adacode_cli.batch.contents import content_of
from adacode_cli.batch.gallery.making import Before, before_of, complete, lacks_picture, show
from adacode_cli.batch.keeping import TimesNs
from adacode_cli.batch.outcome import Made, Outcome, OutputState, Result, failure_of
from adacode_cli.batch.output_files import write_new
from adacode_cli.batch.plan import Job
from adacode_cli.batch.stages import (
    Inferred,
    OnPage,
    Read,
    Stages,
    facts_of,
    no_listener,
    output_format,
)
from adacode_cli.batch.trees import Known, outdated
from adacode_cli.engine.progress import Listener, listening
from adacode_cli.sizes import AS_LARGE_ALREADY, Fate


@dataclass(frozen=True, slots=True)
class Assignment:
    """A job that this run has claimed. known: what is known of its output; None if there is no output tree."""

    job: Job
    known: Known | None = None


class Coordinator(Protocol):
    """Gives jobs to an executor and receives reports. The first two methods may be called in any thread."""

    def take(self, job: Job) -> Assignment | None:
        """Claims a job. Returns None while another process works on it; the executor then leaves it out.

        Raises OutputError if no claim can be written, and JournalError.
        """
        ...

    def ended(self, job: Job, outcome: Outcome | None) -> None:
        """Adds the line of the journal and releases the claim. None: the job was not finished. Raises JournalError."""
        ...

    def ended_together(self, ended: Sequence[tuple[Job, Outcome | None]]) -> None:
        """As `ended` for each, but the lines of the journal go to the disk together. Raises JournalError."""
        ...

    def started(self, job: Job) -> None:
        """Reports that the computation of a job starts. Called in the thread of `execute`, as `finished` is."""
        ...

    def page_finished(self, job: Job, page: int, num_pages: int) -> None:
        """Reports that a page of a document (from 1) is restored. Called in the thread of `execute`, as `finished` is.

        An executor that does not know of pages does not call it.
        """
        ...

    def advanced(self, job: Job, share: float) -> None:
        """Reports that the network has computed this share of a job (0 to 1). Called in the thread of `execute`.

        An executor that does not know of shares does not call it.
        """
        ...

    def finished(self, outcome: Outcome) -> None:
        """Reports an outcome. An executor may report in any order; that of one process reports outputs in the order of
        the jobs, and failures as soon as they are known.
        """
        ...


class Executor(Protocol):
    """Carries out jobs."""

    def paths(self, job: Job) -> tuple[Path, ...]:
        """Every file that may be written for a job, its output first."""
        ...

    def execute(self, jobs: Iterable[Job], coordinator: Coordinator) -> None:
        """Carries out all jobs. An error that concerns one file becomes the outcome of its job.

        Raises errors that every file would meet, and KeyboardInterrupt. In any case, every file that was written has
        been reported to the coordinator.
        """
        ...


class JobPassage:
    """One job on its way through the stages.

    made: what the journal will record, whatever happens next.
    seconds: the time spent on it, in all threads.
    on_page: called in the thread of `infer` after each page of a document.
    on_share: called there with the share of the file (0 to 1) that the network has computed, tile by tile.
    """

    def __init__(
        self, stages: Stages, job: Job, on_page: OnPage = no_listener, on_share: Listener = lambda _share: None
    ) -> None:
        self.job = job
        self._on_page, self._on_share = on_page, on_share
        self.made: Made | None = None
        self.seconds = 0.0
        self._stages = stages
        self._times_ns: TimesNs | None = None
        self._before = Before()
        self._size: tuple[int, int] | None = None

    @property
    def num_bytes(self) -> int:
        """The bytes of the samples that it currently holds."""
        return self._size[1] if self._size else 0

    def read(self, known: Known | None = None) -> Read | Outcome:
        """The source and its mask, decoded; or the outcome if there is nothing to do. Raises AdaCodeError.

        known: what is known of the output, if there is an output tree.
        """
        job = self.job
        with self._running():
            if known is not None and known.is_done(job) and not (self._stages.gallery and lacks_picture(job, known)):
                return self._skipped(OutputState.DONE)
            fetched = self._stages.fetch(job)
            self.made, self._times_ns = fetched.made, fetched.times_ns
            output = OutputState.TO_MAKE
            if known is not None:
                state_of = partial(known.state_of, paths=self._stages.paths(job))
                output = self._stages.output_state(job, fetched.made, state_of)
            if output is not OutputState.TO_MAKE:
                if self._stages.gallery and output is OutputState.DONE:
                    complete(self._stages, job, fetched, known)
                return self._skipped(output)
            read = self._stages.take_in(job, fetched.data, fetched.mask_data)
            self._size = size_of(read.image) if read.codes is None else None
            format_name = output_format(job.target)
            read, fate = self._stages.fated(read, fetched.data, format_name)
            if fate is Fate.LEFT_OUT:
                if error := outdated(job, known, fetched.made.source):
                    raise error
                return Outcome(Result.SKIPPED, job.source, job.target, self.seconds, reason=AS_LARGE_ALREADY, fate=fate)
            self._stages.foresee(read, format_name)
            if self._stages.gallery:
                self._before = before_of(self._stages, job, read, fetched.data)
            return self._stages.writable_pages(read, format_name)

    def infer(self, read: Read) -> Inferred:
        """The restored image. Raises AdaCodeError."""
        with self._running(), listening(self._on_share):
            inferred = self._stages.infer(self.job, read, self._on_page)
            self._size = size_of(inferred.image)
        self._on_share(1.0)
        return inferred

    def write(self, inferred: Inferred) -> Outcome:
        """Writes the files beside the output, and then the output, which means that the whole job is done.

        Raises OutputError.
        """
        assert self.made is not None, "`read` comes before"
        job, side_files = self.job, []
        with self._running():
            facts = facts_of(self.made)
            for path, content in self._stages.side_files(job, inferred):
                write_new(path, content, facts=facts, replaces=job.may_replace_beside(path))
                side_files.append((str(path.absolute()), content_of(content)))
                self.made = replace(self.made, side_files=tuple(side_files))
            written = self._stages.write(job, inferred, self.made, self._times_ns)
            notes = written.notes
            if self._stages.gallery:
                notes += show(self._stages, job, self._before, inferred, written)
        return Outcome(
            Result.DONE,
            job.source,
            job.target,
            self.seconds,
            written.num_bytes,
            notes,
            made=written.made,
            precisions=inferred.precisions,
            fate=inferred.fate,
        )

    def failed(self, error: Exception) -> Outcome:
        """The outcome of a job of which a stage raised `error`."""
        job = self.job
        if isinstance(error, MemoryError):
            refused = out_of_memory(job.source, self._size)
            refused.__cause__, error = error, refused
        failure = failure_of(error, job.source)
        return Outcome(Result.FAILED, job.source, job.target, self.seconds, failure=failure, made=self.made)

    def _skipped(self, output: OutputState) -> Outcome:
        job, why = self.job, str(output)
        # A finished output is not reported; a changed one is, also where a live line shows nothing else.
        notes = (why,) if output is OutputState.CHANGED else ()
        return Outcome(Result.SKIPPED, job.source, job.target, self.seconds, 0, notes, reason=why)

    @contextmanager
    def _running(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began
