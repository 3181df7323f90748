"""One line of the journal: source, settings and content of an output. docs/journal.md describes the fields.

Times, paths and memory are for information; later runs use the fields of `Record` only, and ignore a line in which one
of them is missing.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adacode_cli.batch import places
from adacode_cli.batch.contents import Content
from adacode_cli.batch.outcome import Outcome, Result
from adacode_cli.batch.plan import Job
from adacode_cli.batch.state_files import is_path, object_of
from adacode_cli.errors import JournalError
from adacode_cli.storage.path import identity_of
from adacode_cli.version import __version__

if sys.platform != "win32":
    import resource

FORMAT_VERSION = 2
_NO_VERSION_YET = 1000
_MAX_FILE_BYTES = 1 << 63
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Settings:
    """SHA-256 digests of the options that change outputs, and of the weights."""

    options: str = ""
    weights: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A restored file.

    besides: the other files that were written for it, by absolute path.
    path: the absolute path of its source; None in lines without it.
    source_stamp, output_stamp: what their stores stated of them (`objects.Status`); 0 for local files.
    """

    source: Content
    mask: str | None
    settings: Settings
    output: Content
    side_files: tuple[tuple[str, Content], ...] = ()
    path: str | None = None
    source_stamp: int = 0
    output_stamp: int = 0


def absolute_text(job: Job) -> str:
    """The absolute path of a job's source, without dots; links are left as they are. A digest of its query follows."""
    return identity_of(places.absolute_text(job.found.path_text))


def digest_of(values: Mapping[str, object]) -> str:
    """The SHA-256 of named values in any order; values other than numbers and text are converted to text."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def line_of(job: Job, outcome: Outcome, settings: Settings) -> bytes:
    """The journal's line about a file that was done or failed, with its newline, in ASCII."""
    made = outcome.made
    source, output = (made.source, made.output) if made else (None, None)
    fields = {
        "version": FORMAT_VERSION,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "tool": __version__,
        "input": str(job.found.given.absolute()),
        "source": job.found.place,
        "path": absolute_text(job),
        "source_bytes": source.num_bytes if source else None,
        "source_sha256": source.sha256 if source else None,
        "mask_sha256": made.mask if made else None,
        "options_sha256": settings.options,
        "weights_sha256": settings.weights,
        "target": job.name,
        "outcome": outcome.result.value,
        "seconds": round(outcome.seconds, 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "bytes": output.num_bytes if output else None,
        "sha256": output.sha256 if output else None,
        "besides": [
            {"path": p, "bytes": c.num_bytes, "sha256": c.sha256} for p, c in (made.side_files if made else ())
        ],
        "precisions": outcome.precisions,
        "fate": outcome.fate.value if outcome.result is Result.DONE else None,
        "notes": outcome.notes,
        "error": outcome.failure.message if outcome.failure else None,
    }
    if made and (made.source_stamp or made.output_stamp):
        fields |= {"source_stamp": f"{made.source_stamp:016x}", "output_stamp": f"{made.output_stamp:016x}"}
    return json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"


SideFiles = tuple[tuple[str, Content], ...]
"""Files that were written beside an output, by absolute path."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line on the output `target` in its tree: its `record` if it was restored, and the files beside it."""

    target: str
    record: Record | None
    side_files: SideFiles


def line_from(line: bytes, path: Path) -> Line | None:
    """The content of a line of the journal `path`.

    None for damaged or forged lines, and for those of version 1, which have no digests of contents. Raises
    JournalError for lines of a later version, whose meaning is unknown.
    """
    fields = object_of(line)
    version = fields.get("version") if fields else None
    if fields is None or type(version) is not int:  # True is an int too
        return None
    if FORMAT_VERSION < version < _NO_VERSION_YET:
        hint = "Use that version of adacode, or another output directory (-o)."
        raise JournalError(f"was written by a later version of adacode (format {version})", path=path, hint=hint)
    if version != FORMAT_VERSION or fields.get("outcome") not in (Result.DONE, Result.FAILED):
        return None
    try:
        record = _record(fields) if fields["outcome"] == Result.DONE else None
        return Line(_path(fields["target"]), record, record.side_files if record else _side_files(fields))
    except (ValueError, KeyError, TypeError):
        return None


def _record(fields: dict[str, Any]) -> Record:
    """The record of a line. Raises ValueError, KeyError or TypeError for fields that no run writes."""
    return Record(
        _content(fields["source_bytes"], fields["source_sha256"]),
        None if fields["mask_sha256"] is None else _text(fields["mask_sha256"]),
        _shared(_text(fields["options_sha256"]), _text(fields["weights_sha256"])),
        _content(fields["bytes"], fields["sha256"]),
        _side_files(fields),
        None if fields.get("path") is None else _path(fields["path"]),
        _stamp(fields.get("source_stamp")),
        _stamp(fields.get("output_stamp")),
    )


def _side_files(fields: dict[str, Any]) -> SideFiles:
    return tuple((_path(b["path"]), _content(b["bytes"], b["sha256"])) for b in fields["besides"])


def _content(num_bytes: object, sha256: object) -> Content:
    if type(num_bytes) is not int or not 0 <= num_bytes < _MAX_FILE_BYTES:
        raise ValueError("no size of a file")
    if not _SHA256.fullmatch(_text(sha256)):
        raise ValueError("no SHA-256")
    return Content(num_bytes, _text(sha256))


def _stamp(value: object) -> int:
    return 0 if value is None else int(_text(value), 16)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _path(value: object) -> str:
    if not is_path(value):
        raise ValueError("no path")
    return _text(value)


def _shared(options: str, weights: str) -> Settings:
    # A hundred thousand lines repeat a few digests.
    return Settings(sys.intern(options), sys.intern(weights))


def peak_memory_bytes() -> int | None:
    """The largest resident size of this process so far, in bytes; None where the system does not count it."""
    if sys.platform == "win32":
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # the BSDs count bytes, Linux kibibytes
