"""Thumbnails that are made while a page is served, also for results that a run adds meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adacode_cli.cli.streams import printable, stderr_console
from adacode_cli.errors import JournalError, OutputError

if TYPE_CHECKING:
    from adacode_cli.batch.gallery.serve.live import LiveGallery
    from adacode_cli.imaging.decode import Decode

_SHOW_EVERY_S = 10.0
_LOOK_EVERY_S = 5.0
_END_S = 5.0


@contextmanager
def made_meanwhile(gallery: LiveGallery, decoder: Decode) -> Iterator[None]:
    """Within the block, a thread makes what is missing; it ends with the picture that it is making."""
    stop = threading.Event()
    thread = threading.Thread(target=_make, args=(gallery, decoder, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_END_S)


def _make(gallery: LiveGallery, decoder: Decode, stop: threading.Event) -> None:
    """Says once if pictures cannot be written; the page is served without them."""
    tried: set[str] = set()
    try:
        while not stop.is_set():
            _make_missing(gallery, decoder, stop, tried)
            seen = gallery.num_lines
            while not stop.wait(_LOOK_EVERY_S) and gallery.num_lines == seen:
                pass
    except (OutputError, JournalError) as error:
        if not stop.is_set():
            hint = "--no-thumbnails makes none."
            stderr_console().print(f"No more thumbnails are made: {printable(str(error))}. {hint}")


def _make_missing(gallery: LiveGallery, decoder: Decode, stop: threading.Event, tried: set[str]) -> None:
    """Makes what is missing, but nothing twice that cannot be made. Raises OutputError, JournalError."""
    from adacode_cli.batch.gallery.making import without_picture

    shown, has_new = time.monotonic(), False
    for one in without_picture(gallery):
        if stop.is_set():
            return
        if one.sha256 in tried:
            continue
        tried.add(one.sha256)
        has_new |= one.make(gallery.folder, decoder)
        if has_new and time.monotonic() - shown > _SHOW_EVERY_S:
            gallery.show_pictures()
            shown, has_new = time.monotonic(), False
    if has_new:
        gallery.show_pictures()
