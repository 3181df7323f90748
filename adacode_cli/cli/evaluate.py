"""`adacode eval`: how close restored test pictures come to their originals, beside a simple method."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from adacode_cli.cli import stdout
from adacode_cli.cli.boundary import session_of
from adacode_cli.cli.interruption import ended_by_interruption
from adacode_cli.cli.option_group import with_option_groups
from adacode_cli.cli.stderr import printable, stderr_console
from adacode_cli.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from adacode_cli.evaluation.score import Row, Scores
    from adacode_cli.evaluation.testset import Example

Task = Literal["sr", "inpaint", "reconstruct"]
# Tables are no wider than they must be; names of pictures are not cut before this.
_PAGE_COLUMNS = 200

app = typer.Typer(help="Measure restored test pictures against their originals.", no_args_is_help=True)

_EPILOG = """[bold]Test sets[/bold]

  DIR/hr holds the originals; DIR/lr_x4 and DIR/lr_x2 small worn copies,
  DIR/mask holes (white). Files belong together by name.

[bold]Example[/bold]

  """
_SR_EPILOG = _EPILOG + "adacode eval sr --data testset --scale 4 --perceptual squeezenet.safetensors"
_INPAINT_EPILOG = _EPILOG + "adacode eval inpaint --data testset --weights mine.safetensors"
_RECONSTRUCT_EPILOG = _EPILOG + "adacode eval reconstruct --data testset --json"


@dataclass(frozen=True)
class EvalOptions:
    """What the three measurements share."""

    data: Annotated[Path, typer.Option(metavar="DIR", help="The test set.")]
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            "-w",
            metavar="NAME",
            help="A name from 'adacode weights list', a file, or hub:OWNER/REPO/FILE.",
        ),
    ] = "compact"
    perceptual: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A SqueezeNet LPIPS network (.safetensors). Default: no LPIPS."),
    ] = None
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.")] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], typer.Option(metavar="TYPE", help="auto, fp32, bf16 or fp16.")
    ] = "auto"
    json: Annotated[bool, typer.Option("--json", metavar="", help="One JSON object on standard output.")] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", metavar="", help="A line per picture; tracebacks of errors.")
    ] = False


@app.command("sr", epilog=_SR_EPILOG, no_args_is_help=True)
@with_option_groups
def sr(
    context: typer.Context,
    options: EvalOptions,
    scale: Annotated[int, typer.Option("--scale", "-s", metavar="N", help="2 or 4.")] = 4,
) -> None:
    """Measure super-resolution, beside bicubic interpolation.

    PSNR (dB) and SSIM on luma without a border of 4 pixels, LPIPS on RGB.
    """
    if scale not in (2, 4):
        raise UsageError(f"--scale {scale} is not 2 or 4", hint="There are test pictures for these two.")
    _measure(context, options, "sr", scale)


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


def _measure(context: typer.Context, options: EvalOptions, task: Task, scale: int) -> None:
    session = session_of(context)
    session.json, session.verbose = options.json, options.verbose
    with ended_by_interruption():
        rows = _rows(options, task, scale)
    if options.json:
        stdout.write_line(json.dumps(_json(options, task, scale, rows)))
        return
    tables = [_pictures_table(rows)] if options.verbose else []
    for table in (*tables, _means_table(options, task, rows)):
        for line in _drawn(table):
            stdout.write_line(line)


def _rows(options: EvalOptions, task: Task, scale: int) -> list[Row]:
    from adacode_cli.evaluation.testset import load_testset

    examples = load_testset(options.data, task, scale)  # before anybody waits for torch

    from adacode_cli.engine.restorer import Restorer
    from adacode_cli.evaluation.score import evaluate
    from adacode_cli.training.perceptual_file import load_perceptual

    perceptual = load_perceptual(options.perceptual)
    restorer = Restorer.from_pretrained(options.weights, device=options.device, precision=options.precision)
    count = iter(range(1, len(examples) + 1))
    with stderr_console().status(Text("measuring")) as status:

        def show(example: Example) -> None:
            status.update(Text(printable(f"{next(count)}/{len(examples)} {example.name}")))

        return evaluate(restorer, examples, task, scale, perceptual=perceptual, on_example=show)


def _json(options: EvalOptions, task: Task, scale: int, rows: list[Row]) -> dict[str, object]:
    restored, simple = _means(rows)
    return {
        "task": task,
        "scale": scale,
        "weights": options.weights,
        "images": len(rows),
        "simple_method": _simple_method(task),
        "restored": asdict(restored),
        "simple": simple and asdict(simple),
        "rows": [asdict(row) for row in rows],
    }


def _means(rows: list[Row]) -> tuple[Scores, Scores | None]:
    from adacode_cli.evaluation.score import mean_scores

    simple = [row.simple for row in rows if row.simple]
    return mean_scores(row.restored for row in rows), mean_scores(simple) if simple else None


def _simple_method(task: Task) -> str | None:
    from adacode_cli.evaluation.score import SIMPLE_METHODS

    return SIMPLE_METHODS.get(task)


def _means_table(options: EvalOptions, task: Task, rows: list[Row]) -> Table:
    restored, simple = _means(rows)
    table = _table(f"mean of {len(rows)}")
    table.add_row(Text(printable(options.weights)), *_cells(restored))
    if simple:
        table.add_row(_simple_method(task), *_cells(simple))
    return table


def _pictures_table(rows: list[Row]) -> Table:
    table = _table("picture")
    for row in rows:
        table.add_row(Text(printable(row.name)), *_cells(row.restored))
    return table


def _table(first: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for title in ("PSNR", "SSIM", "LPIPS"):
        table.add_column(title, justify="right")
    return table


def _cells(scores: Scores) -> list[str]:
    values = ((scores.psnr, ".2f"), (scores.ssim, ".4f"), (scores.lpips, ".4f"))
    return ["" if value is None else format(value, form) for value, form in values]


def _drawn(table: Table) -> list[str]:
    from rich.console import Console

    page = io.StringIO()
    Console(file=page, width=_PAGE_COLUMNS, color_system=None).print(table)
    return [line.rstrip() for line in page.getvalue().strip("\n").splitlines()]
