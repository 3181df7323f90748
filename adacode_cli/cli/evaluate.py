"""`adacode eval`: how close restored test images come to their originals, beside a baseline."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from adacode_cli.cli import evaluate_folders
from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.configuration import Program
from adacode_cli.cli.evaluate_page import WorstPage, check_page, is_sheet
from adacode_cli.cli.options import AsJson, DeviceName, Precision, Verbose, Weights, with_option_groups
from adacode_cli.cli.restore_options import Denoise
from adacode_cli.cli.run_text import counted
from adacode_cli.cli.scores_csv import Csv, check_csv, line_of, write_csv
from adacode_cli.cli.scores_table import FORMS, cells_of, drawn
from adacode_cli.cli.status import TimedCount, showing
from adacode_cli.cli.streams import printable, write_line
from adacode_cli.errors import UsageError
from adacode_cli.tasks import TASKS

if TYPE_CHECKING:
    from adacode_cli.evaluation.score import Row, Scores
    from adacode_cli.evaluation.testset import Example
    from adacode_cli.evaluation.worst import Worst


app = Program(help="Measure restored test images against their originals.", no_args_is_help=True)

_EPILOG = """Test sets:

  DIR/hr holds the originals; DIR/lr_x4 and DIR/lr_x2 small degraded copies,
  DIR/mask holes (white). Files belong together by name; that of a copy may
  go on, as in 0001x4.png. Images restored elsewhere: adacode eval folders.

Perceptual networks:

  lpips                         LPIPS on SqueezeNet, which is bundled
  FILE.safetensors              a file of such a network
  lpips-alex, -vgg, -squeeze    after pip install lpips
  pyiqa:METRIC                  such as pyiqa:dists, after pip install pyiqa

Example:

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
        str,
        typer.Option(metavar="NAME", help="A perceptual network that compares images, see below; '' for none."),
    ] = "lpips"
    worst: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png|DIR",
            help="Write a sheet of the five worst images, or a page of all, the worst first; replaced if it exists.",
        ),
    ] = None
    csv: Csv = None
    device: DeviceName = "auto"
    precision: Precision = "auto"
    json: AsJson = False
    verbose: Verbose = 0


@app.command("sr", epilog=_SR_EPILOG, no_args_is_help=True)
@with_option_groups
def sr(
    context: typer.Context,
    options: EvalOptions,
    scale: Annotated[int, typer.Option("--scale", "-s", metavar="N", help="2 or 4.")] = 4,
    denoise: Denoise = 1.0,
) -> None:
    """Measure super-resolution; the baseline is bicubic interpolation.

    PSNR (dB) and SSIM on luma without a border of 4 pixels, LPIPS on RGB.
    """
    if scale not in (2, 4):
        raise UsageError(f"--scale {scale} is not 2 or 4", hint="Test images exist for these two scales.")
    _measure(context, options, "sr", scale, denoise)


@app.command("inpaint", epilog=_INPAINT_EPILOG, no_args_is_help=True)
@with_option_groups
def inpaint(context: typer.Context, options: EvalOptions) -> None:
    """Measure inpainting; the baseline is Telea's method in OpenCV.

    PSNR (dB) of RGB inside the holes, LPIPS of whole images.
    """
    _measure(context, options, "inpaint", 1)


@app.command("reconstruct", epilog=_RECONSTRUCT_EPILOG, no_args_is_help=True)
@with_option_groups
def reconstruct(context: typer.Context, options: EvalOptions) -> None:
    """Measure what the codebooks can express: originals rebuilt from codes.

    PSNR (dB) and SSIM on luma without a border of 4 pixels, LPIPS on RGB.
    """
    _measure(context, options, "reconstruct", 1)


app.command("folders", epilog=evaluate_folders.EPILOG, no_args_is_help=True)(evaluate_folders.folders)


def _measure(context: typer.Context, options: EvalOptions, task: str, scale: int, denoise: float = 1.0) -> None:
    invocation_of(context, json=options.json, verbose=options.verbose)
    count = TimedCount()
    with ended_by_interruption(count.left_by_an_interruption):
        found = _findings(options, task, scale, denoise, count)
    if options.json:
        write_line(json.dumps(json_object(found)))
        return
    for line in table_lines(found):
        write_line(line)


def _findings(options: EvalOptions, task: str, scale: int, denoise: float, count: TimedCount) -> Evaluation:
    with showing("looking for images", quiet=options.json) as show_line:
        from adacode_cli.checkpoints import catalogue_file, location
        from adacode_cli.evaluation.testset import load_testset

        # Mistakes are reported before the slow steps: the import of torch, and hours of restoring.
        examples = load_testset(options.data, task, scale)
        if options.worst is not None:
            check = _check_sheet if is_sheet(options.worst) else check_page
            check(options.worst, options.data, examples)
        location.parse(options.weights, catalogue_file.load())
        if options.csv is not None:
            check_csv(options.csv, _files_of(examples), [options.data])
        show_line(f"loading {options.weights}")

        from adacode_cli.engine.device import choose_device
        from adacode_cli.engine.restorer import Restorer
        from adacode_cli.evaluation.perceptual import load_perceptual
        from adacode_cli.evaluation.score import evaluate
        from adacode_cli.evaluation.worst import Worst

        restorer = Restorer.from_pretrained(options.weights, device=options.device, precision=options.precision)
        perceptual = load_perceptual(options.perceptual, choose_device(options.device))
        digest = restorer.prepare(task, scale, denoise)
        worst, count.total = Worst(task, scale), len(examples)

        def show(example: Example) -> None:
            show_line(f"{count.next()} {example.name}")

        page = _page(options, task, scale)
        keep = page.add if page else worst.add if options.worst else (lambda *_: None)
        rows = evaluate(
            restorer, examples, task, scale, denoise=denoise, perceptual=perceptual, on_example=show, on_row=keep
        )
    found = Evaluation(task, scale, denoise, options.weights, options.perceptual or None, options.worst, rows, digest)
    if options.csv is not None:
        write_csv(options.csv, found.csv_lines())
    if page is not None:
        page.finish()
    elif options.worst is not None:
        _write_sheet(options.worst, worst, found)
    return found


def _page(options: EvalOptions, task: str, scale: int) -> WorstPage | None:
    """The page for --worst, if it names one."""
    from adacode_cli.evaluation.perceptual import perceptual_title

    if options.worst is None or is_sheet(options.worst):
        return None
    return WorstPage(options.worst, task, scale, perceptual_title(options.perceptual) if options.perceptual else "")


def _check_sheet(path: Path, data: Path, examples: tuple[Example, ...]) -> None:
    from adacode_cli import atomic
    from adacode_cli.batch.kept import Kept

    kept = Kept(folders=(data,))
    kept.refuse(_files_of(examples), [path], "--worst")
    if path.exists():
        kept.refuse_original(path, "--worst")
    atomic.check_writable(path)


def _files_of(examples: tuple[Example, ...]) -> list[Path]:
    return sorted({file for one in examples for file in (one.original, one.input, one.mask) if file is not None})


def _write_sheet(path: Path, worst: Worst, found: Evaluation) -> None:
    from adacode_cli import atomic
    from adacode_cli.evaluation.worst import draw_sheet

    measure = found.distance if found.perceptual else "PSNR"
    title = f"adacode {found.step}, {found.weights}: the worst {len(worst.found)} of {worst.num_seen} by {measure}"
    atomic.write_bytes(path, draw_sheet(worst, title, found.distance))


_OURS = "adacode"


@dataclass(frozen=True)
class Evaluation:
    """What was measured, of what, and with which weights and perceptual network (a name, or None). digest: of the
    network (`engine.identity.network_digest`).
    """

    task: str
    scale: int
    denoise: float
    weights: str
    perceptual: str | None
    worst: Path | None
    rows: list[Row]
    digest: str = ""

    @property
    def means(self) -> tuple[Scores, Scores | None]:
        """Of the restored images, and of the baseline's, if there is one."""
        from adacode_cli.evaluation.score import mean_scores

        baseline = [row.baseline for row in self.rows if row.baseline]
        return mean_scores(row.restored for row in self.rows), mean_scores(baseline) if baseline else None

    @property
    def precisions(self) -> dict[str, int]:
        """How many images were computed in each precision, in the order in which the precisions occur."""
        return dict(Counter(row.precision for row in self.rows))

    @property
    def step(self) -> str:
        """What was measured, in words."""
        task = f"{self.task} x{self.scale}" if TASKS[self.task].enlarges else self.task
        return task if self.denoise == 1 else f"{task}, denoise {self.denoise:g}"

    def csv_lines(self) -> Iterator[tuple[object, ...]]:
        """For each image a line, and one of its baseline, if there is one."""
        for row in self.rows:
            yield line_of(_OURS, row.name, row.restored, row.precision, cut=row.cut)
            if row.baseline is not None:
                yield line_of(str(self.baseline_method), row.name, row.baseline, cut=row.cut)

    @property
    def baseline_method(self) -> str | None:
        """What the baseline is called."""
        return TASKS[self.task].baseline

    @property
    def border_px(self) -> int:
        """Width of the border that PSNR and SSIM leave out, in pixels."""
        from adacode_cli.evaluation.metrics import BORDER_PX

        return 0 if TASKS[self.task].fills_hole else BORDER_PX

    @property
    def distance(self) -> str:
        """What the perceptual distance is called."""
        from adacode_cli.evaluation.perceptual import perceptual_title

        return perceptual_title(self.perceptual or "")


def json_object(found: Evaluation) -> dict[str, object]:
    """All figures, unrounded; keys and meanings as docs/json.md has them."""
    restored, baseline = found.means
    return {
        "version": 1,
        "task": found.task,
        "scale": found.scale,
        "denoise": found.denoise,
        "weights": found.weights,
        "weights_sha256": found.digest,
        "perceptual": found.perceptual,
        "border_px": found.border_px,
        "images": len(found.rows),
        "precisions": found.precisions,
        "baseline_method": found.baseline_method,
        "restored": asdict(restored),
        "baseline": baseline and asdict(baseline),
        "rows": [asdict(row) for row in found.rows],
        "worst": None if found.worst is None else str(found.worst),
    }


def table_lines(found: Evaluation) -> list[str]:
    """A line for every image, then the means, then what the figures are."""
    restored, baseline = found.means
    kinds = [kind for kind in FORMS if getattr(restored, kind[0]) is not None]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("\nimage", no_wrap=True)
    for method in (_OURS, found.baseline_method) if baseline else (_OURS,):
        for key, title, _ in kinds:
            table.add_column(
                f"{method}\n{printable(found.distance) if key == 'perceptual' else title}", justify="right"
            )
    for row in found.rows:
        table.add_row(Text(printable(row.name)), *cells_of(kinds, row.restored, row.baseline))
    table.add_section()
    table.add_row(f"mean of {len(found.rows)}", *cells_of(kinds, restored, baseline))
    return [*drawn(table), "", *_notes(found)]


def _notes(found: Evaluation) -> list[str]:
    if TASKS[found.task].fills_hole:
        what = "PSNR in dB, of RGB inside the holes."
    else:
        what = f"PSNR in dB and SSIM, of luma without a border of {found.border_px} px."
    lines = [
        f"{_OURS}: {found.step}, weights {printable(found.weights)}",
        f"computed in {counted(found.precisions)}",
        f"{what} Higher is better.",
    ]
    if found.perceptual:
        lines.append(
            f"{printable(found.distance)}: {printable(found.perceptual)}, of whole RGB images. Lower is better."
        )
    if num_cut := sum(row.cut for row in found.rows):
        lines.append(f"{num_cut} originals were cut at the right or the bottom to a multiple of the scale")
    if found.worst:
        lines.append(f"worst: {printable(str(found.worst))}")
    return lines
