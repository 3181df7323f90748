"""The journal of an output tree in a store, where nothing can be locked or appended to.

The one writer (`batch.lease`) collects lines and writes them as new objects, `.adacode/journal/RUN-NUMBER.jsonl`, every
few seconds. Many small objects become a few larger ones, at the latest when the run ends. What a killed run had
finished without its line is known to be in flight (`batch.announced`).
"""

from __future__ import annotations

import io
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from adacode_cli.batch.journal import Journal, lines_of
from adacode_cli.batch.state_files import STATE
from adacode_cli.errors import AdaCodeError, JournalError
from adacode_cli.storage import listing, objects
from adacode_cli.storage.path import RemotePath

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FOLDER = STATE / "journal"
_SUFFIX = ".jsonl"
_EVERY_S = 4.0
_MAX_LINES = 1000
_MANY_SEGMENTS = 100
_MAX_BYTES = objects.PIECE_BYTES - 1
"""Of an object that others are put together to: it is read at once."""
_READERS = 8
"""Objects of which a piece is in memory at once."""
_LISTS = 8
"""Attempts to read all objects of a list, while other runs put theirs together."""
_MEDIA_TYPE = "application/jsonl"


class RemoteJournal(Journal):
    """The journal of the output tree `root`; safe to call from several threads.

    check: raises JournalError if this run must not write any more; it is called before each object.
    """

    def __init__(self, root: RemotePath) -> None:
        super().__init__(root)
        self._root = root
        self._folder = root / FOLDER
        self._is_read = False
        self._known: set[str] = set()
        self.check: Callable[[], None] = lambda: None
        self._run = ""
        self._lines: list[bytes] = []
        self._since = 0.0
        self._segments: list[tuple[RemotePath, int]] = []
        self._count = 0
        self._writing = threading.Lock()
        self._error: AdaCodeError | None = None
        self._next_run = 1

    def add(self, *lines: bytes) -> None:
        """Adds lines, which are written within seconds. Raises JournalError if earlier ones could not be written."""
        with self._lock:
            if self._error is not None:
                raise self._error
            for line in lines:
                self._take(line)
            self._since = self._since if self._lines else time.monotonic()
            self._lines += lines
            is_full = len(self._lines) >= _MAX_LINES
        if is_full:
            self.flush()

    def flush_if_due(self) -> None:
        """Writes the lines that have waited for some seconds. An error is raised by the next call of `add`."""
        if not self._lines or time.monotonic() - self._since < _EVERY_S:
            return
        try:
            self.flush()
        except AdaCodeError as error:
            self._error = error
            return
        if len(self._segments) >= _MANY_SEGMENTS:
            self._put_together()

    def flush(self) -> None:
        """Writes all lines. Raises JournalError."""
        with self._writing:
            with self._lock:
                lines, self._lines = self._lines, []
            if not lines:
                return
            try:
                self._segments.append(self._write(b"".join(lines)))
            except BaseException:
                with self._lock:
                    self._lines = lines + self._lines
                raise

    def has_line(self, target: str) -> bool:
        """Whether there is a line on a finished output. Raises JournalError."""
        return self.done(target) is not None

    def close(self) -> None:
        """Writes all lines, and puts the objects of this run together. Raises JournalError if lines are lost."""
        self.flush()
        if len(self._segments) > 1:
            self._put_together()

    def read_again(self) -> None:
        """Reads what other runs have written since the first reading. Raises JournalError."""
        with self._lock:
            self._is_read = False
            self._update()

    def copy_to(self, file: BinaryIO) -> None:
        """Writes every line of the tree to an empty file, after those of this run are in the store.

        Raises JournalError, and OSError of the file.
        """
        self.flush()

        def copy() -> None:
            file.seek(0)
            file.truncate()
            for pieces in self._contents(self._names()):
                file.writelines(pieces)

        with self._writing:
            _while_others_put_together(copy)

    def _write(self, data: bytes) -> tuple[RemotePath, int]:
        self.check()
        self._run = self._run or f"{self._next_run:06d}-{secrets.token_hex(4)}"
        self._count += 1
        path = self._folder / f"{self._run}-{self._count:06d}{_SUFFIX}"
        nothing = objects.Replaces.NOTHING
        objects.write(path, data, media_type=_MEDIA_TYPE, replaces=nothing, kind=JournalError, before=self.check)
        return path, len(data)

    def _put_together(self) -> None:
        """Small objects of this run become larger ones; they are removed after all larger ones are there.

        This only tidies up, so errors are ignored; no line is lost, and their order stays. The larger ones except the
        last are full, and are not read and written again.
        """
        with self._writing, suppress(AdaCodeError):
            old, new = self._segments, list[tuple[RemotePath, int]]()
            try:
                for group in _groups(old):
                    new.append(self._write(b"".join(objects.read(path, kind=JournalError) for path, _ in group)))
            except AdaCodeError:
                for path, _ in new:
                    objects.remove(path)
                raise
            self._segments = new[-1:]
            for path, _ in old:
                objects.remove(path)

    def _update(self) -> None:
        """Reads all objects once: there is no other writer of the same files."""
        if not self._is_read:
            _while_others_put_together(self._read_objects)

    def _names(self) -> list[str]:
        listed = listing.entries(self._folder, JournalError)
        return sorted(place for place, _ in listed if place.endswith(_SUFFIX) and "/" not in place)

    def _contents(self, names: list[str]) -> Iterator[Iterator[bytes]]:
        return _read_ahead([self._folder / name for name in names])

    def _read_objects(self) -> None:
        names = self._names()
        runs = [name.partition("-")[0] for name in names]
        self._next_run = 1 + max((int(run) for run in runs if run.isascii() and run.isdecimal()), default=0)
        unread = [name for name in names if name not in self._known]
        for pieces in self._contents(unread):
            with io.BufferedReader(_Stream(pieces)) as file:
                for line, _ in lines_of(file):
                    self._take(line)
        self._known.update(unread)
        self._is_read = True


def _while_others_put_together(read: Callable[[], None]) -> None:
    """Calls `read` again after an object of its list was gone: the run of another part has put it together with others,
    or has ended. Raises JournalError.
    """
    for attempt in range(1, _LISTS + 1):
        try:
            read()
        except JournalError as error:
            if attempt == _LISTS or not isinstance(error.__cause__, FileNotFoundError):
                raise
        else:
            return


class _Stream(io.RawIOBase):
    """A file of which the content comes in pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """As `RawIOBase.readinto`."""
        view = memoryview(buffer)
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        count = min(len(view), len(self._piece))
        view[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


def _read_ahead(paths: Sequence[RemotePath]) -> Iterator[Iterator[bytes]]:
    """The pieces of each object, in the order of the paths. The first pieces of a few objects are read at once."""

    def begun(path: RemotePath) -> tuple[Iterator[bytes], bytes]:
        pieces = objects.read_pieces(path, JournalError)
        return pieces, next(pieces, b"")

    with ThreadPoolExecutor(_READERS, thread_name_prefix="journal") as pool:
        ahead = deque(pool.submit(begun, path) for path in paths[:_READERS])
        for following in (*paths[_READERS:], *[None] * min(_READERS, len(paths))):
            pieces, first = ahead.popleft().result()
            if following is not None:
                ahead.append(pool.submit(begun, following))
            yield chain((first,), pieces)


def _groups(segments: list[tuple[RemotePath, int]]) -> Iterator[list[tuple[RemotePath, int]]]:
    """The segments in their order, in groups that are not too large; a group has at least one."""
    group: list[tuple[RemotePath, int]] = []
    for segment in segments:
        if group and sum(size for _, size in (*group, segment)) > _MAX_BYTES:
            yield group
            group = []
        group.append(segment)
    if group:
        yield group
