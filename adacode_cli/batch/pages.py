"""Writes a long document page by page: each page is written before the next one needs memory.

window of pages ─ restored one by one ─ Sink.add … Sink.add ─ Sink.finish → the output has its final name
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from adacode_cli import atomic
from adacode_cli.batch.contents import Content, content_of_file
from adacode_cli.batch.keeping import Keeping, TimesNs
from adacode_cli.batch.output_files import write_new
from adacode_cli.imaging.encode import Document
from adacode_cli.imaging.image import Decoded
from adacode_cli.storage.objects import Replaces
from adacode_cli.storage.path import is_remote


class Sink:
    """A document under a temporary name beside `target`, until it is finished.

    If it is not finished, for example because the run was interrupted, the file is removed; the file of a killed run is
    removed by the next run (`atomic`).

    format_name: a format whose codec has `write_pages`.
    max_bytes: an upper bound for the bytes of the samples of all pages.

    The constructor and all methods raise OutputError.
    """

    def __init__(self, target: Path, format_name: str, keeping: Keeping, max_bytes: int) -> None:
        self._format_name = format_name
        self._keeping = keeping
        self._notes: dict[str, None] = {}
        self._lost: dict[str, None] = {}
        self._open = ExitStack()
        self._target = target
        self._scratch: Path | None = None
        if is_remote(target):
            self._scratch = Path(self._open.enter_context(TemporaryDirectory(prefix="adacode-"))) / target.name
        self._file = self._open.enter_context(atomic.replacing(self._scratch or target))
        self._document = Document(self._file, format_name, max_bytes)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """The block in which pages are added; an error in it removes the file."""
        with ExitStack() as on_error:
            on_error.push(self._open)
            yield
            on_error.pop_all()

    def add(self, page: Decoded) -> None:
        """Writes a restored page. Raises OutputError; in a strict run, also for losses."""
        self._notes.update(dict.fromkeys(page.notes))
        self._lost.update(dict.fromkeys(self._keeping.judge(page, self._format_name)))
        self._document.add(page, self._keeping.with_history(page, self._format_name))

    def add_notes(self, notes: tuple[str, ...]) -> None:
        """Adds notes on all pages together."""
        self._notes.update(dict.fromkeys(notes))

    def finish(
        self,
        times_ns: TimesNs | None,
        *,
        facts: Mapping[str, str] | None = None,
        replaces: Replaces = Replaces.ANYTHING,
    ) -> tuple[Content, tuple[str, ...], int]:
        """Completes the document and gives it its name. Returns (its content, notes for the user, its stamp).

        facts, replaces, and the stamp: as in `output_files.write_new`.
        """
        stamp = 0
        with self._open:
            self._document.finish()
            lost = tuple(dict.fromkeys((*self._lost, *self._document.damaged)))
            lost += self._document.unreported_losses(lost)
            notes = (*self._notes, *self._keeping.lost_note(lost, self._format_name))
            self._file.flush()
            self._file.seek(0)
            content = content_of_file(self._file)
            atomic.set_times(self._file, times_ns)
            if self._scratch is not None:
                self._file.seek(0)
                stamp = write_new(self._target, self._file.read(), facts=facts, replaces=replaces)
        return content, notes, stamp
