"""The outcome of one file, which console, journal and report use."""

from __future__ import annotations

import errno
import traceback
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from adacode_cli.batch.contents import Content
from adacode_cli.batch.found import PassedOver
from adacode_cli.batch.plan import Job
from adacode_cli.errors import (
    EXIT_BUG,
    AdaCodeError,
    DeviceError,
    InputError,
    JournalError,
    OutputError,
    UsageError,
    WeightsError,
    reason,
)
from adacode_cli.sizes import Fate
from adacode_cli.storage.path import path_from, without_secrets

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class Result(StrEnum):
    """The three results of a file."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


class OutputState(StrEnum):
    """The state of a file's output, in the words in which a skipped file is reported."""

    TO_MAKE = "to make"
    DONE = "done already"
    CHANGED = "changed since it was made, kept (--overwrite makes it again)"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file failed: `kind` and `exit_code` as in `adacode_cli.errors`; -vv shows `trace`."""

    kind: str
    exit_code: int
    message: str
    hint: str
    trace: str


@dataclass(frozen=True, slots=True)
class Made:
    """The contents of source and output, as the journal stores them.

    `mask` is the SHA-256 of the mask's file; `side_files` are files written beside the output, by absolute path. The
    stamps are those of files in a store (`objects.Status`), 0 for local ones.
    """

    source: Content
    mask: str | None
    output: Content | None = None
    side_files: tuple[tuple[str, Content], ...] = ()
    source_stamp: int = 0
    output_stamp: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one file. `seconds` is the time of work, without waiting; `num_bytes` is the output's size.

    `reason`: why a file was skipped. `made`: None if the source was not read. `precisions`: in which the network made
    its pages, each once; empty unless it was done. `fate`: as in `page_report.PageReport`.
    """

    result: Result
    source: Path
    target: Path | None
    seconds: float = 0.0
    num_bytes: int = 0
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    reason: str = ""
    made: Made | None = None
    precisions: tuple[str, ...] = ()
    fate: Fate = Fate.RESTORED


def failure_of(error: Exception, source: Path) -> Failure:
    """The failure of `source`; an error that is neither an AdaCodeError nor a limit counts as a bug of this program."""
    trace = without_secrets("".join(traceback.format_exception(error)))
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):  # A module is a file too.
        hint = "Allow more open files (ulimit -n), or use fewer --jobs."
        error = InputError(f"cannot be restored: {reason(error)}", path=source, hint=hint)
    elif isinstance(error, ImportError):
        hint = "Allow more open files (ulimit -n). If every file fails so, install adacode again."
        error = InputError(f"cannot be restored: a library cannot be loaded ({error})", path=source, hint=hint)
    if isinstance(error, AdaCodeError):
        about_another = (
            error.path is not None and path_from(str(error.path)) != source
        )  # For example its mask or its output.
        message = str(error) if about_another else error.message
        return Failure(error.kind, error.exit_code, message, error.hint, trace)
    hint = "This is a bug; please report it with the traceback that -vv shows."
    return Failure("bug", EXIT_BUG, without_secrets(f"{type(error).__name__}: {error}"), hint, trace)


def failed_job(job: Job, error: Exception) -> Outcome:
    """The outcome of a job that fails before its source is read."""
    return Outcome(Result.FAILED, job.source, job.target, failure=failure_of(error, job.source))


def failed_entry(entry: PassedOver) -> Outcome:
    """The outcome of an entry that is passed over and counts as a failure."""
    failure = failure_of(InputError(entry.reason, path=entry.path), entry.path)
    return Outcome(Result.FAILED, entry.path, None, failure=failure)


def ends_the_run(error: Exception) -> bool:
    """Whether every other file would meet the same error: a full disk, a lost device, impossible options."""
    if isinstance(error, OutputError):
        cause = error.__cause__
        return isinstance(cause, OSError) and cause.errno in _DISK_ERRORS
    if isinstance(error, DeviceError | WeightsError):
        return not error.only_this_image
    return isinstance(error, UsageError | JournalError)
