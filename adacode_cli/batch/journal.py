"""An output tree says of itself what was made in it: one line of JSON for each file that was done or failed.

A line is appended after the output has its final name and in a single write, so that lines of several processes never
mix and a line never claims a file that is not there. `FORMAT_VERSION` counts changes of the line's fields:
`version`, `time` (UTC), `source`, `target` (relative to the tree), `outcome`, `seconds`, `bytes`, `error`.
"""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

from adacode_cli import atomic
from adacode_cli.batch.outcome import Outcome
from adacode_cli.errors import JournalError

FORMAT_VERSION = 1
JOURNAL = Path(".adacode") / "journal.jsonl"


class Journal:
    """Appends to the journals of the output trees of one run; safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def record(self, root: Path, outcome: Outcome) -> None:
        """Adds one line to the journal of the tree `root`. Raises JournalError where it cannot be written."""
        path = root / JOURNAL
        line = json.dumps(_fields(root, outcome), separators=(",", ":")) + "\n"
        try:
            with self._lock:
                path.parent.mkdir(parents=True, exist_ok=True)
                _append(path, line.encode("ascii"))
        except OSError as error:
            hint = "Make room or choose another output directory (-o); files already restored are kept."
            raise JournalError(f"cannot be written: {atomic.reason(error)}", path=path, hint=hint) from error


def _append(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        written = os.write(handle, data)
        while written < len(data):  # a disk that fills up takes a part; the next write says why
            written += os.write(handle, data[written:])
    finally:
        os.close(handle)


def _fields(root: Path, outcome: Outcome) -> dict[str, object]:
    target = outcome.target
    return {
        "version": FORMAT_VERSION,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "source": str(outcome.source.absolute()),
        "target": target.relative_to(root).as_posix() if target else None,
        "outcome": outcome.result.value,
        "seconds": round(outcome.seconds, 3),
        "bytes": outcome.num_bytes,
        "error": outcome.failure.message if outcome.failure else None,
    }
