"""What is reported of the pages of one file together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from adacode_cli.batch.comparison import largest
from adacode_cli.batch.enlarging import WithoutNetwork
from adacode_cli.batch.masks import PackedMask
from adacode_cli.batch.restoring import Restored
from adacode_cli.engine.progress import part
from adacode_cli.errors import AdaCodeError
from adacode_cli.imaging.image import Decoded
from adacode_cli.sizes import AS_LARGE_ALREADY, Fate

_MOST_NAMED = 10


@contextmanager
def restoring_page(number: int, num_pages: int) -> Iterator[None]:
    """The block in which page `number`, from 1, is restored: its part of the progress, and its number in errors."""
    try:
        with part((number - 1) / num_pages, number / num_pages):
            yield
    except AdaCodeError as error:
        if num_pages > 1:
            error.message = f"page {number}: {error.message}"
        raise


@dataclass
class PageReport:
    """The pages so far; at least one is added before anything is asked.

    num_pages: of the file. first: what was reported of the first one. precisions: in which the network made them, each
    once. found: the masks of what a detector has found in them. distance: the largest one of a page from its input.
    """

    num_pages: int
    first: Restored = field(init=False)
    precisions: dict[str, None] = field(default_factory=dict)
    found: list[PackedMask] = field(default_factory=list)
    distance: float | None = None
    _fates: Counter[Fate] = field(default_factory=Counter)
    _pages_of: dict[str, list[int]] = field(default_factory=dict)

    def add(self, page: Decoded, image: Decoded, restored: Restored, found: list[PackedMask]) -> Decoded:
        """Adds what was reported of the next page and its mask, if there is one.

        Returns `image`, the restored page, with the notes of `page` alone: `notes` has the others.
        """
        if not self._fates:
            self.first = restored
        for note in dict.fromkeys(image.notes):
            if note not in page.notes:
                self._pages_of.setdefault(note, []).append(self._fates.total() + 1)
        self._fates[restored.fate if isinstance(restored, WithoutNetwork) else Fate.RESTORED] += 1
        if restored.precision:
            self.precisions[restored.precision] = None
        self.found += found
        self.distance = largest(self.distance, image.distance)
        return replace(image, notes=page.notes)

    @property
    def fate(self) -> Fate:
        """The fate of the file: of the pages that differ most from what they were."""
        return next(fate for fate in (Fate.RESTORED, Fate.SHRUNK, Fate.COPIED) if self._fates[fate])

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the restored pages, with their numbers, and on pages whose fate is another than that of the file."""
        others = {fate: count for fate, count in self._fates.items() if fate is not self.fate}
        total = self._fates.total()
        on_fates = (f"{count} of {total} pages {fate}: {AS_LARGE_ALREADY}" for fate, count in others.items())
        return (*(self._on(pages, note) for note, pages in self._pages_of.items()), *on_fates)

    def _on(self, pages: list[int], note: str) -> str:
        if len(pages) == self.num_pages:
            return note
        if len(pages) == 1:
            return f"page {pages[0]}: {note}"
        more = f" and {len(pages) - _MOST_NAMED} more" if len(pages) > _MOST_NAMED else ""
        return f"pages {', '.join(map(str, pages[:_MOST_NAMED]))}{more}: {note}"
