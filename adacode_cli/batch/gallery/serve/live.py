"""The gallery of a run as a server gives it: its data in memory, made from the journal and never read from the tree.

A tree may have been copied from somebody else, with a page and scripts that are not ours. A served page may write, so
all of its scripts come from this program. What the page can ask for are the files of records: the original and the
result of an output, by its identifier, and thumbnails by the digest of a result. No request holds a path.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adacode_cli import formats
from adacode_cli.batch.contents import content_of, read_whole
from adacode_cli.batch.found import Found
from adacode_cli.batch.gallery.again import base_of
from adacode_cli.batch.gallery.entries import Entry, Fields, addresses_in, digest_in, identifier
from adacode_cli.batch.gallery.folder import Gallery
from adacode_cli.batch.gallery.judgements import add_judgement
from adacode_cli.batch.gallery.places import GALLERY, picture_name, url_of_output
from adacode_cli.batch.gallery.serve.painting import Original
from adacode_cli.batch.journal import JOURNAL
from adacode_cli.batch.state_files import is_path, opened
from adacode_cli.errors import AdaCodeError
from adacode_cli.limits import MAX_FILE_BYTES
from adacode_cli.sizes import MAX_SCALE
from adacode_cli.storage.path import is_remote_text

_LOOK_EVERY_S = 1.0
_PICTURE = re.compile(r"(pictures/[0-9a-f]{2}/[0-9a-f]{32})(?:-[a-z0-9-]{1,40})?\.(?:webp|png)")
_MAX_PICTURE_BYTES = 64 << 20
SHOWN_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "bmp": "image/bmp", "avif": "image/avif"}
"""The media types of images that browsers show; others are saved."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The last record on an output: line: its number. digest: of its result, "" if there is none.

    base: the folder in which the original has the path `place`: an input, or the root of a list; None for an original
    that was an input itself.
    """

    target: str
    line: int
    path: str
    source_sha256: str
    digest: str
    base: str | None
    place: str


class LiveGallery(Gallery):
    """The gallery of the output tree `root`, for a server; safe to call from several threads.

    is_going_on: whether a run works in the tree. is_painting: masks can be painted on the originals. Of the
    tree, it writes judgements alone; thumbnails are made by others.
    """

    def __init__(self, root: Path, is_going_on: Callable[[], bool], *, is_painting: bool = False) -> None:
        super().__init__(root, addresses=self._served_addresses)
        self._is_going_on, self._is_painting = is_going_on, is_painting
        self._data: dict[str, bytes] = {}
        self._known: dict[str, _Known] = {}
        self._names: set[str] = set()
        self._in_tree = addresses_in(root / GALLERY)
        self._num_made = 0  # how often thumbnails were added

    def look(self) -> None:
        """Brings the data up to date with the journal. Raises JournalError."""
        if time.monotonic() < self._not_before:
            return
        if self._was_replaced():
            self._known, self._names = {}, set()
            self.begin(running=self._is_going_on())
            return
        with self._lock:
            self._follow(running=self._is_going_on())
            self._not_before = min(self._not_before, time.monotonic() + _LOOK_EVERY_S)

    def data(self, name: str) -> bytes | None:
        """The data script of this name; None if there is none. Raises JournalError."""
        if name in ("data/state.js", "data/judged.js"):
            self.look()
        return self._data.get(name)

    def file(self, picture: str, side: str) -> tuple[bytes, str] | None:
        """(bytes, name of the format) of the "original" or the "result" of a picture, if it is what its record says.

        A result must lie in the tree, links resolved. None for everything else.
        """
        known = self._known.get(picture)
        if known is None:
            return None
        path, digest = (Path(known.path), known.source_sha256) if side == "original" else (self.root, known.digest)
        if side == "result":
            path = self.root / known.target
            inside = os.path.realpath(self.root).rstrip(os.sep) + os.sep
            if not digest or not os.path.realpath(path).startswith(inside):
                return None
        if side == "original" and not (digest and path.is_absolute()):
            return None  # A journal may be forged: who does not know a file's content cannot name it.
        try:
            data = read_whole(path, max_bytes=MAX_SCALE**2 * MAX_FILE_BYTES)
        except AdaCodeError:
            return None
        kind = formats.of_bytes(data)
        if kind is None or content_of(data).sha256 != digest:
            return None
        return data, kind.name

    def thumbnail(self, name: str) -> bytes | None:
        """A thumbnail, or another picture of a result of a record, by its name below the gallery's folder."""
        found = _PICTURE.fullmatch(name)
        if found is None or found[1] not in self._names:
            return None
        try:
            with os.fdopen(opened(self.folder / name, os.O_RDONLY), "rb") as file:
                is_small = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
                return file.read(_MAX_PICTURE_BYTES) if is_small else None
        except OSError:
            return None

    @property
    def num_lines(self) -> int:
        """The number of lines of the journal that have been read."""
        return self._progress.lines

    def show_pictures(self) -> None:
        """Makes the data again, because thumbnails have been made; pages then load them. Raises JournalError."""
        self._num_made += 1
        self.begin(running=self._is_going_on())

    def judge(self, picture: str, line: int, mark: str) -> str | None:
        """Keeps a judgement about a line on a picture; returns its time, or None if this line is not the last one.

        Raises OutputError.
        """
        with self._lock:  # While the data are made again, earlier lines are known for a moment.
            known, journal = self._known.get(picture), self._progress.first
        if known is None or known.line != line:
            return None
        time_of_it = add_judgement(self.root, journal, known.target, line, mark)
        self._not_before = 0.0
        return time_of_it

    def originals(self) -> list[tuple[str, Original]]:
        """(id, original) of each picture whose original is a local image, in the order of the journal."""
        found = []
        for picture, known in list(self._known.items()):
            is_local = Path(known.path).is_absolute() and not is_remote_text(known.path)
            if is_local and not known.path.endswith(formats.CODES_SUFFIX):
                given = Path(known.base) if known.base else Path(known.path)
                one = Found(given, known.place if known.base else given.name, bool(known.base))
                found.append((picture, Original(one, known.source_sha256)))
        return found

    def _was_replaced(self) -> bool:
        try:
            return (self.root / JOURNAL).stat().st_size < self._progress.read_to
        except OSError:
            return False

    def _entry(self, fields: Fields) -> Entry:
        target, sha256, path = fields["target"], digest_in(fields.get("sha256")), fields.get("path")
        place = str(fields.get("source"))
        self._known[identifier(target)] = _Known(
            target,
            self._progress.lines,
            str(path) if is_path(path) else "",
            digest_in(fields.get("source_sha256")),
            sha256 if fields["outcome"] == "done" and url_of_output(target) else "",
            base_of(fields) if fields.get("input") != path or "/" in place else None,
            place,
        )
        if sha256:
            self._names.add(picture_name(sha256, ""))
        return super()._entry(fields)

    def _served_addresses(self, fields: Fields) -> tuple[str | None, str | None]:
        original, result = self._in_tree(fields)
        start = f"file/{identifier(fields['target'])}"
        is_known = digest_in(fields.get("source_sha256")) != ""
        return (f"{start}/original" if original and is_known else None), result and f"{start}/result"

    def _state(self, *, running: bool) -> dict[str, Any]:
        return super()._state(running=running) | {"served": True, "painting": self._is_painting, "made": self._num_made}

    def _write(self, name: str, data: bytes) -> None:
        if name.startswith("data/"):
            self._data[name] = data
