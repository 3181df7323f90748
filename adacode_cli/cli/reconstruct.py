"""`adacode reconstruct`: pass images through the codebooks at their own size."""

from __future__ import annotations

import typer

from adacode_cli.cli.option_group import with_option_groups
from adacode_cli.cli.restore_command import Request, restore
from adacode_cli.cli.restore_options import Inputs, RestoreOptions

EPILOG = """[bold]Examples[/bold]

  adacode reconstruct photos                       -> photos-reconstruct/
  adacode reconstruct a.png -o b.png --save-weights-map maps
                                                   see which basis codebook speaks where"""


@with_option_groups
def reconstruct(context: typer.Context, inputs: Inputs, options: RestoreOptions) -> None:
    """Rebuild images at their own size from the codebooks alone.

    Shows what the codebooks can express: the quality that every other task starts from.
    """
    restore(context, inputs, options, Request("reconstruct", "reconstruct"))
