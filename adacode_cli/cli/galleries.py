"""What commands about galleries share: the gallery of a directory, its thumbnails, and the browser that shows it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from adacode_cli.cli.status import TimedCount, showing
from adacode_cli.errors import InputError, UsageError
from adacode_cli.storage.path import was_address

if TYPE_CHECKING:
    from adacode_cli.batch.gallery.folder import Gallery


def gallery_at(results: Path, of_photographs: str = "") -> Gallery:
    """The gallery of a directory of results. Raises InputError, and UsageError for an address.

    of_photographs: what the hint says to those who have named a directory of photographs, a sentence.
    """
    from adacode_cli.batch.gallery.places import GALLERY, PAGE
    from adacode_cli.batch.gallery.whole import gallery_of
    from adacode_cli.batch.journal import JOURNAL

    if was_address(results):
        hint = "Open .adacode/report/index.html of the store in a browser (docs/storage.md)."
        raise UsageError("DIR must be a local directory, not an address", hint=hint)
    if not os.path.isdir(results):  # noqa: PTH112 (Path.is_dir raises for a name that is too long)
        raise InputError("is not a directory", path=results, hint="Name the directory that a run wrote (its -o).")
    if not os.path.lexists(results / JOURNAL):
        if (page := results / GALLERY / PAGE).is_file() and (results / JOURNAL.parent / "journal").is_dir():
            hint = f"It is a copy of results in a store. Open {page} in a browser."
            raise InputError("holds no local journal", path=results, hint=hint)
        hint = "Name the directory that a run wrote (its -o); results that -o named as a file have no journal."
        hint += f" {of_photographs}" if of_photographs else ""
        raise InputError(f"holds no results of adacode: {JOURNAL.as_posix()} is missing", path=results, hint=hint)
    return gallery_of(results)


def is_going_on(results: Path) -> bool:
    """Whether a process writes results into the directory now."""
    from adacode_cli.batch.claims import Claims

    return Claims(results).are_held()


def make_thumbnails(gallery: Gallery, *, is_copy: bool = False) -> None:
    """Makes what is missing; results whose pictures cannot be made stay without. Raises OutputError, JournalError.

    is_copy: the page is not that of the directory of results, so it follows no run.
    """
    from adacode_cli.batch.gallery.making import without_picture
    from adacode_cli.imaging.decoder_pool import decoding

    missing = without_picture(gallery)
    if not missing:
        return
    count = TimedCount(len(missing))
    try:
        with showing("making thumbnails") as show, decoding(isolated=True) as decoder:
            for one in missing:
                show(f"making thumbnails {count.next()}")
                one.make(gallery.folder, decoder)
    finally:
        gallery.begin(running=not is_copy and is_going_on(gallery.root))


def open_in_browser(address: str) -> None:
    """Opens the page at an address, if this session has a screen: browsers of a terminal do not run it."""
    import webbrowser

    has_screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if has_screen or "BROWSER" in os.environ:
        webbrowser.open(address)
