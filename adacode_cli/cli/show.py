"""`adacode show`: one result beside its original, in the terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.options import Verbose
from adacode_cli.cli.streams import printable, stderr_console, write_bytes, write_line
from adacode_cli.cli.terminal_image import Way, cell_pixels, drawn, way_of
from adacode_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from adacode_cli.imaging.decode import Decode
    from adacode_cli.imaging.image import Decoded

_LINES_BESIDE = 3
_LARGEST_PX = 2000  # of a picture in pixels: more takes long to send

EPILOG = """Examples:

  adacode show large/a.jpg      beside its original, which the journal names
  adacode show b.png a.png      beside another image
  adacode show a.png --graphics blocks   as characters, in any terminal with colours"""


def show(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A result, or any image.")],
    original: Annotated[
        Path | None,
        typer.Argument(metavar="ORIGINAL", help="What it is shown beside. Default: its original, by the journal."),
    ] = None,
    graphics: Annotated[
        Literal["auto", "kitty", "iterm", "sixel", "blocks"],
        typer.Option("--graphics", metavar="KIND", help="kitty, iterm, sixel, blocks (of two pixels), or auto."),
    ] = "auto",
    verbose: Verbose = 0,
) -> None:
    """Show a result beside its original in the terminal: before at the left, after at the right."""
    invocation_of(context, verbose=verbose)
    if graphics == "auto" and not (sys.stdout and sys.stdout.isatty()):
        raise UsageError(
            "standard output is not a terminal", hint="Choose what is written, for example --graphics blocks."
        )
    from adacode_cli.batch.gallery.one import opened
    from adacode_cli.imaging.decoder_pool import decoding

    with ended_by_interruption(), decoding(isolated=True) as decoder:
        after = opened(file, decoder)
        before, source, note = _original(file, original, decoder)
        _draw(before, after, way_of(os.environ) if graphics == "auto" else graphics)
    sizes = [f"{one.size[1]} × {one.size[0]}" for one in (before, after) if one is not None]
    names = [printable(str(path)) for path, one in ((source, before), (file, after)) if one is not None]
    write_line("   →   ".join(f"{name} ({size})" for name, size in zip(names, sizes, strict=True)))
    if note:
        write_line(note)


def _original(file: Path, named: Path | None, decoder: Decode) -> tuple[Decoded | None, Path | None, str]:
    """The original of a result, decoded, its path, and what is to be said of it; None where there is none.

    named: the one that the user names instead. Raises InputError if this one cannot be read.
    """
    from adacode_cli.batch.gallery.one import opened, original_of

    if named is not None:
        return opened(named, decoder), named, ""
    found = original_of(file)
    if found is None:
        return None, None, ""
    source, name = found.path, printable(str(found.path))
    if not os.path.isfile(source):  # noqa: PTH113 (Path.is_file raises for a name that is too long)
        return None, source, f"its original {name} is not there"
    try:
        note = f"its original {name} has changed since it was restored" if found.has_changed() else ""
        return opened(source, decoder), source, note
    except InputError as error:
        return None, source, f"its original {name} cannot be shown: {printable(error.message)}"


def _draw(before: Decoded | None, after: Decoded, way: Way) -> None:
    """Writes both to the terminal, as large as it is."""
    from adacode_cli.batch.gallery.one import beside

    console = stderr_console()
    columns, rows = max(6, console.width - 1), max(2, console.height - _LINES_BESIDE)
    if way == "blocks":
        write_bytes(drawn(beside(before, after, (columns, 2 * rows)), way, columns))
        return
    wide, high = cell_pixels(sys.stdout.fileno())
    room = min(_LARGEST_PX, columns * wide), min(_LARGEST_PX, rows * high)
    image = beside(before, after, room)
    write_bytes(drawn(image, way, max(1, round(image.width / wide))))
