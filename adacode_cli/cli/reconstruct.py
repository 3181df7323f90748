"""`adacode reconstruct`: pass images through the codebooks at their own size, to codes in a file and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adacode_cli.cli.option_group import with_option_groups
from adacode_cli.cli.restore_command import restore
from adacode_cli.cli.restore_options import Inputs, RestoreOptions
from adacode_cli.cli.restore_plan import Request
from adacode_cli.errors import UsageError

EPILOG = """[bold]Examples[/bold]

  adacode reconstruct photos                     -> photos-reconstruct/
  adacode reconstruct photos --save-codes codes  also codes/….adacode
  adacode reconstruct --from-codes codes         -> codes-reconstruct/
  adacode reconstruct --from-codes a.adacode -o a.png
  adacode reconstruct a.png -o b.png --save-weights-map maps"""

_CODES = "Codes"


@with_option_groups
def reconstruct(
    context: typer.Context,
    options: RestoreOptions,
    inputs: Inputs = None,
    save_codes: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            rich_help_panel=_CODES,
            help="Also write each image's codes and mixing weights: into this directory, or, for one image, into this "
            "file (.adacode). The image that is written is then the one that --from-codes gives, bit for bit.",
        ),
    ] = None,
    from_codes: Annotated[
        bool,
        typer.Option(
            "--from-codes",
            metavar="",
            rich_help_panel=_CODES,
            help="The inputs are .adacode files, or directories with such files.",
        ),
    ] = False,
) -> None:
    """Rebuild images at their own size from the codebooks alone.

    Shows what the codebooks can express: the quality that every other task starts from. The codes are a compressed
    form of the image, which can be kept in a file.
    """
    if save_codes and from_codes:
        raise UsageError("--save-codes and --from-codes contradict one another", hint="Drop one of the two.")
    request = Request("reconstruct", "reconstruct", save_codes=save_codes, from_codes=from_codes)
    restore(context, inputs, options, request)
