"""The journal of an output tree: one line of JSON for each file that was restored or failed.

A line is appended after the output has its final name, and is on the disk before anything relies on it, so it
never names a file that does not exist. An incomplete line, left by a crash or a full disk, is repaired before the next
one is written. Several processes may append to one journal and read the lines of the others. docs/journal.md describes
the fields.

The file under the journal's name is untrusted, because it may be copied, linked or forged: only a regular file with
lines of adacode is written to, and a line of any length is read in small pieces.
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
from adacode_cli.batch.packed import Packed
from adacode_cli.batch.record import Record, SideFiles, line_from
from adacode_cli.batch.state_files import STATE, ForeignFileError, check_folder, object_of, opened
from adacode_cli.errors import JournalError, is_full, reason

JOURNAL = STATE / "journal.jsonl"
_BLOCK_BYTES = 65536
# Paths have at most 4096 bytes, and six times as many in JSON; adacode writes no longer line.
_MAX_LINE_BYTES = 1 << 20
_BEGINNING = b'{"version":'
# Other processes hold the lock while they write a line to the disk.
_LOCK_LIMIT_S = 60.0
_MAX_PAUSE_S = 0.05


class Journal:
    """The journal of the output tree `root`; safe to call from several threads and processes."""

    def __init__(self, root: Path) -> None:
        self._path = root / JOURNAL
        self._lock = threading.Lock()
        self._reset(0)

    def _reset(self, inode: int) -> None:
        """Discards all that was read, because the file is another one."""
        self._earlier, self._new = Packed(), Packed()
        self._side_files: dict[str, SideFiles] = {}
        self._read_to = 0
        self._inode = inode
        self._last_status = (0, 0)
        self._is_journal = False

    def add(self, *lines: bytes) -> None:
        """Appends lines and writes them to the disk, all at once. Raises JournalError if that fails."""
        try:
            with self._lock:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                is_new = not self._path.exists()
                handle = opened(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
                with os.fdopen(handle, "a+b", buffering=0) as file:
                    _wait_for_lock(file, self._path)
                    self._read_new_lines(file)
                    _repair(file)
                    _append(file, b"".join(lines))
                if is_new:
                    atomic.sync_directory(self._path.parent)
        except ForeignFileError as error:
            raise _foreign(self._path, error) from error
        except OSError as error:
            advice = "Free some disk space, or choose" if is_full(error) else "Choose"
            hint = f"{advice} another output directory (-o). Restored files are kept."
            message, path = f"cannot be written: {reason(error)}", self._path
            if (refusal := atomic.refusal(path.parent, error)) and refusal.path:
                message, path, hint = refusal.message, Path(refusal.path), f"{refusal.hint} Restored files are kept."
            raise JournalError(message, path=path, hint=hint) from error

    def begin(self) -> None:
        """Marks the lines so far as earlier ones; later lines are from the time of this run.

        Raises JournalError if the journal cannot be read or is another kind of file.
        """
        with self._lock:
            self._update()
            self._earlier, self._new = self._earlier.joined(self._new), Packed()

    def done(self, target: str, *, only_new: bool = False) -> Record | None:
        """The record of the last line on a finished `target`, including the current lines of other processes.

        Raises JournalError if the journal exists and cannot be read.
        """
        with self._lock:
            self._update()
            return self._new.get(target) or (None if only_new else self._earlier.get(target))

    def targets_with_other_weights(self, weights: str) -> frozenset[str]:
        """The targets whose last records have other weights than these. Raises JournalError as `done` does."""
        with self._lock:  # Another thread may read lines of other processes, which changes the records.
            self._update()
            records = self._earlier.joined(self._new)
            settings = ((target, records.settings_of(target)) for target in records)
            return frozenset(target for target, known in settings if known and known.weights != weights)

    def records(self) -> Packed:
        """The last record of each finished target. Raises JournalError as `done` does."""
        with self._lock:
            self._update()
            return self._earlier.joined(self._new)

    def side_files(self, target: str) -> SideFiles:
        """The files written beside `target`, from all lines. Raises JournalError as `done` does."""
        with self._lock:
            self._update()
            return self._side_files.get(target, ())

    def all_side_files(self) -> SideFiles:
        """The files written beside all targets. Raises JournalError as `done` does."""
        with self._lock:
            self._update()
            return tuple(one for known in self._side_files.values() for one in known)

    def _update(self) -> None:
        """Reads complete lines that were added since the last call; if the journal is another file now, all lines."""
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
            raise _unreadable(self._path, error) from error

    def _take(self, line: bytes) -> None:
        """Notes what a line says. Raises JournalError for a line of a later version."""
        entry = line_from(line, self._path)
        if entry and entry.record:
            self._new[entry.target] = entry.record
        if entry and entry.side_files:
            self._side_files[entry.target] = (*self._side_files.get(entry.target, ()), *entry.side_files)

    def _read_new_lines(self, file: BinaryIO | FileIO) -> None:
        """Reads added lines. Raises JournalError if no line, complete or incomplete, is from adacode."""
        status = os.fstat(file.fileno())
        if status.st_ino != self._inode or status.st_size < self._read_to:
            self._reset(status.st_ino)
        with os.fdopen(os.dup(file.fileno()), "rb") as reader:
            reader.seek(self._read_to)
            for line, num_bytes in lines_of(reader):
                self._read_to += num_bytes
                self._is_journal |= line.startswith(_BEGINNING)
                self._take(line)
            self._is_journal |= self._read_to == status.st_size == 0 or _is_torn_line(reader, self._read_to)
        if not self._is_journal:
            hint = "Move it to another place, or choose another output directory (-o)."
            raise JournalError("is not a journal of adacode, and was not changed", path=self._path, hint=hint)
        self._last_status = (status.st_size, status.st_mtime_ns)


def lines_in(root: Path, start: int) -> Iterator[tuple[bytes, int]]:
    """The complete lines of the journal of the tree `root` from the byte `start` on, and their lengths.

    Nothing if there is no journal. A line that is too long is b"". Raises JournalError if it cannot be read.
    """
    path = root / JOURNAL
    try:
        with os.fdopen(opened(path, os.O_RDONLY), "rb") as file:
            file.seek(start)
            yield from lines_of(file)
    except (FileNotFoundError, NotADirectoryError):
        return
    except ForeignFileError as error:
        raise _foreign(path, error) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> JournalError:
    hint = "Check its permissions, or choose another output directory (-o)."
    return JournalError(f"cannot be read: {reason(error)}", path=path, hint=hint)


def _foreign(path: Path, error: ForeignFileError) -> JournalError:
    hint = "Remove it, or choose another output directory (-o)."
    return JournalError(f"cannot be used: {error.strerror}", path=path, hint=hint)


def lines_of(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The complete lines from the current position, and their lengths; b"" for lines that are too long.

    A last line without a newline is left out: another process is writing it, or it is incomplete.
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
    """Whether the data from `start` to the end may be the incomplete line of an adacode that crashed."""
    file.seek(start)
    # After a loss of power, some file systems leave zeros.
    found = file.read(_BLOCK_BYTES)
    beginning = found.lstrip(b"\0")[: len(_BEGINNING)]
    return bool(found) and _BEGINNING.startswith(beginning)


def _wait_for_lock(file: FileIO, path: Path) -> None:
    """Locks the journal. Raises JournalError if another process holds the lock much longer than a line needs."""
    until, pause = time.monotonic() + _LOCK_LIMIT_S, 0.001
    while not locks.lock(file.fileno(), wait=False):
        if time.monotonic() > until:
            hint = "Resume or end the stopped process (ps lists it), and run the same command again."
            message = f"has been locked by another process for {_LOCK_LIMIT_S:g} seconds"
            raise JournalError(message, path=path, hint=hint)
        time.sleep(pause)
        pause = min(2 * pause, _MAX_PAUSE_S)


def _append(file: FileIO, data: bytes) -> None:
    written = file.write(data)
    while written < len(data):  # A disk that becomes full writes a part; the next call raises the error.
        written += file.write(data[written:])
    atomic.sync(file.fileno())


def _repair(file: FileIO) -> None:
    """Completes a last line that lacks only its newline, and removes an incomplete one."""
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
    """The beginning of the last line if it has no newline; otherwise `end`."""
    at = end
    while at > 0:
        start = max(0, at - _BLOCK_BYTES)
        file.seek(start)
        found = file.read(at - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0
