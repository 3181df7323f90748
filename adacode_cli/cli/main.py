"""The program `adacode`: its commands, and the one entry point.

Importing this module imports neither torch nor NumPy nor an image library; commands do this when they run, so that
`--help` and shell completion are fast.
"""

from __future__ import annotations

import gc
import os
import re
import sys
from typing import Annotated

import typer

from adacode_cli.cli import (
    bench,
    compare,
    config,
    doctor,
    evaluate,
    manual,
    process,
    restore,
    sheet,
    show,
    train,
    view,
    weights,
)
from adacode_cli.cli.boundary import Invocation, guarded
from adacode_cli.cli.configuration import VARIABLES, Program
from adacode_cli.cli.signals import end_at_a_signal
from adacode_cli.cli.streams import show_warnings_only_if, write_line
from adacode_cli.errors import EXIT_DONE
from adacode_cli.version import __version__

PROGRAM = "adacode"
_RESTORE = "Restore images"
_MANAGE = "Weights and this machine"
_STUDY = "Train and measure"

_EPILOG = """Start here:

  adacode sr photos       restore a directory; results are in photos-sr-x4/
  adacode sr --help       the options that are used most, and examples
  adacode doctor          what this machine offers

Exit codes:

  0 done · 2 usage · 3 input · 4 weights · 5 device · 6 output · 7 journal ·
  8 training · 9 finished, but some files failed · 75 time limit ·
  130 interrupted · 1 a bug"""

_A_WIDTH = re.compile("0*[1-9][0-9]{0,3}")

app = Program(
    name=PROGRAM,
    help="Restore whole folders of photographs: super-resolution, inpainting, reconstruction.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        write_line(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def program(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, metavar="", help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Restore whole folders of photographs: super-resolution, inpainting, reconstruction."""


app.command("sr", epilog=restore.SR_EPILOG, rich_help_panel=_RESTORE, no_args_is_help=True)(restore.sr)
app.command("inpaint", epilog=restore.INPAINT_EPILOG, rich_help_panel=_RESTORE, no_args_is_help=True)(restore.inpaint)
app.command("reconstruct", epilog=restore.RECONSTRUCT_EPILOG, rich_help_panel=_RESTORE, no_args_is_help=True)(
    restore.reconstruct
)
app.command("view", epilog=view.EPILOG, rich_help_panel=_RESTORE, no_args_is_help=True)(view.view)
app.command("sheet", epilog=sheet.EPILOG, rich_help_panel=_RESTORE, no_args_is_help=True)(sheet.sheet)
app.command("show", epilog=show.EPILOG, rich_help_panel=_RESTORE, no_args_is_help=True)(show.show)
app.command("compare", epilog=compare.EPILOG, rich_help_panel=_RESTORE, no_args_is_help=True)(compare.compare)
app.command("doctor", rich_help_panel=_MANAGE)(doctor.doctor)
app.command("bench", epilog=bench.EPILOG, rich_help_panel=_MANAGE)(bench.bench)
app.add_typer(weights.app, name="weights", rich_help_panel=_MANAGE)
app.add_typer(config.app, name="config", rich_help_panel=_MANAGE)
app.command("man", epilog=manual.EPILOG, rich_help_panel=_MANAGE)(manual.man)
app.add_typer(train.app, name="train", rich_help_panel=_STUDY)
app.add_typer(evaluate.app, name="eval", rich_help_panel=_STUDY)


def main() -> None:
    """Runs the program on `sys.argv` and ends the process with the exit code."""
    end_at_a_signal()
    process.prepare()
    if not _A_WIDTH.fullmatch(os.environ.get("COLUMNS", "80")):
        del os.environ["COLUMNS"]  # with a width of 0 nothing would be shown, not even errors
    exit_code = guarded(_run)
    # At its end the interpreter would visit every object of torch and Ray, which takes up to a second.
    gc.freeze()
    sys.exit(exit_code)


def _run(invocation: Invocation) -> None:
    show_warnings_only_if(lambda: invocation.verbose > 0)
    command = typer.main.get_command(app)
    ended_with = command(prog_name=PROGRAM, obj=invocation, standalone_mode=False, auto_envvar_prefix=VARIABLES)
    if isinstance(ended_with, int) and ended_with != EXIT_DONE:  # a command that raised typer.Exit
        invocation.exit_code = ended_with
