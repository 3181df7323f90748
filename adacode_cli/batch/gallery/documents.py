"""The pictures of the pages of a document after its first one: each before and after, as thumbnail and large views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from adacode_cli.batch.gallery.pictures import joined, save_views, shown_of
from adacode_cli.batch.gallery.places import page_ending
from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import further_windows
from adacode_cli.imaging.image import Decoded

MOST_PAGES = 100
"""Of a document; the page of the gallery says that there are more."""


def pages_of(decode_from: Callable[[int], Decoded]) -> Iterator[Decoded]:
    """All pages of a document, a few in memory at a time. decode_from: decodes pages from a page number on."""
    first = decode_from(0)
    for window in chain([first], further_windows(first, decode_from)):
        yield from window.pages


def save_pages(folder: Path, sha256: str, before: Iterable[Decoded], after: Iterable[Decoded]) -> list[list[int]]:
    """Writes the pictures of the pages after the first one into the gallery `folder`. Raises OutputError.

    before, after: all pages of an original and of its result. sha256: of the result. Returns width and height of each
    page that was written, of the result. The first page that cannot be read is the end.
    """
    sizes: list[list[int]] = []
    pairs = islice(zip(before, after, strict=False), 1, MOST_PAGES)
    try:
        for number, (one, other) in enumerate(pairs, 2):
            sides = shown_of(one, None, preview=True), shown_of(other, None, preview=True)
            save_views(folder, sha256, *sides, joined(*sides)[0], page=page_ending(number))
            height, width = other.size
            sizes.append([width, height])
    except InputError:
        pass
    return sizes
