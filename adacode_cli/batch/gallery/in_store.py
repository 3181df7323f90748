"""The gallery of an output tree in a store: its pictures are written while the run goes on, and the page at its end.

The page is made in a temporary folder by the same code as on a disk, from a copy of the journal, and then written to
the store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from adacode_cli.batch.gallery.entries import MAX_FACTS_BYTES, Addresses, Fields, digest_in, facts_from, fields_of
from adacode_cli.batch.gallery.folder import COMMANDS, Gallery
from adacode_cli.batch.gallery.places import (
    GALLERY,
    NAME_DIGITS,
    PAGE,
    PICTURES,
    complete_pictures,
    picture_name,
    url_in_store,
    url_of_output,
)
from adacode_cli.batch.journal import JOURNAL, lines_in
from adacode_cli.batch.output_files import write_again
from adacode_cli.batch.state_files import is_path
from adacode_cli.errors import OutputError, translated
from adacode_cli.storage import listing, objects
from adacode_cli.storage.path import RemotePath

_AT_ONCE = 8
_READ_AHEAD = 512  # lines of the journal

CopyJournal = Callable[[BinaryIO], None]
"""(an empty file) → None; the lines of the journal are in the file. Raises JournalError."""


class GalleryInStore:
    """The gallery of the output tree `root` in a store, with the methods of `Gallery` that a run calls."""

    def __init__(self, root: RemotePath, copy_journal: CopyJournal) -> None:
        self._root, self._copy_journal = root, copy_journal
        self._command: Mapping[str, list[str]] = {}

    def begin(self, command: Mapping[str, list[str]]) -> None:
        """Notes the words of the command, as for `Gallery.begin`."""
        self._command = command

    def advance(self) -> None:
        """Does nothing: each look would take as many requests as files came in."""

    def end(self) -> None:
        """Writes the page and all data. Raises OutputError, JournalError."""
        place = self._root / GALLERY
        with (
            translated(OutputError, "the page cannot be made in the folder for temporary files (TMPDIR)", self._root),
            TemporaryDirectory(prefix="adacode-report-", ignore_cleanup_errors=True) as name,
        ):
            top = Path(name)
            (top / JOURNAL.parent).mkdir()
            with (top / JOURNAL).open("x+b") as file:
                self._copy_journal(file)
            facts = _StoredFacts(place, partial(lines_in, top))
            gallery = Gallery(self._root, top / GALLERY, _addresses_from(place), facts.lines, facts=facts.of)
            if objects.status(place / COMMANDS, OutputError) is not None:
                write_again(top / GALLERY / COMMANDS, objects.read(place / COMMANDS, kind=OutputError))
            gallery.begin(self._command, running=False)
            _upload(top / GALLERY, place)


def _addresses_from(place: RemotePath) -> Addresses:
    """The addresses of originals and results for the page in the folder `place` of a store."""

    def addresses(fields: Fields) -> tuple[str | None, str | None]:
        path = fields.get("path")
        original = url_in_store(str(path), place) if is_path(path) else None
        return original, url_of_output(fields["target"]) if fields["outcome"] == "done" else None

    return addresses


class _StoredFacts:
    """What the pictures in the folder `place` of a store state, read for many lines of the journal at once."""

    def __init__(self, place: RemotePath, lines: Callable[[int], Iterable[tuple[bytes, int]]]) -> None:
        self._place, self._lines = place, lines
        names = listing.entries(place / PICTURES, OutputError)
        self._have_picture = complete_pictures(name for name, _ in names)
        self._wanted: list[str] = []
        self._found: dict[str, Fields] = {}

    def lines(self, start: int) -> Iterator[tuple[bytes, int]]:
        """The lines, of which some are read ahead."""
        ahead: list[tuple[bytes, int]] = []
        for one in self._lines(start):
            ahead.append(one)
            if len(ahead) == _READ_AHEAD:
                yield from self._expected(ahead)
                ahead = []
        yield from self._expected(ahead)

    def of(self, sha256: str) -> Fields:
        """The facts of an output with this content; as `entries.facts_in`. Raises OutputError."""
        if self._wanted:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="facts") as pool:
                self._found = dict(zip(self._wanted, pool.map(self._read, self._wanted), strict=True))
            self._wanted = []
        return self._found.get(sha256, {})

    def _expected(self, lines: list[tuple[bytes, int]]) -> Iterable[tuple[bytes, int]]:
        digests = (digest_in(fields.get("sha256")) for line, _ in lines if (fields := fields_of(line)))
        self._wanted = list({one for one in digests if one and one[:NAME_DIGITS] in self._have_picture})
        return lines

    def _read(self, sha256: str) -> Fields:
        path = self._place / picture_name(sha256, ".json")
        try:
            return facts_from(objects.read(path, 0, MAX_FACTS_BYTES, OutputError))
        except OutputError as error:
            if isinstance(error.__cause__, FileNotFoundError):  # It was removed in between.
                return {}
            raise


def _upload(folder: Path, place: RemotePath) -> None:
    """Writes the files of a page to a store, those last that a browser opens first. Raises OutputError."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    last = [name for name in ("data/state.js", PAGE) if name in names]

    def write(name: str) -> None:
        write_again(place / name, (folder / name).read_bytes())

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="page") as pool:
        deque(pool.map(write, sorted(set(names) - set(last))), maxlen=0)
    for name in last:
        write(name)
