"""Judgements of pictures, kept in an output tree beside its journal: keep, redo, doubtful, or none any more.

    OUT/.adacode/judgements.jsonl    one line of JSON for each judgement; of several on one picture, the last counts

A judgement is about one line of one journal, so a result that is made again has none. Lines are only appended, under a
lock, and are on the disk before the page is told so; several servers may write to one file. What is in it is checked as
the journal is: it may be a link, or forged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adacode_cli import atomic, locks
from adacode_cli.batch.gallery.entries import Fields, identifier
from adacode_cli.batch.state_files import STATE, ForeignFileError, is_path, object_of, opened
from adacode_cli.errors import OutputError, reason
from adacode_cli.storage.path import is_remote

JUDGEMENTS = STATE / "judgements.jsonl"
MARKS = frozenset({"keep", "redo", "doubtful", ""})
"""What a picture can be judged; "" takes a judgement back."""
_VERSION = 1
_MAX_LINE_BYTES = 1 << 16
_HINT = "Make room and make the directory writable, then judge the picture again."


def judgements_in(root: Path, journal: str) -> dict[str, Fields]:
    """What the page is told of the tree `root`: {id of a picture: {"mark", "line", "time"}}.

    journal: the digest by which the page knows the journal; judgements about another one are left out. A file that
    cannot be read counts as empty: the page then shows no judgements. In a store there are none.
    """
    found: dict[str, Fields] = {}
    if is_remote(root):
        return found
    for fields in _lines(root / JUDGEMENTS):
        if fields["journal"] == journal:
            found[identifier(fields["target"])] = {name: fields[name] for name in ("mark", "line", "time")}
    return found


def add_judgement(root: Path, journal: str, target: str, line: int, mark: str) -> str:
    """Appends a judgement about the output `target`, of a line of the journal, and returns its time (ISO 8601, UTC).

    Raises OutputError if it cannot be written.
    """
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = {"version": _VERSION, "time": time, "journal": journal, "target": target, "line": line, "mark": mark}
    data = json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"
    path = root / JUDGEMENTS
    try:
        handle = opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        with os.fdopen(handle, "a+b", buffering=0) as file:
            locks.lock(file.fileno(), wait=True)
            if (size := file.seek(0, os.SEEK_END)) > 0:
                file.seek(size - 1)
                data = data if file.read(1) == b"\n" else b"\n" + data  # after a line that a crash left incomplete
            written = file.write(data)
            while written < len(data):  # A disk that becomes full writes a part; the next call raises the error.
                written += file.write(data[written:])
            atomic.sync(file.fileno())
    except ForeignFileError as error:
        raise OutputError(f"cannot be used: {error.strerror}", path=path, hint="Remove it.") from error
    except OSError as error:
        raise OutputError(f"cannot be written: {reason(error)}", path=path, hint=_HINT) from error
    return time


def _lines(path: Path) -> Iterator[Fields]:
    """The fields of each line that is a judgement."""
    try:
        with os.fdopen(opened(path, os.O_RDONLY), "rb") as file:
            while line := file.readline(_MAX_LINE_BYTES):
                fields = object_of(line)
                if fields is not None and _is_judgement(fields):
                    yield fields
    except OSError:
        return


def _is_judgement(fields: dict[str, Any]) -> bool:
    line, texts = fields.get("line"), (fields.get("mark"), fields.get("time"), fields.get("journal"))
    return (
        fields.get("version") == _VERSION
        and is_path(fields.get("target"))
        and all(isinstance(text, str) for text in texts)
        and fields["mark"] in MARKS
        and type(line) is int
    )
