"""`.adacode/report.json`: how the last run into an output tree ended, for programs that come afterwards.

docs/report.schema.json describes it. It is written whole or not at all, when everything else has its place.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from adacode_cli import atomic
from adacode_cli.batch.memory import peak_memory_bytes
from adacode_cli.batch.outcome import Outcome
from adacode_cli.batch.record import Settings
from adacode_cli.batch.report import Report
from adacode_cli.batch.state_files import STATE
from adacode_cli.errors import EXIT_INTERRUPTED, AdaCodeError
from adacode_cli.version import __version__

REPORT = STATE / "report.json"
SCHEMA_VERSION = 1


def write_report(root: Path, report: Report, settings: Settings, began: datetime) -> None:
    """Writes the report of a run that `began` then into the tree `root`, if there is one. Raises OutputError."""
    if not (root / STATE).is_dir() or (root / STATE).is_symlink():
        return  # nothing was done there, or it is somebody else's folder
    fields = {
        "version": SCHEMA_VERSION,
        "tool": __version__,
        "began": began.isoformat(timespec="milliseconds"),
        "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "options_sha256": settings.options,
        "weights_sha256": settings.weights,
        "files": report.total,
        "done": report.done,
        "skipped": report.skipped,
        "failed": len(report.failed),
        "untouched": report.untouched,
        "seconds": round(report.seconds, 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "exit_code": report.exit_code,
        "stopped_by": _told(report.stopped_by),
        "log_error": _told(report.log_error),
        "failures": [_failure(outcome) for outcome in report.failed],
        "left_out": report.left_out.counts,
        "noted": report.num_noted,
        "notes": [{"source": str(outcome.source), "notes": outcome.notes} for outcome in report.noted],
    }
    atomic.write_bytes(root / REPORT, json.dumps(fields, indent=1).encode("ascii") + b"\n")


def _told(error: AdaCodeError | KeyboardInterrupt | None) -> dict[str, object] | None:
    if isinstance(error, AdaCodeError):
        path = None if error.path is None else str(error.path)
        return _error(error.kind, error.exit_code, error.message, error.hint, path)
    return None if error is None else _error("interrupted", EXIT_INTERRUPTED, "interrupted", "", None)


def _failure(outcome: Outcome) -> dict[str, object]:
    failure = outcome.failure
    assert failure is not None, "only failed outcomes are kept"
    source = str(outcome.source)
    return {
        "source": source,
        "target": None if outcome.target is None else str(outcome.target),
        "error": _error(failure.kind, failure.exit_code, failure.message, failure.hint, source),
    }


def _error(kind: str, exit_code: int, message: str, hint: str, path: str | None) -> dict[str, object]:
    return {"kind": kind, "exit_code": exit_code, "message": message, "path": path, "hint": hint}
