"""`adacode sr`: make images larger."""

from __future__ import annotations

from typing import Annotated

import typer

from adacode_cli.cli.option_group import with_option_groups
from adacode_cli.cli.restore_command import restore
from adacode_cli.cli.restore_options import Denoise, Inputs, RestoreOptions
from adacode_cli.cli.restore_plan import Request
from adacode_cli.tasks import TASKS

EPILOG = """[bold]Examples[/bold]

  adacode sr photos                        a whole tree -> photos-sr-x4/
  adacode sr photos -o out --format png    the same tree in out/, as PNG
  adacode sr a.jpg -o b.png --scale 2      one image, twice as large
  adacode sr a.jpg -o b.png --denoise 0.5  leaves some of the grain
  cat a.jpg | adacode sr - > b.jpg         a pipe; as the input, or as --format
  find photos -name '*.jpg' -print0 | adacode sr --from-file - --null -o out
  adacode sr photos                        again: goes on after an interruption"""

Scale = Annotated[
    float,
    typer.Option(
        "--scale",
        "-s",
        min=1.0,
        max=4.0,
        metavar="FACTOR",
        help="How much larger, from 1 to 4; fractions too.",
    ),
]


@with_option_groups
def sr(
    context: typer.Context, options: RestoreOptions, inputs: Inputs = None, scale: Scale = 4.0, denoise: Denoise = 1.0
) -> None:
    """Make images larger (super-resolution) and clean them.

    Originals are never written to. One bad file does not stop the others; the summary names it.
    """
    restore(context, inputs, options, Request("sr", TASKS["sr"].label(scale), scale=scale, denoise=denoise))
