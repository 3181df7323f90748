"""`adacode weights quantize`: makes a file of weights that can run in 8 bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.options import HubRepo, Verbose
from adacode_cli.cli.streams import printable, stderr_console, write_line
from adacode_cli.cli.weights_make import Output, Overwrite, note_missing_parts
from adacode_cli.errors import InputError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adacode_cli.evaluation.calibration import Calibrated

EPILOG = """[bold]Example[/bold]

  pip install 'adacode-cli\\[int8]'
  adacode weights quantize mine.safetensors --photos photos \\
      -o fast.safetensors
  adacode sr photos --weights fast.safetensors --precision int8

The file's path is printed on standard output."""


def quantize(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A name from 'adacode weights list', a file of weights, or a hub: file."),
    ],
    *,
    photos: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Photographs like those that the weights will restore."),
    ],
    output: Output,
    most: Annotated[
        int, typer.Option("--most", metavar="N", min=1, help="Use at most N of the photographs, spread over all.")
    ] = 32,
    overwrite: Overwrite = False,
    hub_repo: HubRepo = None,
    verbose: Verbose = False,
) -> None:
    """Measure the ranges that --precision int8 needs.

    OUT has the same weights as NAME, and for most convolutions the range of their inputs, measured on photographs.
    With --precision fp32 it restores as NAME does. How near images in 8 bits are to those in float32 is printed, and
    stated in OUT: --precision auto takes int8 only for weights that are near enough.
    """
    invocation_of(context, verbose=verbose)
    with ended_by_interruption():
        from adacode_cli.batch.kept import Kept
        from adacode_cli.evaluation.code_usage import photographs_in
        from adacode_cli.model.ranges import VISIBLE_DB

        _check_output(output, overwrite=overwrite)
        photographs = photographs_in(photos)
        Kept(folders=(photos,)).refuse_original(output)
        found = _calibrated(name, hub_repo, photographs[:: -(-len(photographs) // most)], output)
    note = f"images in 8 bits are {found.psnr_db:.1f} dB from those in float32, at worst {found.least_db:.1f} dB (PSNR)"
    stderr_console().print(Text(printable(note), style="dim"))
    if found.psnr_db < VISIBLE_DB:
        note = (
            f"note: below {VISIBLE_DB:g} dB a difference can be seen, at hard edges first; compare an image before a "
            "run. `--precision auto` does not take int8 for these weights"
        )
        stderr_console().print(Text(printable(note), style="dim"))
    note_missing_parts(output)
    write_line(str(output))


def _check_output(output: Path, *, overwrite: bool) -> None:
    if output.suffix.lower() != ".safetensors":
        raise UsageError(f"{output} does not end in .safetensors", hint="Choose a name that ends in .safetensors.")
    if output.exists() and not overwrite:
        raise OutputError("exists already", path=output, hint="Add --overwrite, or choose another name.")


def _calibrated(name: str, hub_repo: str | None, photographs: Sequence[Path], output: Path) -> Calibrated:
    from adacode_cli.checkpoints.format import stored_dtype, write_weights
    from adacode_cli.checkpoints.load import WeightsSource, read_any
    from adacode_cli.evaluation.calibration import calibrate

    source = WeightsSource(name, hub_repo)
    path = source.own_file()
    if output.exists() and output.samefile(path):
        raise OutputError("is the file that is read", path=output, hint="Choose another name.")
    weights, (network, _) = read_any(path), source.own_network()

    def left_out(error: InputError) -> None:
        stderr_console().print(Text(printable(f"left out: {error}"), style="dim"))

    with stderr_console().status(Text("reading")) as status:
        found = calibrate(weights, network, photographs, lambda text: status.update(Text(printable(text))), left_out)
    made = replace(found.weights, int8_psnr_db=found.psnr_db)
    write_weights(output, made, stored_dtype(path))
    return found
