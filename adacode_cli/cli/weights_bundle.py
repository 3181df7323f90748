"""`adacode weights bundle`: a finished training run as files to install, with a catalogue and a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from adacode_cli.cli import stdout
from adacode_cli.cli.boundary import session_of
from adacode_cli.cli.interruption import ended_by_interruption
from adacode_cli.cli.stderr import printable, stderr_console

EPILOG = """[bold]Example[/bold]

  adacode weights bundle run -o mine --family mine
  adacode sr photos --weights mine/mine-sr-x4.safetensors

The files' paths are printed on standard output."""


def bundle(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A directory that 'train fuse' has finished.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The directory to write to.")],
    family: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the files are called. Default: the networks' family.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What the files say of their licence. Default: what their shards said."),
    ] = None,
    dtype: Annotated[
        Literal["fp16", "bf16", "fp32"], typer.Option(metavar="TYPE", help="How values are stored: fp16, bf16 or fp32.")
    ] = "fp16",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", metavar="", help="Write files that exist again, the model card too.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", metavar="", help="Tracebacks of errors.")] = False,
) -> None:
    """Make a training run's weights into files for --weights.

    What tasks share is stored once. A catalogue.json and a model card are written beside, and the notice of the authors
    of a base model where training started from one.
    """
    session_of(context).verbose = verbose

    def tell(note: str) -> None:
        stderr_console().print(Text(printable(note), style="dim"))

    with ended_by_interruption():
        from adacode_cli.checkpoints.format import DTYPES
        from adacode_cli.training import bundle as bundling

        paths = bundling.bundle(run, family, output, DTYPES[dtype], licence=licence, overwrite=overwrite, on_note=tell)
    for path in paths:
        stdout.write_line(str(path))
