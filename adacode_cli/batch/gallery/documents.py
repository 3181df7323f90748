"""The pictures of the pages of a document after its first one: each before and after, as thumbnail and large views."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from adacode_cli.batch.gallery.pictures import joined, save_views, shown_of
from adacode_cli.batch.gallery.places import page_ending
from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import further_windows
from adacode_cli.imaging.image import Decoded

MOST_PAGES = 100
"""Of a document; the page of the gallery says that there are more."""
_MOST_LONG_BYTES = 1 << 15  # of a document: a run keeps the facts of five hundred outputs in memory
_LONG = frozenset({"exif", "histogram"})
_OF_FILE = frozenset({"pages", "bytes", "preview", "turned"})  # facts that are not of a page


def pages_of(decode_from: Callable[[int], Decoded]) -> Iterator[Decoded]:
    """All pages of a document, a few in memory at a time. decode_from: decodes pages from a page number on."""
    first = decode_from(0)
    for window in chain([first], further_windows(first, decode_from)):
        yield from window.pages


def save_pages(folder: Path, sha256: str, before: Iterable[Decoded], after: Iterable[Decoded]) -> list[dict[str, Any]]:
    """Writes the pictures of the pages after the first one into the gallery `folder`. Raises OutputError.

    before, after: all pages of an original and of its result. sha256: of the result. Returns of each page that was
    written: "size", width and height of the result; facts about it "before" and "after", the long ones only of the
    first pages of a long document; and how much both differ. The first page that cannot be read is the end.
    """
    pages: list[dict[str, Any]] = []
    room = _MOST_LONG_BYTES
    pairs = islice(zip(before, after, strict=False), 1, MOST_PAGES)
    try:
        for number, (one, other) in enumerate(pairs, 2):
            sides = shown_of(one, None, preview=True), shown_of(other, None, preview=True)
            thumbnails, differences = joined(*sides)
            save_views(folder, sha256, *sides, thumbnails, page=page_ending(number))
            room -= sum(len(json.dumps(side.facts)) for side in sides)
            left_out = _OF_FILE if room >= 0 else _OF_FILE | _LONG
            facts = [{name: value for name, value in side.facts.items() if name not in left_out} for side in sides]
            height, width = other.size
            pages.append({"size": [width, height], "before": facts[0], "after": facts[1], **differences})
    except InputError:
        pass
    return pages
