"""`adacode view`: the page of a run, with its results before and after, in a browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.galleries import gallery_at, is_going_on, make_thumbnails, open_in_browser
from adacode_cli.cli.options import Verbose, flag, with_option_groups
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import write_line
from adacode_cli.errors import OutputError, UsageError
from adacode_cli.storage.path import path_of

if TYPE_CHECKING:
    from adacode_cli.batch.gallery.folder import Gallery

EPILOG = """Examples:

  adacode sr photos -o large --report   makes the page while it restores
  adacode view large                    opens it, also while the run goes on
  adacode view large --no-open          prints where it is
  adacode view large --self-contained page   a copy with all images in it
  adacode view large --serve            keeps what you judge beside the journal
  adacode view photos --serve --masks masks   paint the holes, then
  adacode inpaint photos -o filled --mask-dir masks"""


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
    serve: Annotated[
        bool,
        flag(
            "--serve",
            help="Serve the page to browsers of this machine until Ctrl-C. Judgements are kept beside the journal.",
        ),
    ] = False
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="MASKS",
            parser=path_of,
            help="With --serve: paint masks on the originals, or on the photographs in DIR, and save them in this "
            "directory, where 'inpaint --mask-dir' finds them.",
        ),
    ] = None
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="N", help="With --serve: the port. Default: a free one.")
    ] = None
    verbose: Verbose = 0

    def check(self) -> None:
        """Raises UsageError for options that contradict one another, or have no effect."""
        if self.serve and self.self_contained is not None:
            raise UsageError("--serve and --self-contained cannot be used together", hint="Leave out one of the two.")
        for name, value in {"--masks": self.masks, "--port": self.port}.items():
            if value is not None and not self.serve:
                raise UsageError(f"{name} has no effect without --serve", hint="Add --serve.")


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
    options.check()
    if options.serve:
        from adacode_cli.cli.serving import Service, serve

        serve(Service(results, options.masks, options.port or 0, options.thumbnails, options.open))
        return
    gallery = gallery_at(results, "To paint masks on photographs, add --serve --masks DIR.")
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
        open_in_browser(page.as_uri())


def _begin(gallery: Gallery) -> None:
    """Writes the page into the directory of results. Raises OutputError, JournalError."""
    gallery.check()
    try:
        with showing("reading the journal"):
            gallery.begin(running=is_going_on(gallery.root))
    except OutputError as error:
        hint = "Make room and make the directory writable, or write the page elsewhere with --self-contained PAGE."
        raise OutputError(error.message, path=error.path, hint=hint) from error


def _copy(gallery: Gallery, folder: Path) -> Gallery:
    from adacode_cli.batch.gallery.whole import copy_whole

    with showing(f"copying to {folder}") as show:
        return copy_whole(gallery, folder, lambda number, total: show(f"copying to {folder}: {number}/{total}"))
