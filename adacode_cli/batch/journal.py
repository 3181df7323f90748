"""An output tree says of itself what was made in it: one line of JSON for each file that was done or failed.

A line is appended after the output has its final name, whole, and is on the disk before anything relies on it; so it
never claims a file that is not there. What a crash or a full disk left of a line is repaired before the next one is
written. Several processes may append to one journal and read what the others add. docs/journal.md has the fields.
"""

from __future__ import annotations

import json
import os
import threading
from io import FileIO
from pathlib import Path

from adacode_cli import atomic, locks
from adacode_cli.batch.discover import STATE_NAME
from adacode_cli.batch.record import Record, record_of
from adacode_cli.errors import JournalError

STATE = Path(STATE_NAME)
JOURNAL = STATE / "journal.jsonl"
_BLOCK_BYTES = 65536


class Journal:
    """The journal of the output tree `root`; safe to call from several threads and processes."""

    def __init__(self, root: Path) -> None:
        self._path = root / JOURNAL
        self._lock = threading.Lock()
        self._earlier: dict[str, Record] = {}
        self._new: dict[str, Record] = {}
        self._read_to = 0
        self._inode = 0

    def add(self, line: bytes) -> None:
        """Appends one line, on the disk when this returns. Raises JournalError where it cannot be written."""
        try:
            with self._lock:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                is_new = not self._path.exists()
                with self._path.open("a+b", buffering=0) as file:
                    locks.lock(file.fileno(), wait=True)
                    _repair(file)
                    _append(file, line)
                if is_new:
                    atomic.sync_directory(self._path.parent)
        except OSError as error:
            hint = "Make room or choose another output directory (-o); files already restored are kept."
            raise JournalError(f"cannot be written: {atomic.reason(error)}", path=self._path, hint=hint) from error

    def begin(self) -> None:
        """From here on lines are new: what a later `done` finds was made while this run was under way."""
        with self._lock:
            self._follow()
            self._earlier |= self._new
            self._new = {}

    def done(self, target: str, *, only_new: bool = False) -> Record | None:
        """What the last line about a done `target` says, lines of other processes up to now included.

        Raises JournalError where the journal is there and cannot be read.
        """
        with self._lock:
            self._follow()
            return self._new.get(target) or (None if only_new else self._earlier.get(target))

    def made_with_other(self, weights: str) -> frozenset[str]:
        """The targets that were last done with other weights than these. Raises JournalError as `done` does."""
        return frozenset(target for target, record in self.records().items() if record.settings.weights != weights)

    def records(self) -> dict[str, Record]:
        """What the last line about each done target says. Raises JournalError as `done` does."""
        with self._lock:
            self._follow()
            return self._earlier | self._new

    def _follow(self) -> None:
        """Reads whole lines that were added since the last look; a journal that is another file is read anew."""
        try:
            status = self._path.stat()
            if status.st_ino != self._inode or status.st_size < self._read_to:
                self._earlier, self._new, self._read_to, self._inode = {}, {}, 0, status.st_ino
            if status.st_size == self._read_to:
                return
            with self._path.open("rb") as file:
                file.seek(self._read_to)
                for line in file:
                    if not line.endswith(b"\n"):
                        return  # another process is writing it, or it is torn: nothing that it says is needed
                    self._read_to += len(line)
                    found = record_of(line, self._path)
                    if found:
                        self._new[found[0]] = found[1]
        except (FileNotFoundError, NotADirectoryError):
            self._earlier, self._new, self._read_to, self._inode = {}, {}, 0, 0
        except OSError as error:
            hint = "Check its permissions, or choose another output directory (-o)."
            raise JournalError(f"cannot be read: {atomic.reason(error)}", path=self._path, hint=hint) from error


def _append(file: FileIO, data: bytes) -> None:
    written = file.write(data)
    while written < len(data):  # a disk that fills up takes a part; the next write says why
        written += file.write(data[written:])
    atomic.sync(file.fileno())


def _repair(file: FileIO) -> None:
    """A last line without its end gets it where it is whole, and is cut off where it is torn."""
    end = file.seek(0, os.SEEK_END)
    start, tail = end, b""
    while start > 0 and b"\n" not in tail:
        block = min(_BLOCK_BYTES, start)
        start -= block
        file.seek(start)
        tail = file.read(block) + tail
    torn = tail[tail.rfind(b"\n") + 1 :]
    if not torn:
        return
    try:
        json.loads(torn)
    except ValueError:
        file.truncate(end - len(torn))
    else:
        _append(file, b"\n")
