"""`adacode train`: from folders of photographs to weights, in three stages that can be stopped and continued."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from adacode_cli.cli import train_detect, train_prepare, train_prior
from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.configuration import Program
from adacode_cli.cli.options import AsJson, Verbose, flag, with_option_groups
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import printable, stderr_console, write_line
from adacode_cli.cli.train_options import Output, Shards, TrainOptions
from adacode_cli.cli.train_samples import samples_page
from adacode_cli.cli.train_session import earlier_recipe, training
from adacode_cli.errors import OutputError, UsageError
from adacode_cli.tasks import TASKS, by_label

if TYPE_CHECKING:
    from adacode_cli.training.run_record import RunRecord

app = Program(help="Train weights of your own, in three stages.", no_args_is_help=True)

_BASIS_EPILOG = """Example:

  adacode train basis shards -o run --minutes 60
                    one codebook for each category of the shards"""
_FUSE_EPILOG = """Example:

  adacode train fuse shards --basis run -o run --minutes 60
  adacode train fuse shards --start run/fused.safetensors \\
                    -o longer --minutes 60"""
_RESTORE_EPILOG = """Examples:

  adacode train restore shards --fused run --task sr --scale 4 \\
                    -o run --minutes 60 --time-limit 9m
  adacode train restore shards --fused run --task sr --scale 4 \\
                    -o run --minutes 60 --resume
  adacode sr holiday --weights run/sr-x4.safetensors"""
_ALL_EPILOG = """Examples:

  adacode train all shards -o run --minutes 600
  adacode weights bundle run -o mine"""
_REPORT_EPILOG = """Examples:

  adacode train report run                    run/report.html, run/report.png
  adacode train report run -o ~/compact.html  the page alone
  adacode train report run -o samples         outputs beside inputs and targets"""

_PAGE = ".html"
_IMAGE = ".png"
# For ×2 the result of the ×4 network is halved: this is better than a ×2 network that was trained for as long.
_TASKS = "sr-x4,inpaint"

app.command("prepare", epilog=train_prepare.EPILOG, no_args_is_help=True)(train_prepare.prepare)


@app.command("basis", epilog=_BASIS_EPILOG, no_args_is_help=True)
@with_option_groups
def basis(context: typer.Context, shards: Shards, output: Output, options: TrainOptions) -> None:
    """Stage I: one codebook for each category of photographs."""
    invocation_of(context, json=options.json, verbose=options.verbose)
    from adacode_cli.training.runs import run_basis

    with training(shards, output, options, ("basis",)) as session:
        run_basis(session)


@app.command("fuse", epilog=_FUSE_EPILOG, no_args_is_help=True)
@with_option_groups
def fuse(
    context: typer.Context,
    shards: Shards,
    output: Output,
    options: TrainOptions,
    *,
    basis: Annotated[Path | None, typer.Option(metavar="RUN", help="The directory that 'train basis' wrote.")] = None,
    joint: Annotated[bool, flag("--joint", help="Instead of --basis: train the codebooks in this stage too.")] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="An earlier stage-II result to continue from; without --basis, with its codebooks."
        ),
    ] = None,
) -> None:
    """Stage II: one network over all codebooks, which reconstructs photographs of every category."""
    invocation_of(context, json=options.json, verbose=options.verbose)
    from adacode_cli.training.runs import basis_files, run_fuse, run_fuse_again, run_joint

    if joint == (basis is not None or start is not None):
        raise UsageError(
            "the source of the codebooks is not clear",
            hint="Give either --joint, or --basis RUN, --start FILE or both.",
        )
    source = basis_files(basis)[0] if basis is not None else start
    earlier = None if source is None else earlier_recipe(source)
    with training(shards, output, options, ("fuse",), earlier) as session:
        if basis is not None:
            run_fuse(session, basis, start=start)
        elif start is not None:
            run_fuse_again(session, start)
        else:
            run_joint(session)


@app.command("restore", epilog=_RESTORE_EPILOG, no_args_is_help=True)
@with_option_groups
def restore(
    context: typer.Context,
    shards: Shards,
    *,
    fused: Annotated[
        Path, typer.Option(metavar="RUN", help="What 'train fuse' wrote, or a bundle's NAME-reconstruct.safetensors.")
    ],
    task: Annotated[Literal["sr", "inpaint"], typer.Option(metavar="TASK", help="sr or inpaint.")],
    output: Output,
    options: TrainOptions,
    scale: Annotated[int | None, typer.Option(metavar="N", help="2 or 4, for sr. Default: 4.")] = None,
    start: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An earlier result of the same task to continue from; for sr, of any scale."),
    ] = None,
    trunk: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For sr: start the trunk from a network of Real-ESRGAN's compact layout, such as "
            "realesr-general-x4v3, or from the trunk of other ×4 weights. With --start, the other parts are from FILE "
            "of --start.",
        ),
    ] = None,
) -> None:
    """Stage III: a network for one task, with stage II's codebooks and decoder."""
    invocation_of(context, json=options.json, verbose=options.verbose)
    from adacode_cli.training.runs import run_restore

    if trunk is not None and not TASKS[task].enlarges:
        raise UsageError("--trunk is for --task sr", hint="Leave it out: networks of other tasks have no trunk.")
    factor, file = _factor(task, scale), _fused_file(fused)
    with training(shards, output, options, ("restore",), earlier_recipe(file)) as session:
        run_restore(session, file, task=task, scale=factor, start=start, trunk=trunk)


@app.command("all", epilog=_ALL_EPILOG, no_args_is_help=True)
@with_option_groups
def all_stages(
    context: typer.Context,
    shards: Shards,
    output: Output,
    options: TrainOptions,
    tasks: Annotated[
        str, typer.Option(metavar="LIST", help="What stage III trains: sr-x4, sr-x2, inpaint, separated by commas.")
    ] = _TASKS,
) -> None:
    """Run the three stages in order. --minutes is the time for all of them together; --steps holds for stage I,
    stage II and each task.

    With --resume, stages that are finished are kept, and the one that was stopped continues.
    """
    invocation_of(context, json=options.json, verbose=options.verbose)
    from adacode_cli.training.runs import run_all, shared_out

    wanted = [_task(name.strip()) for name in tasks.split(",")]
    with training(shards, output, options, ("basis", "fuse", "restore")) as session:
        session.recipe = shared_out(session.recipe, options.minutes, len(wanted))
        run_all(session, wanted)


app.command("detect", epilog=train_detect.EPILOG, no_args_is_help=True)(train_detect.detect)
app.command("prior", epilog=train_prior.EPILOG, no_args_is_help=True)(train_prior.prior)


@app.command("report", epilog=_REPORT_EPILOG, no_args_is_help=True)
def report(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory; training may still be running.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="A .html page, a .png image, or a directory for a page of samples. Default: RUN/report.*",
        ),
    ] = None,
    overwrite: Annotated[bool, flag("--overwrite", help="Write FILE if it exists.")] = False,
    json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Draw the curves, samples, settings and photographs of a run.

    The page is self-contained and needs no network connection.
    RUN/report.html and RUN/report.png are replaced each time.
    Needs matplotlib, which comes with the extra "train" of adacode-cli.
    """
    invocation_of(context, json=json, verbose=verbose)
    targets = _targets(run, output, overwrite=overwrite)
    with ended_by_interruption(), showing("drawing the report", quiet=json):
        from adacode_cli.training.report import curves
        from adacode_cli.training.run_record import read_run

        curves.check_available()
        record = read_run(run)
        record.require_lines()
        for note in record.notes if not json else ():
            stderr_console().print(Text(printable(note), style="dim"))
        written = []
        for target in targets:
            written.append(_write(record, target))
            if not json:
                write_line(str(written[-1]))
        if json:
            write_line(dumps({"version": 1, "files": [str(path) for path in written], "notes": list(record.notes)}))


def _write(record: RunRecord, target: Path) -> Path:
    """Writes a page, an image or, without a suffix, a page of the samples; returns the file to open."""
    from adacode_cli.atomic import write_bytes
    from adacode_cli.training.report.overview import overview_png
    from adacode_cli.training.report.page import page_html

    if not target.suffix:
        return samples_page(record, target)
    write_bytes(target, (page_html if target.suffix.lower() == _PAGE else overview_png)(record))
    return target


def _factor(task: str, scale: int | None) -> int:
    scales = TASKS[task].scales
    if scale is not None and not TASKS[task].enlarges:
        raise UsageError("--scale is for --task sr", hint="Leave it out: inpainting keeps the size of the image.")
    if scale not in (None, *scales):
        known = " or ".join(str(one) for one in sorted(scales))
        raise UsageError(
            f"--scale {scale} is not {known}", hint="Results of other factors are made with these networks."
        )
    return scale or max(scales)


def _task(label: str) -> tuple[str, int]:
    known = {one: (task.name, scale) for one, (task, scale) in by_label().items() if not task.from_codes}
    if label not in known:
        raise UsageError(f"unknown task {label!r}", hint=f"Choose among {', '.join(known)}.")
    return known[label]


def _fused_file(given: Path) -> Path:
    return given / "fused.safetensors" if given.is_dir() else given


def _targets(run: Path, output: Path | None, *, overwrite: bool) -> list[Path]:
    """Where to write. Raises UsageError for another kind of file, OutputError for one that exists."""
    if output is None:
        return [run / f"report{_PAGE}", run / f"report{_IMAGE}"]
    if not output.suffix:
        from adacode_cli.batch.gallery.whole import check_place

        check_place(output)
        return [output]
    if output.suffix.lower() not in (_PAGE, _IMAGE):
        raise UsageError(
            f"-o {output} ends in neither .html nor .png",
            hint="The suffix of FILE chooses what is written; without one it is a page of the samples.",
        )
    if output.is_dir():
        raise OutputError("is a directory", path=output, hint="Name a file in it.")
    if output.exists() and not overwrite:
        raise OutputError("exists already", path=output, hint="Choose another name, or add --overwrite.")
    return [output]
