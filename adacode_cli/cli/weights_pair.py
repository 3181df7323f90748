"""`adacode weights pair`: one file of weights that remove noise and of weights that keep it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from adacode_cli.cli import stdout
from adacode_cli.cli.boundary import session_of
from adacode_cli.cli.interruption import ended_by_interruption
from adacode_cli.cli.stderr import printable, stderr_console
from adacode_cli.cli.weights_average import Output, Overwrite, Verbose, note_missing_parts

EPILOG = """[bold]Example[/bold]

  adacode weights pair clean/sr-x4.safetensors faithful/sr-x4.safetensors \\
      -o pair.safetensors
  adacode sr photos --weights pair.safetensors --denoise 0.3

The file's path is printed on standard output."""


def pair(
    context: typer.Context,
    clean: Annotated[Path, typer.Argument(metavar="CLEAN", help="A file of weights that remove noise.")],
    faithful: Annotated[
        Path,
        typer.Argument(
            metavar="FAITHFUL",
            help="One of the same network that keeps noise, or a network of Real-ESRGAN's compact layout.",
        ),
    ],
    *,
    output: Output,
    dtype: Annotated[
        Literal["fp16", "bf16", "fp32"] | None,
        typer.Option(metavar="TYPE", help="How values are stored: fp16, bf16 or fp32. Default: as in CLEAN."),
    ] = None,
    overwrite: Overwrite = False,
    verbose: Verbose = False,
) -> None:
    """Pair weights that remove noise with weights that keep it, for --denoise.

    With the file that is written, adacode sr --denoise 1 restores as CLEAN does, and --denoise 0 as FAITHFUL does.
    Strengths in between use weights in between. Of a file that is a pair already, CLEAN takes the values for 1 and
    FAITHFUL those for 0.
    """
    session_of(context).verbose = verbose
    with ended_by_interruption():
        from adacode_cli.checkpoints import average
        from adacode_cli.checkpoints.format import DTYPES

        stored = DTYPES[dtype] if dtype else None
        num_differing, num_alike = average.pair(clean, faithful, output, stored, overwrite=overwrite)
    note = f"{num_differing} tensors have two sets of values; the other {num_alike} are the same in both"
    stderr_console().print(Text(printable(note), style="dim"))
    note_missing_parts(output)
    stdout.write_line(str(output))
