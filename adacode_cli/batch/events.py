"""What happens in a run, as values, in the order in which it happens; all are emitted from the thread that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adacode_cli.batch.claims import Holder
from adacode_cli.batch.left_out import LeftOut
from adacode_cli.batch.outcome import Outcome
from adacode_cli.batch.plan import Job
from adacode_cli.batch.report import Report


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The plan stands and the first file is about to be read; `roots` are the output trees."""

    num_files: int
    roots: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class EntryPassedOver:
    """An entry of the tree is left out, and why; this is no failure."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class OthersLeftOut:
    """How many files of other kinds lie beside the images, said once where there are any; this is no failure."""

    left_out: LeftOut


@dataclass(frozen=True, slots=True)
class FileStarted:
    """The network begins with this file."""

    job: Job


@dataclass(frozen=True, slots=True)
class PageFinished:
    """A page of a document is restored: `page` (from 1) of `num_pages`. Images of one page have no such event."""

    job: Job
    page: int
    num_pages: int


@dataclass(frozen=True, slots=True)
class FileAwaited:
    """Nothing is left to do but this file, and another process has been at work on it for some seconds."""

    job: Job
    holder: Holder


@dataclass(frozen=True, slots=True)
class FileFinished:
    """A file is done (its output has its final name), skipped or failed."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class RunFinished:
    """Nothing more will happen; also emitted when the run was stopped or interrupted."""

    report: Report


Event = (
    RunStarted | EntryPassedOver | OthersLeftOut | FileStarted | PageFinished | FileAwaited | FileFinished | RunFinished
)
