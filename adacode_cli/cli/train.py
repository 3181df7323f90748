"""`adacode train`: the three stages on a directory of photographs, and their results as files to install."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from adacode_cli.cli import stdout
from adacode_cli.cli.boundary import session_of
from adacode_cli.cli.interruption import ended_by_interruption
from adacode_cli.cli.option_group import with_option_groups
from adacode_cli.cli.stderr import printable, stderr_console
from adacode_cli.cli.train_options import Output, Photos, TrainOptions
from adacode_cli.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from adacode_cli.checkpoints.format import Provenance
    from adacode_cli.training.corpus import PhotoCorpus
    from adacode_cli.training.loop import LogLine
    from adacode_cli.training.run_folder import Run
    from adacode_cli.training.settings import TrainSettings

app = typer.Typer(help="Train weights of your own, in three stages.", no_args_is_help=True)

_BASIS_EPILOG = """[bold]Example[/bold]

  adacode train basis photos -o run --minutes 60
                    photos/nature, photos/indoor, … become one codebook each"""
_FUSE_EPILOG = """[bold]Example[/bold]

  adacode train fuse photos --basis run -o run --minutes 60"""
_RESTORE_EPILOG = """[bold]Examples[/bold]

  adacode train restore photos --fused run/fused.safetensors \\
                    --task sr --scale 4 -o run --minutes 60
  adacode sr holiday --weights run/sr-x4.safetensors"""
_BUNDLE_EPILOG = """[bold]Example[/bold]

  adacode train bundle run -o mine --family compact
  adacode sr holiday --weights mine/compact-sr-x4.safetensors"""


@app.command("basis", epilog=_BASIS_EPILOG, no_args_is_help=True)
@with_option_groups
def basis(
    context: typer.Context,
    photos: Photos,
    output: Output,
    options: TrainOptions,
    family: Annotated[
        str, typer.Option(metavar="NAME", help="Shape of the networks: compact or published.")
    ] = "compact",
) -> None:
    """Stage I: one codebook for each category of photographs.

    A first part of the time goes to values that all categories start from; what an earlier run left of them in RUN
    is used again.
    """
    session_of(context).verbose = options.verbose
    with ended_by_interruption():
        from adacode_cli.training.presets import named_family
        from adacode_cli.training.runs import run_basis

        shape, settings = named_family(family), options.settings()
        corpus = _corpus(photos, options, settings, settings.patch)
        run = _run(output, options, settings, family, corpus)
        run_basis(run, corpus, shape)
    _tell_written(run.written)


@app.command("fuse", epilog=_FUSE_EPILOG, no_args_is_help=True)
@with_option_groups
def fuse(
    context: typer.Context,
    photos: Photos,
    basis: Annotated[Path, typer.Option(metavar="RUN", help="The directory that 'train basis' wrote.")],
    output: Output,
    options: TrainOptions,
) -> None:
    """Stage II: one network over all codebooks, which reconstructs photographs of every category."""
    session_of(context).verbose = options.verbose
    with ended_by_interruption():
        from adacode_cli.training.presets import named_family
        from adacode_cli.training.runs import basis_files, run_fuse

        settings = options.settings()
        family = _family_of(basis_files(basis)[0])
        corpus = _corpus(photos, options, settings, settings.patch)
        run = _run(output, options, settings, family, corpus)
        run_fuse(run, corpus, named_family(family), basis)
    _tell_written(run.written)


@app.command("restore", epilog=_RESTORE_EPILOG, no_args_is_help=True)
@with_option_groups
def restore(
    context: typer.Context,
    photos: Photos,
    *,
    fused: Annotated[Path, typer.Option(metavar="FILE", help="The fused.safetensors that 'train fuse' wrote.")],
    task: Annotated[Literal["sr", "inpaint"], typer.Option(metavar="TASK", help="sr or inpaint.")],
    output: Output,
    options: TrainOptions,
    scale: Annotated[int | None, typer.Option(metavar="N", help="2 or 4, for sr. Default: 4.")] = None,
    start: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An earlier result of the same task to go on from.")
    ] = None,
) -> None:
    """Stage III: a network for one task, over stage II's codebooks and decoder."""
    session_of(context).verbose = options.verbose
    factor = _factor(task, scale)
    with ended_by_interruption():
        from adacode_cli.training.batches import crop_side
        from adacode_cli.training.presets import named_family
        from adacode_cli.training.runs import run_restore

        settings = options.settings(perceptual_weight=0.25)
        family = _family_of(fused)
        corpus = _corpus(photos, options, settings, crop_side(settings.patch, factor))
        run = _run(output, options, settings, family, corpus)
        run_restore(run, corpus, named_family(family), fused, task=task, scale=factor, start=start)
    _tell_written(run.written)


@app.command("bundle", epilog=_BUNDLE_EPILOG, no_args_is_help=True)
def bundle(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A directory that 'train fuse' has finished.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The directory to write to.")],
    family: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the files are called. Default: the networks' family.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the files say of their licence, such as Apache-2.0.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", metavar="", help="Write files that exist again.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", metavar="", help="Tracebacks of errors.")] = False,
) -> None:
    """Store a run's weights as --weights and a catalogue take them: shared parts once, 16 bits a value."""
    session_of(context).verbose = verbose
    with ended_by_interruption():
        from adacode_cli.training import bundle as bundling

        name = family or _family_of(bundling.fused_file(run))
        paths = bundling.bundle(run, name, output, licence=licence, overwrite=overwrite)
    _tell_written(paths)


def _corpus(photos: Path, options: TrainOptions, settings: TrainSettings, least_side: int) -> PhotoCorpus:
    import cv2
    import torch

    from adacode_cli.training.corpus import PhotoCorpus
    from adacode_cli.training.perceptual_file import load_perceptual

    load_perceptual(settings.perceptual)  # a wrong file is told before the photographs are read
    if options.threads:
        torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)  # batches are made in threads of their own
    corpus = PhotoCorpus(photos, least_side)
    for path, reason in corpus.left_out.items():
        stderr_console().print(Text(printable(f"left out: {path}: {reason}"), style="dim"))
    return corpus


def _run(output: Path, options: TrainOptions, settings: TrainSettings, family: str, corpus: PhotoCorpus) -> Run:
    from adacode_cli.training.run_folder import Run

    console = stderr_console()

    def on_log(name: str, line: LogLine) -> None:
        if not options.quiet:
            console.print(_log_text(name, line))

    return Run(output, settings, _provenance(family, corpus), on_log)


def _log_text(name: str, line: LogLine) -> Text:
    known = ("step", "perplexity", "used", "steps_per_s")
    terms = " ".join(f"{key} {value:.4f}" for key, value in line.items() if key not in known)
    codes = f"perplexity {line['perplexity']:.0f}, {line['used']:.0%} of codes used"
    return Text(printable(f"{name} step {line['step']:.0f}: {terms}; {codes}; {line['steps_per_s']:.2g} steps/s"))


def _provenance(family: str, corpus: PhotoCorpus) -> Provenance:
    from adacode_cli.checkpoints.format import Provenance

    what = f"{corpus.num_photos} photographs in {len(corpus.categories)} categories"
    return Provenance(family=family, trained_on=what, source="adacode train")


def _family_of(path: Path) -> str:
    from adacode_cli.checkpoints.format import read_weights
    from adacode_cli.training.presets import FAMILIES

    family = read_weights(path).provenance.family
    if family not in FAMILIES:
        hint = f"Families that can be trained: {', '.join(FAMILIES)}."
        raise TrainingError(f"is of the family {family!r}", path=path, hint=hint)
    return family


def _factor(task: str, scale: int | None) -> int:
    if task == "inpaint":
        if scale is not None:
            raise UsageError("--scale is for --task sr", hint="Leave it out: holes are filled at the image's own size.")
        return 1
    if scale not in (None, 2, 4):
        raise UsageError(f"--scale {scale} is not 2 or 4", hint="Other factors are made from these two.")
    return scale or 4


def _tell_written(paths: list[Path]) -> None:
    for path in paths:
        stdout.write_line(str(path))
