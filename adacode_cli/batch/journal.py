"""An output tree says of itself what was made in it: one line of JSON for each file that was done or failed.

A line is appended after the output has its final name, whole, and is on the disk before anything relies on it; so it
never claims a file that is not there. What a crash or a full disk left of a line is repaired before the next one is
written. Several processes may append to one journal and read what the others add. docs/journal.md has the fields.

What lies under the journal's name may be anything, as somebody may have copied, linked or forged it: only a regular
file with lines of ours in it is written to, and a line of any length is read in pieces that are small.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from adacode_cli import atomic, locks
from adacode_cli.batch.record import Besides, Record, line_from
from adacode_cli.batch.state_files import STATE, ForeignFileError, check_folder, object_of, opened
from adacode_cli.errors import JournalError, reason

JOURNAL = STATE / "journal.jsonl"
_BLOCK_BYTES = 65536
# Paths have 4096 bytes at most, six times as many in JSON; a longer line is none of ours.
_MAX_LINE_BYTES = 1 << 20
_BEGINNING = b'{"version":'
# Others hold the lock for as long as a flush to the disk takes.
_LOCK_LIMIT_S = 60.0
_MAX_PAUSE_S = 0.05


class Journal:
    """The journal of the output tree `root`; safe to call from several threads and processes."""

    def __init__(self, root: Path) -> None:
        self._path = root / JOURNAL
        self._lock = threading.Lock()
        self._reset(0)

    def _reset(self, inode: int) -> None:
        """What is there from now on is another file."""
        self._earlier: dict[str, Record] = {}
        self._new: dict[str, Record] = {}
        self._besides: dict[str, Besides] = {}
        self._read_to = 0
        self._inode = inode
        self._last_status = (0, 0)
        self._is_journal = False

    def add(self, line: bytes) -> None:
        """Appends one line, on the disk when this returns. Raises JournalError where it cannot be written."""
        try:
            with self._lock:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                is_new = not self._path.exists()
                handle = opened(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
                with os.fdopen(handle, "a+b", buffering=0) as file:
                    _wait_for_lock(file, self._path)
                    self._read_new_lines(file)
                    _repair(file)
                    _append(file, line)
                if is_new:
                    atomic.sync_directory(self._path.parent)
        except ForeignFileError as error:
            raise _foreign(self._path, error) from error
        except OSError as error:
            hint = "Make room or choose another output directory (-o); files already restored are kept."
            raise JournalError(f"cannot be written: {reason(error)}", path=self._path, hint=hint) from error

    def begin(self) -> None:
        """From here on lines are new: what a later `done` finds was made while this run was under way.

        Raises JournalError where the journal cannot be read, or is something else.
        """
        with self._lock:
            self._update()
            self._earlier |= self._new
            self._new = {}

    def done(self, target: str, *, only_new: bool = False) -> Record | None:
        """What the last line about a done `target` says, lines of other processes up to now included.

        Raises JournalError where the journal is there and cannot be read.
        """
        with self._lock:
            self._update()
            return self._new.get(target) or (None if only_new else self._earlier.get(target))

    def targets_with_other_weights(self, weights: str) -> frozenset[str]:
        """The targets that were last done with other weights than these. Raises JournalError as `done` does."""
        return frozenset(target for target, record in self.records().items() if record.settings.weights != weights)

    def records(self) -> dict[str, Record]:
        """What the last line about each done target says. Raises JournalError as `done` does."""
        with self._lock:
            self._update()
            return self._earlier | self._new

    def besides(self, target: str) -> Besides:
        """What all lines together say of files written beside `target`. Raises JournalError as `done` does."""
        with self._lock:
            self._update()
            return self._besides.get(target, ())

    def all_side_files(self) -> Besides:
        """The same of every target. Raises JournalError as `done` does."""
        with self._lock:
            self._update()
            return tuple(one for known in self._besides.values() for one in known)

    def _update(self) -> None:
        """Reads whole lines that were added since the last look; a journal that is another file is read anew."""
        try:
            check_folder(self._path.parent)
            status = os.lstat(self._path)
            if status.st_ino == self._inode and (status.st_size, status.st_mtime_ns) == self._last_status:
                return
            with os.fdopen(opened(self._path, os.O_RDONLY), "rb") as file:
                self._read_new_lines(file)
        except (FileNotFoundError, NotADirectoryError):
            self._reset(0)
        except ForeignFileError as error:
            raise _foreign(self._path, error) from error
        except OSError as error:
            hint = "Check its permissions, or choose another output directory (-o)."
            raise JournalError(f"cannot be read: {reason(error)}", path=self._path, hint=hint) from error

    def _read_new_lines(self, file: BinaryIO | FileIO) -> None:
        """Reads what was added. Raises JournalError where no line and no torn one is of ours."""
        status = os.fstat(file.fileno())
        if status.st_ino != self._inode or status.st_size < self._read_to:
            self._reset(status.st_ino)
        with os.fdopen(os.dup(file.fileno()), "rb") as reader:
            reader.seek(self._read_to)
            for line, num_bytes in _lines(reader):
                self._read_to += num_bytes
                self._is_journal |= line.startswith(_BEGINNING)
                entry = line_from(line, self._path)
                if entry and entry.record:
                    self._new[entry.target] = entry.record
                if entry and entry.besides:
                    self._besides[entry.target] = (*self._besides.get(entry.target, ()), *entry.besides)
            self._is_journal |= self._read_to == status.st_size == 0 or _is_torn_line(reader, self._read_to)
        if not self._is_journal:
            hint = "Move it to another place, or choose another output directory (-o)."
            raise JournalError("is not a journal of adacode, and is left as it is", path=self._path, hint=hint)
        self._last_status = (status.st_size, status.st_mtime_ns)


def _foreign(path: Path, error: ForeignFileError) -> JournalError:
    hint = "Remove it, or choose another output directory (-o)."
    return JournalError(f"cannot be used: {error.strerror}", path=path, hint=hint)


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The whole lines from here on, and their lengths; b"" for those that are too long to be ours.

    A last line without its end is left out: another process is writing it, or it is torn.
    """
    while True:
        line = piece = file.readline(_MAX_LINE_BYTES)
        num_bytes = len(piece)
        while piece and not piece.endswith(b"\n"):
            line, piece = b"", file.readline(_MAX_LINE_BYTES)
            num_bytes += len(piece)
        if not piece:
            return
        yield line, num_bytes


def _is_torn_line(file: BinaryIO, start: int) -> bool:
    """Whether the line from `start` to the end may be what a crash left of one of ours."""
    file.seek(start)
    # Where a machine lost its power, some file systems leave zeros.
    found = file.read(_BLOCK_BYTES)
    beginning = found.lstrip(b"\0")[: len(_BEGINNING)]
    return bool(found) and _BEGINNING.startswith(beginning)


def _wait_for_lock(file: FileIO, path: Path) -> None:
    """Takes the journal's lock. Raises JournalError where another process keeps it for far longer than a line takes."""
    until, pause = time.monotonic() + _LOCK_LIMIT_S, 0.001
    while not locks.lock(file.fileno(), wait=False):
        if time.monotonic() > until:
            hint = "Let the stopped process go on or end it (ps shows it), and run the same command again."
            message = f"has been locked by another process for {_LOCK_LIMIT_S:g} seconds"
            raise JournalError(message, path=path, hint=hint)
        time.sleep(pause)
        pause = min(2 * pause, _MAX_PAUSE_S)


def _append(file: FileIO, data: bytes) -> None:
    written = file.write(data)
    while written < len(data):  # a disk that fills up takes a part; the next write says why
        written += file.write(data[written:])
    atomic.sync(file.fileno())


def _repair(file: FileIO) -> None:
    """A last line without its end gets it where it is whole, and is cut off where it is torn."""
    end = file.seek(0, os.SEEK_END)
    start = _start_of_last_line(file, end)
    if start == end:
        return
    file.seek(start)
    torn = file.read(end - start) if end - start <= _MAX_LINE_BYTES else b""
    if object_of(torn) is None:
        file.truncate(start)
    else:
        _append(file, b"\n")


def _start_of_last_line(file: FileIO, end: int) -> int:
    """Where the line begins that has no end; `end` itself where the last one has its end."""
    at = end
    while at > 0:
        start = max(0, at - _BLOCK_BYTES)
        file.seek(start)
        found = file.read(at - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0
