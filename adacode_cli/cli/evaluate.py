"""`adacode eval`: how close restored test pictures come to their originals, beside a baseline."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from adacode_cli.cli import stdout
from adacode_cli.cli.boundary import session_of
from adacode_cli.cli.interruption import ended_by_interruption
from adacode_cli.cli.measuring_options import AsJson, Device, Precision, Verbose, Weights
from adacode_cli.cli.option_group import with_option_groups
from adacode_cli.cli.restore_options import Denoise
from adacode_cli.cli.stderr import printable, stderr_console
from adacode_cli.errors import UsageError

if TYPE_CHECKING:
    from adacode_cli.cli.evaluation_text import Findings
    from adacode_cli.evaluation.testset import Example
    from adacode_cli.evaluation.worst import Worst

app = typer.Typer(help="Measure restored test pictures against their originals.", no_args_is_help=True)

_EPILOG = """[bold]Test sets[/bold]

  DIR/hr holds the originals; DIR/lr_x4 and DIR/lr_x2 small worn copies,
  DIR/mask holes (white). Files belong together by name.

[bold]Perceptual networks[/bold]

  FILE.safetensors              LPIPS on SqueezeNet
  lpips-alex, -vgg, -squeeze    after pip install lpips
  pyiqa:METRIC                  such as pyiqa:dists, after pip install pyiqa

[bold]Example[/bold]

  """
_SR_EPILOG = _EPILOG + "adacode eval sr --data testset --scale 4 --perceptual lpips-alex"
_INPAINT_EPILOG = _EPILOG + "adacode eval inpaint --data testset --worst worst.png"
_RECONSTRUCT_EPILOG = _EPILOG + "adacode eval reconstruct --data testset --json"


@dataclass(frozen=True)
class EvalOptions:
    """What the three measurements share."""

    data: Annotated[Path, typer.Option(metavar="DIR", help="The test set.")]
    weights: Weights = "compact"
    perceptual: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A perceptual network to compare with, see below. Default: none."),
    ] = None
    worst: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Write a sheet of the five worst pictures; replaced if it exists."),
    ] = None
    device: Device = "auto"
    precision: Precision = "auto"
    json: AsJson = False
    verbose: Verbose = False


@app.command("sr", epilog=_SR_EPILOG, no_args_is_help=True)
@with_option_groups
def sr(
    context: typer.Context,
    options: EvalOptions,
    scale: Annotated[int, typer.Option("--scale", "-s", metavar="N", help="2 or 4.")] = 4,
    denoise: Denoise = 1.0,
) -> None:
    """Measure super-resolution, beside bicubic interpolation.

    PSNR (dB) and SSIM on luma without a border of 4 pixels, LPIPS on RGB.
    """
    if scale not in (2, 4):
        raise UsageError(f"--scale {scale} is not 2 or 4", hint="There are test pictures for these two.")
    _measure(context, options, "sr", scale, denoise)


@app.command("inpaint", epilog=_INPAINT_EPILOG, no_args_is_help=True)
@with_option_groups
def inpaint(context: typer.Context, options: EvalOptions) -> None:
    """Measure the filling of holes, beside Telea's method in OpenCV.

    PSNR (dB) of RGB inside the holes, LPIPS of whole pictures.
    """
    _measure(context, options, "inpaint", 1)


@app.command("reconstruct", epilog=_RECONSTRUCT_EPILOG, no_args_is_help=True)
@with_option_groups
def reconstruct(context: typer.Context, options: EvalOptions) -> None:
    """Measure what the codebooks can express: originals rebuilt from codes.

    PSNR (dB) and SSIM on luma without a border of 4 pixels, LPIPS on RGB.
    """
    _measure(context, options, "reconstruct", 1)


def _measure(context: typer.Context, options: EvalOptions, task: str, scale: int, denoise: float = 1.0) -> None:
    from adacode_cli.cli import evaluation_text

    session = session_of(context)
    session.json, session.verbose = options.json, options.verbose
    with ended_by_interruption():
        found = _findings(options, task, scale, denoise)
    if options.json:
        stdout.write_line(json.dumps(evaluation_text.json_object(found)))
        return
    for line in evaluation_text.table_lines(found):
        stdout.write_line(line)


def _findings(options: EvalOptions, task: str, scale: int, denoise: float) -> Findings:
    from adacode_cli.evaluation.testset import load_testset

    # Whatever can be wrong is reported before anybody waits: for torch, or for hours of restoring.
    examples = load_testset(options.data, task, scale)
    if options.worst is not None:
        _check_sheet(options.worst, options.data, examples)

    from adacode_cli.cli.evaluation_text import Findings
    from adacode_cli.engine.device import choose_device
    from adacode_cli.engine.restorer import Restorer
    from adacode_cli.evaluation.perceptual import load_perceptual
    from adacode_cli.evaluation.score import evaluate
    from adacode_cli.evaluation.worst import Worst

    restorer = Restorer.from_pretrained(options.weights, device=options.device, precision=options.precision)
    perceptual = load_perceptual(options.perceptual, choose_device(options.device))
    restorer.prepare(task, scale, denoise)
    worst, count = Worst(task, scale), iter(range(1, len(examples) + 1))
    with stderr_console().status(Text("reading")) as status:

        def show(example: Example) -> None:
            status.update(Text(printable(f"{next(count)}/{len(examples)} {example.name}")))

        keep = (lambda *_: None) if options.worst is None else worst.add
        rows = evaluate(
            restorer, examples, task, scale, denoise=denoise, perceptual=perceptual, on_example=show, on_row=keep
        )
    found = Findings(task, scale, denoise, options.weights, options.perceptual or None, options.worst, rows)
    if options.worst is not None:
        _write_sheet(options.worst, worst, found)
    return found


def _check_sheet(path: Path, data: Path, examples: tuple[Example, ...]) -> None:
    from adacode_cli import atomic
    from adacode_cli.batch.kept import Kept

    if path.suffix.lower() != ".png":
        raise UsageError(f"--worst {path} is not a .png", hint="The sheet is a PNG: give its name that ending.")
    read = {file for one in examples for file in (one.original, one.input, one.mask) if file is not None}
    kept = Kept(folders=(data,))
    kept.refuse(sorted(read), [path], "--worst")
    if path.exists():
        kept.refuse_original(path, "--worst")
    atomic.check_writable(path)


def _write_sheet(path: Path, worst: Worst, found: Findings) -> None:
    from adacode_cli import atomic
    from adacode_cli.evaluation.worst import draw_sheet

    measure = found.distance if found.perceptual else "PSNR"
    title = f"adacode {found.step}, {found.weights}: the worst {len(worst.found)} of {worst.num_seen} by {measure}"
    atomic.write_bytes(path, draw_sheet(worst, title, found.distance))
