"""`adacode view`: the page of a run, with its results before and after, in a browser."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.options import Verbose, with_option_groups
from adacode_cli.cli.status import TimedCount, showing
from adacode_cli.cli.streams import write_line
from adacode_cli.errors import InputError, OutputError

if TYPE_CHECKING:
    from adacode_cli.batch.gallery.folder import Gallery

EPILOG = """Examples:

  adacode sr photos -o large --report   makes the page while it restores
  adacode view large                    opens it, also while the run goes on
  adacode view large --no-open          prints where it is
  adacode view large --self-contained page   a copy with all images in it"""


@dataclass(frozen=True)
class ViewOptions:
    """What is done with the page."""

    open: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser; --no-open only prints its path.")
    ] = True
    thumbnails: Annotated[
        bool,
        typer.Option(
            "--thumbnails/--no-thumbnails",
            help="Make the thumbnails that are missing, because the run had no --report.",
        ),
    ] = True
    self_contained: Annotated[
        Path | None,
        typer.Option(
            metavar="PAGE", help="Write a page with copies of originals and results into this new directory instead."
        ),
    ] = None
    verbose: Verbose = 0


@with_option_groups
def view(
    context: typer.Context,
    results: Annotated[Path, typer.Argument(metavar="DIR", help="A directory of results, with their journal.")],
    options: ViewOptions,
) -> None:
    """Show the results of a run, before and after, in a browser.

    The page is in .adacode/report in the directory of results; it loads nothing
    from a network. It is made, or brought up to date, from the journal.
    """
    invocation_of(context, verbose=options.verbose)
    gallery = gallery_at(results)
    if options.self_contained is not None:
        from adacode_cli.batch.gallery.whole import check_place

        check_place(options.self_contained)
    with ended_by_interruption("the page is not complete; run it again"):
        if options.self_contained is not None:  # Nothing is written into the directory of results.
            gallery = _copy(gallery, options.self_contained)
        else:
            _begin(gallery)
        if options.thumbnails:
            make_thumbnails(gallery, is_copy=options.self_contained is not None)
    page = gallery.page.absolute()
    write_line(str(page))
    if options.open:
        open_in_browser(page)


def _begin(gallery: Gallery) -> None:
    """Writes the page into the directory of results. Raises OutputError, JournalError."""
    gallery.check()
    try:
        with showing("reading the journal"):
            gallery.begin(running=is_going_on(gallery.root))
    except OutputError as error:
        hint = "Make room and make the directory writable, or write the page elsewhere with --self-contained PAGE."
        raise OutputError(error.message, path=error.path, hint=hint) from error


def gallery_at(results: Path) -> Gallery:
    """The gallery of a directory of results. Raises InputError."""
    from adacode_cli.batch.gallery.whole import gallery_of
    from adacode_cli.batch.journal import JOURNAL

    if not os.path.isdir(results):  # noqa: PTH112 (Path.is_dir raises for a name that is too long)
        raise InputError("is not a directory", path=results, hint="Name the directory that a run wrote (its -o).")
    if not os.path.lexists(results / JOURNAL):
        hint = "Name the directory that a run wrote (its -o); results that -o named as a file have no journal."
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
                try:
                    one.make(gallery.folder, decoder)
                except OutputError:
                    raise
                except Exception:  # noqa: BLE001 (memory, or what a library meets in one file)
                    continue
    finally:
        gallery.begin(running=not is_copy and is_going_on(gallery.root))


def _copy(gallery: Gallery, folder: Path) -> Gallery:
    from adacode_cli.batch.gallery.whole import copy_whole

    with showing(f"copying to {folder}") as show:
        return copy_whole(gallery, folder, lambda number, total: show(f"copying to {folder}: {number}/{total}"))


def open_in_browser(page: Path) -> None:
    """Opens the page, if this session has a screen: browsers of a terminal do not run it."""
    import webbrowser

    has_screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if has_screen or "BROWSER" in os.environ:
        webbrowser.open(page.as_uri())
