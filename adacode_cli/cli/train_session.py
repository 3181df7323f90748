"""From the options of a training command to a session, and from its end to words and an exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from adacode_cli.cli import stdout
from adacode_cli.cli.duration import seconds_of
from adacode_cli.cli.patience import Patience
from adacode_cli.cli.stderr import printable, stderr_console
from adacode_cli.cli.train_options import TrainOptions
from adacode_cli.errors import EXIT_INTERRUPTED, TrainingError, UsageError

if TYPE_CHECKING:
    from adacode_cli.training.loop import LogLine
    from adacode_cli.training.recipe import Recipe, StageName
    from adacode_cli.training.session import Session

_CODES = ("perplexity/", "used/")
_SPEED = ("images_per_s", "waiting", "memory_mb")
_NOT_SHOWN = ("step", "learning_rate", "seconds", "gradient", "discriminator_gradient")


@contextmanager
def training(
    shards: Path, output: Path, options: TrainOptions, stages: tuple[StageName, ...], earlier: Recipe | None = None
) -> Iterator[Session]:
    """A session for these stages. After the block the weights that it finished are written to standard output.

    earlier: the recipe of the stage before. Ends the command with 130 where it was interrupted; a session that
    ran out of time ends well and says how to go on. Raises what opening shards and choosing settings raises.
    """
    if options.resume and options.overwrite:
        raise UsageError("--resume and --overwrite contradict each other", hint="Go on, or begin anew.")
    limit = None if options.time_limit is None else seconds_of(options.time_limit)
    patience = Patience(limit, lambda: _note("stopping after this step; press Ctrl-C again to lose what is not kept"))
    session = None
    try:
        with patience.listening():
            session = _session(shards, output, options, stages=stages, patience=patience, earlier=earlier)
            yield session
    except KeyboardInterrupt as error:
        raise typer.Exit(EXIT_INTERRUPTED) from error
    finally:
        if session is not None:
            if session.tensorboard is not None:
                session.tensorboard.close()
            for name in session.written:
                stdout.write_line(str(session.folder.weights(name)))
    if session.stopped and session.processes.rank == 0:
        _note(f"stopped: {session.folder.checkpoint(session.stopped)}; the same command goes on with --resume")
    if session.stopped and patience.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _session(
    shards: Path,
    output: Path,
    options: TrainOptions,
    *,
    stages: tuple[StageName, ...],
    patience: Patience,
    earlier: Recipe | None,
) -> Session:
    import cv2
    import torch

    from adacode_cli.checkpoints.format import Provenance
    from adacode_cli.engine.device import choose_device
    from adacode_cli.engine.memory import free_bytes
    from adacode_cli.evaluation.perceptual import load_perceptual
    from adacode_cli.training.data import Data
    from adacode_cli.training.loop import Pace
    from adacode_cli.training.processes import joined
    from adacode_cli.training.run_folder import RunFolder
    from adacode_cli.training.session import Session, Telling
    from adacode_cli.training.shards import Shards
    from adacode_cli.training.tensorboard import TensorBoard, available

    processes = joined(choose_device(options.device))
    recipe = options.recipe(stages, processes.device, earlier)
    pace = Pace(validate_every=options.validate_every, checkpoint_every_s=seconds_of(options.checkpoint_every))
    if options.threads:
        torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)  # batches are made in threads of their own
    perceptual = load_perceptual(recipe.perceptual, processes.device, for_training=True)
    opened = Shards(shards)
    data = Data(opened, processes, options.cache, options.workers, free_bytes(torch.device("cpu")))
    leads = processes.rank == 0
    if leads and perceptual is None and not options.quiet:
        _note("pictures are compared by pixels alone; --perceptual compares them as people do")
    licence = str(opened.manifest.get("licence", ""))
    provenance = Provenance(family=recipe.preset, trained_on=opened.describe(), licence=licence, source="adacode train")
    return Session(
        RunFolder(output, options.resume, options.overwrite, options.slim),
        data,
        recipe,
        processes,
        perceptual,
        provenance,
        pace,
        Telling(_teller(options), _note if leads else lambda _: None, patience.over),
        TensorBoard(output / "tensorboard") if leads and available() else None,
    )


def earlier_recipe(path: Path) -> Recipe:
    """The recipe that a file of weights was trained with, or its family's. Raises TrainingError where there is none."""
    import json

    from adacode_cli.checkpoints.format import read_weights
    from adacode_cli.training.overrides import recipe_from
    from adacode_cli.training.presets import RECIPES

    provenance = read_weights(path).provenance
    if provenance.recipe:
        return recipe_from(json.loads(provenance.recipe))
    if provenance.family not in RECIPES:
        hint = f"Families that can be trained: {', '.join(RECIPES)}."
        raise TrainingError(f"is of the family {provenance.family!r}", path=path, hint=hint)
    return RECIPES[provenance.family]


def _teller(options: TrainOptions) -> Callable[[str, LogLine], None]:
    console = stderr_console()

    def tell(name: str, line: LogLine) -> None:
        if not options.quiet:
            console.print(log_text(name, line))

    return tell


def log_text(name: str, line: LogLine) -> Text:
    """A log line in one line of text."""
    words = [f"{name} step {line['step']:.0f}:"]
    words += [f"{k} {v:.4f}" for k, v in line.items() if not k.startswith((*_CODES, *_SPEED, *_NOT_SHOWN))]
    perplexity = [v for k, v in line.items() if k.startswith(_CODES[0])]
    used = [v for k, v in line.items() if k.startswith(_CODES[1])]
    codes = f"; perplexity {sum(perplexity) / len(perplexity):.0f}, {min(used):.0%} of codes used" if used else ""
    speed = f"; {line['images_per_s']:.3g} images/s, {line['waiting']:.0%} waiting, {line['memory_mb']:.0f} MB"
    return Text(printable(" ".join(words) + codes + speed))


def _note(text: str) -> None:
    stderr_console().print(Text(printable(text), style="dim"))
