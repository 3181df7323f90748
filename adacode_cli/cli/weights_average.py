"""`adacode weights average`: the weighted mean of two files of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from adacode_cli.cli import stdout
from adacode_cli.cli.boundary import session_of
from adacode_cli.cli.interruption import ended_by_interruption
from adacode_cli.cli.stderr import printable, stderr_console

EPILOG = """[bold]Examples[/bold]

  adacode weights average tuned.safetensors start.safetensors --share 0.7 \\
      -o mean.safetensors
  adacode weights average run/sr-x4.safetensors realesr-general-x4v3.pth \\
      --share 0.8 -o mean.safetensors

The file's path is printed on standard output."""

# Those of `weights pair` too.
Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The .safetensors file to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", metavar="", help="Write OUT again if it exists.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", metavar="", help="Tracebacks of errors.")]


def average(
    context: typer.Context,
    first: Annotated[
        Path,
        typer.Argument(metavar="FIRST", help="A file of weights, or a network of Real-ESRGAN's compact layout."),
    ],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="Another one that is alike.")],
    *,
    share: Annotated[
        float, typer.Option(metavar="S", help="The share of FIRST in the mean, from 0 to 1; SECOND has the rest.")
    ],
    output: Output,
    dtype: Annotated[
        Literal["fp16", "bf16", "fp32"] | None,
        typer.Option(metavar="TYPE", help="How values are stored: fp16, bf16 or fp32. Default: as in FIRST."),
    ] = None,
    overwrite: Overwrite = False,
    verbose: Verbose = False,
) -> None:
    """Average two files of weights, such as a tuned network and the one that it started from.

    Both are of the same network. What the tasks of a family share must be the same in both.
    A network of Real-ESRGAN's layout is averaged with the trunk of a super-resolution network.
    """
    session_of(context).verbose = verbose
    with ended_by_interruption():
        from adacode_cli.checkpoints import average as averaging
        from adacode_cli.checkpoints.format import DTYPES

        stored = DTYPES[dtype] if dtype else None
        num_means, num_kept = averaging.average(first, second, share, output, stored, overwrite=overwrite)
    if num_kept:
        note = f"{num_means} tensors of the trunk are means; the other {num_kept} are as they were"
        stderr_console().print(Text(printable(note), style="dim"))
    note_missing_parts(output)
    stdout.write_line(str(output))


def note_missing_parts(output: Path) -> None:
    """A line about the files that a task's file of weights needs beside it, where they are not there."""
    from adacode_cli.checkpoints.format import METADATA_KEY, read_safetensors, weights_of
    from adacode_cli.checkpoints.load import missing_beside

    tensors, said = read_safetensors(output, "")
    weights = weights_of(tensors, said, output) if METADATA_KEY in said else None
    if weights is not None and weights.part == "task":
        missing = missing_beside(output, weights.provenance.family)
        if missing:
            note = f"note: it is one part of a family; before it is used, put {' and '.join(missing)} beside it"
            stderr_console().print(Text(printable(note), style="dim"))
