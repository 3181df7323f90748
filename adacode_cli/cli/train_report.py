"""`adacode train report`: what a run folder records, as one page and one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from adacode_cli.cli import stdout
from adacode_cli.cli.boundary import session_of
from adacode_cli.cli.interruption import ended_by_interruption
from adacode_cli.cli.stderr import printable, stderr_console
from adacode_cli.errors import OutputError, UsageError

EPILOG = """[bold]Examples[/bold]

  adacode train report run                    run/report.html, run/report.png
  adacode train report run -o ~/compact.html  the page alone"""

_PAGE = ".html"
_PICTURE = ".png"


def report(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory, also while training goes on.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="A .html page or a .png picture. Default: both, as RUN/report.*"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", metavar="", help="Write FILE if it exists.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", metavar="", help="Tracebacks of errors.")] = False,
) -> None:
    """Draw the curves, samples, settings and photographs of a run.

    The page holds everything in itself and needs no network.
    RUN/report.html and RUN/report.png are written anew each time.
    Needs matplotlib, which comes with the extra "train" of adacode-cli.
    """
    session_of(context).verbose = verbose
    targets = _targets(run, output, overwrite=overwrite)
    with ended_by_interruption():
        from adacode_cli.atomic import write_bytes
        from adacode_cli.training.report import curves
        from adacode_cli.training.report.overview import overview_png
        from adacode_cli.training.report.page import page_html
        from adacode_cli.training.run_record import read_run

        curves.check_available()
        record = read_run(run)
        record.require_lines()
        for note in record.notes:
            stderr_console().print(Text(printable(note), style="dim"))
        for target in targets:
            draw = page_html if target.suffix.lower() == _PAGE else overview_png
            write_bytes(target, draw(record))
            stdout.write_line(str(target))


def _targets(run: Path, output: Path | None, *, overwrite: bool) -> list[Path]:
    """Where to write. Raises UsageError for another kind of file, OutputError for one that exists."""
    if output is None:
        return [run / f"report{_PAGE}", run / f"report{_PICTURE}"]
    if output.suffix.lower() not in (_PAGE, _PICTURE):
        raise UsageError(f"-o {output} is neither .html nor .png", hint="The name of FILE says what is written.")
    if output.is_dir():
        raise OutputError("is a directory", path=output, hint="Name a file in it.")
    if output.exists() and not overwrite:
        raise OutputError("exists already", path=output, hint="Choose another name, or add --overwrite.")
    return [output]
