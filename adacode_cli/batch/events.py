"""The events of a run as values, in their order; all are emitted in the thread that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adacode_cli.batch.claims import Holder
from adacode_cli.batch.left_out import LeftOut
from adacode_cli.batch.outcome import Outcome
from adacode_cli.batch.plan import Job
from adacode_cli.batch.report import Report


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run is planned and the first file will be read next; `roots` are the output trees.

    num_files: 0 for a watch, which adds them when they come (`FilesAdded`).
    places: as in `Report`.
    """

    num_files: int
    roots: tuple[Path, ...]
    places: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FilesAdded:
    """A watch has found more files, so many, and carries out their jobs now."""

    num_files: int


@dataclass(frozen=True, slots=True)
class EntryPassedOver:
    """An entry of the tree is left out, for this reason; this is not a failure. `is_unread`: as in `PassedOver`."""

    path: Path
    reason: str
    is_unread: bool = False


@dataclass(frozen=True, slots=True)
class OthersLeftOut:
    """The numbers of other files beside the images; emitted once if there are any. This is not a failure."""

    left_out: LeftOut


@dataclass(frozen=True, slots=True)
class FileStarted:
    """The network starts to compute this file."""

    job: Job


@dataclass(frozen=True, slots=True)
class PageFinished:
    """A page of a document is restored: `page` (from 1) of `num_pages`. Images of one page have no such event."""

    job: Job
    page: int
    num_pages: int


@dataclass(frozen=True, slots=True)
class FileAdvanced:
    """The network has computed this share of a file, from 0 to 1; 1 when it is only written yet.

    An image that is computed in one piece, as on a GPU, has one such event. Shares may begin anew if an image is
    computed again.
    """

    job: Job
    share: float


@dataclass(frozen=True, slots=True)
class FileAwaited:
    """Only this file remains, and another process has been working on it for some seconds."""

    job: Job
    holder: Holder


@dataclass(frozen=True, slots=True)
class FileFinished:
    """A file is done (its output has its final name), skipped or failed."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last event; also emitted when the run was stopped or interrupted."""

    report: Report


Event = (
    RunStarted
    | FilesAdded
    | EntryPassedOver
    | OthersLeftOut
    | FileStarted
    | PageFinished
    | FileAdvanced
    | FileAwaited
    | FileFinished
    | RunFinished
)
