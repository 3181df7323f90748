"""`adacode compare`: several results of the same inputs beside one another, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.galleries import open_in_browser
from adacode_cli.cli.options import Verbose
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import write_line
from adacode_cli.errors import UsageError

EPILOG = """Examples:

  adacode compare with-noise without-noise -o page
  adacode compare ours theirs1 theirs2 -o page --no-open   each beside the first"""


def compare(
    context: typer.Context,
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR", help="Directories of results of the same inputs, two or more.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PAGE", help="A new directory for the page, or one of before.")
    ],
    open: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser; --no-open only prints its path.")
    ] = True,
    verbose: Verbose = 0,
) -> None:
    """Compare several results of the same inputs in a page: each directory with the first one.

    Images belong together if their paths are the same, apart from their suffixes.
    """
    invocation_of(context, verbose=verbose)
    if len(folders) < 2:
        raise UsageError("there is only one directory", hint="Name two or more directories of results.")
    from adacode_cli.batch.gallery.compare import check_apart, folders_of
    from adacode_cli.batch.gallery.compare import compare as write_comparison
    from adacode_cli.batch.gallery.whole import check_place
    from adacode_cli.imaging.decoder_pool import decoding

    named = folders_of(folders)
    check_place(output)
    check_apart(output, named)
    with ended_by_interruption(), showing("comparing") as show, decoding(isolated=True) as decoder:
        gallery = write_comparison(named, output, decoder, lambda number, total: show(f"comparing {number}/{total}"))
    page = gallery.page.absolute()
    write_line(str(page))
    if open:
        open_in_browser(page.as_uri())
