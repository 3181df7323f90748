"""`adacode sheet`: contact sheets of a run, for people without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.galleries import gallery_at, is_going_on, make_thumbnails
from adacode_cli.cli.options import Verbose, flag, with_option_groups
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import write_line
from adacode_cli.errors import OutputError, UsageError

if TYPE_CHECKING:
    from adacode_cli.batch.gallery.folder import Gallery

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")

EPILOG = """Examples:

  adacode sheet large                          -> sheet.png, sheet-2.png, …
  adacode sheet large -o worst.jpg --sort change --first 18"""


@dataclass(frozen=True)
class SheetOptions:
    """What sheets show, and where they are written."""

    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The first sheet; others are FILE-2, FILE-3, …")
    ] = Path("sheet.png")
    columns: Annotated[int, typer.Option(min=1, max=20, metavar="N", help="Pictures in a row.")] = 3
    rows: Annotated[int, typer.Option(min=1, max=50, metavar="N", help="Rows of a sheet.")] = 6
    sort: Annotated[
        Literal["name", "change", "drift", "seconds", "run"],
        typer.Option(metavar="KEY", help="name, run (its order), or the largest first: change, drift or seconds."),
    ] = "name"
    first: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N pictures.", show_default=False)
    ] = None
    overwrite: Annotated[bool, flag("--overwrite", help="Replace sheets that exist.")] = False
    verbose: Verbose = 0


@with_option_groups
def sheet(
    context: typer.Context,
    results: Annotated[Path, typer.Argument(metavar="DIR", help="A directory of results, with their journal.")],
    options: SheetOptions,
) -> None:
    """Draw contact sheets of a run: each image before and after, with its name.

    Thumbnails that are missing are made, as by 'adacode view'; if the directory
    may not be changed, they are made in a temporary one.
    """
    invocation_of(context, verbose=options.verbose)
    if options.output.suffix.lower() not in _SUFFIXES:
        hint = f"Choose a name that ends in {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}."
        raise UsageError(f"-o {options.output} is not the name of an image", hint=hint)
    tree = gallery_at(results)
    from adacode_cli.batch.gallery.sheet import Layout, check_free, ordered, sheet_paths, write_sheets

    with ended_by_interruption("not all sheets were written"), _thumbnails_of(tree) as gallery:
        entries = ordered([entry.shown for entry in gallery.entries()], options.sort)[: options.first]
        layout = Layout(options.columns, options.rows)
        paths = sheet_paths(options.output, max(1, -(-len(entries) // layout.count)))
        check_free(paths, gallery, overwrite=options.overwrite)
        with showing("drawing"):
            write_sheets(entries, gallery.folder, paths, layout)
    for path in paths:
        write_line(str(path))


@contextmanager
def _thumbnails_of(tree: Gallery) -> Iterator[Gallery]:
    """The gallery of a tree with all thumbnails; a temporary one, if the tree may not be written to.

    Raises OutputError, JournalError.
    """
    from adacode_cli.batch.gallery.folder import Gallery
    from adacode_cli.batch.gallery.making import without_picture

    try:
        with showing("reading the journal"):
            tree.begin(running=is_going_on(tree.root))
        make_thumbnails(tree)
    except OutputError:
        if without_picture(tree):
            with TemporaryDirectory(prefix="adacode-") as folder:
                copy = Gallery(tree.root, Path(folder))
                make_thumbnails(copy, is_copy=True)
                yield copy
            return
    yield tree
