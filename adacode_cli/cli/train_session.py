"""From the options of a training command to a session, and from its end to messages and an exit code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adacode_cli.cli.boundary import say_last_words
from adacode_cli.cli.signals import StopRequest, say_at_a_signal
from adacode_cli.cli.train_options import TrainOptions, seconds_of
from adacode_cli.cli.train_progress import Progress, progress
from adacode_cli.cli.train_voice import Voice
from adacode_cli.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_TIME_LIMIT,
    DeviceError,
    OutputError,
    TrainingError,
    UsageError,
    is_full,
)

if TYPE_CHECKING:
    import torch

    from adacode_cli.evaluation.perceptual import PerceptualNetwork
    from adacode_cli.training.data import Data
    from adacode_cli.training.processes import Processes
    from adacode_cli.training.recipe import Recipe, StageName
    from adacode_cli.training.run_lock import RunLock
    from adacode_cli.training.session import TrainingSession

_STOPPING = "stopping soon, with a checkpoint; press Ctrl-C again to stop now and lose the steps since the last one"


@contextmanager
def training(
    shards: Path, output: Path, options: TrainOptions, stages: tuple[StageName, ...], earlier: Recipe | None = None
) -> Iterator[TrainingSession]:
    """A session for these stages. After the block the paths of the finished weights are written to standard output.

    earlier: the recipe of the stage before. An interrupted command ends with 130, one that reached its time limit with
    75; both print how to continue. Raises what opening shards and choosing settings raises, and TrainingError if
    another process trains into the folder.
    """
    if options.resume and options.overwrite:
        raise UsageError("--resume and --overwrite contradict each other", hint="Continue the run, or start over.")
    limit = None if options.time_limit is None else seconds_of(options.time_limit)
    stop_request = StopRequest(limit, _STOPPING)
    session = None
    say_at_a_signal("interrupted: nothing was trained")
    # A launcher starts several processes for one run, with one terminal: the first of them has the lock and speaks.
    leads = os.environ.get("RANK", "0") == "0"
    voice, lock = Voice(options.json, mute=not leads), _lock(output) if leads else None
    try:
        if lock is not None:
            lock.take()
        quiet = options.quiet or options.json or not leads
        with stop_request.listening(), progress(f"loading {shards}", quiet=quiet) as shown:
            session = _session(shards, output, options, (voice, shown, stop_request), stages=stages, earlier=earlier)
            session.lock = lock
            say_at_a_signal("interrupted: the steps since the last checkpoint are lost; --resume continues from there")
            yield session
    except KeyboardInterrupt as error:
        say_last_words()
        raise typer.Exit(EXIT_INTERRUPTED) from error
    except (RuntimeError, MemoryError) as error:
        require_memory(error, "--cache none keeps no decoded crops. ")
        raise
    except OutputError as error:
        require_room(error, " With --slim, checkpoints are smaller.")
        raise
    finally:
        if lock is not None:
            lock.release()
        if session is not None:
            if session.tensorboard is not None:
                session.tensorboard.close()
            for name in session.written:
                voice.written(session.folder.weights(name))
    session.processes.close()
    early = EXIT_INTERRUPTED if stop_request.interrupted else EXIT_TIME_LIMIT
    voice.session_ended(session, early if session.stopped else EXIT_DONE)
    if session.stopped:
        raise typer.Exit(early)


def _lock(output: Path) -> RunLock:
    from adacode_cli.training.run_lock import RunLock

    return RunLock.of_folder(output)


def _session(
    shards: Path,
    output: Path,
    options: TrainOptions,
    heard: tuple[Voice, Progress, StopRequest],
    *,
    stages: tuple[StageName, ...],
    earlier: Recipe | None,
) -> TrainingSession:
    import torch

    from adacode_cli.checkpoints.format import Provenance
    from adacode_cli.engine.device import choose_device
    from adacode_cli.training.loop import Pace
    from adacode_cli.training.processes import joined
    from adacode_cli.training.run_folder import RunFolder
    from adacode_cli.training.session import TrainingSession
    from adacode_cli.training.tensorboard import TensorBoard, available

    processes = joined(choose_device(options.device))
    recipe = options.recipe(stages, processes.device, earlier)
    pace = Pace(validate_every=options.validate_every, checkpoint_every_s=seconds_of(options.checkpoint_every))
    if options.threads:
        torch.set_num_threads(options.threads)
    perceptual = _perceptual(options, recipe, processes.device)
    data = _data(shards, options, processes)
    voice, shown, stop_request = heard
    leads, folder = processes.rank == 0, RunFolder(output, options.resume, options.overwrite, options.slim)
    voice.started("all" if len(stages) > 1 else stages[0], output, shards, str(processes.device))
    if not options.quiet:
        _report_without_effect(recipe, stages, voice)
    licence, about = data.shards.licence, data.shards.describe()
    return TrainingSession(
        folder,
        data,
        recipe,
        processes,
        perceptual,
        Provenance(family=recipe.preset, trained_on=about, licence=licence, source="adacode train"),
        pace,
        voice.listeners(folder, shown, stop_request.should_stop),
        TensorBoard(output / "tensorboard") if leads and available() else None,
        extends=options.steps is not None or options.minutes is not None,
    )


def _data(shards: Path, options: TrainOptions, processes: Processes) -> Data:
    import cv2
    import torch

    from adacode_cli.engine.memory import free_bytes
    from adacode_cli.training.data import Data
    from adacode_cli.training.shards import Shards

    cv2.setNumThreads(1)  # batches are made in several threads
    torch.backends.cudnn.benchmark = True  # every step has the same sizes
    workers, device = options.workers or min(8, os.cpu_count() or 1), processes.device
    return Data(
        Shards(shards),
        processes,
        options.cache,
        workers,
        host_bytes=free_bytes(torch.device("cpu")),
        device_bytes=free_bytes(device) if device.type == "cuda" else 0,
    )


def _report_without_effect(recipe: Recipe, stages: tuple[StageName, ...], voice: Voice) -> None:
    from adacode_cli.training.recipe import without_effect

    for name in stages:
        for term in without_effect(recipe, name):
            lacks = not recipe.perceptual and term.endswith((".perceptual", ".semantic"))
            voice.note(f"{term} has no effect{'; it needs --perceptual' if lacks else ''}")


def _perceptual(options: TrainOptions, recipe: Recipe, device: torch.device) -> PerceptualNetwork | None:
    from adacode_cli.evaluation.perceptual import BUNDLED, DIGEST, load_perceptual, same_network

    named = options.perceptual if options.perceptual is not None else recipe.perceptual
    if options.perceptual is None and same_network(named) == BUNDLED:
        named = BUNDLED  # the file that an earlier run was given
    if options.perceptual is None and DIGEST in named:
        what = f"the recipe compares images with the file {named.partition(DIGEST)[0]}, whose path it does not contain"
        raise UsageError(what, hint="Give the file with --perceptual FILE, or --perceptual '' to compare pixels only.")
    return load_perceptual(named, device, for_training=True)


def require_memory(error: BaseException, also: str = "") -> None:
    """Raises DeviceError, with what to do, if training failed because memory was too small. also: one more sentence."""
    from adacode_cli.engine.memory import is_out_of_memory

    if is_out_of_memory(error):
        hint = (
            "Run the same command with --resume and a smaller --batch: the run continues from its last checkpoint. "
            f"{also}If --batch is 1, start again with --overwrite and a smaller --patch."
        )
        raise DeviceError("out of memory while training", hint=hint) from error


def require_room(error: OutputError, also: str = "") -> None:
    """Raises OutputError, with what to do, if a training could not write a file because the disk is full. also: as in
    `require_memory`.
    """
    if isinstance(error.__cause__, OSError) and is_full(error.__cause__):
        hint = (
            "Free some space on that disk, and run the same command with --resume: it continues from the last "
            f"checkpoint.{also}"
        )
        raise OutputError(error.message, path=error.path, hint=hint) from error


def earlier_recipe(path: Path) -> Recipe:
    """The recipe with which a file of weights was trained, or that of its family. Raises TrainingError without one."""
    import json

    from adacode_cli.checkpoints.format import read_weights
    from adacode_cli.training.overrides import recipe_from
    from adacode_cli.training.presets import RECIPES

    provenance = read_weights(path).provenance
    if provenance.recipe:
        return recipe_from(json.loads(provenance.recipe))
    if provenance.family not in RECIPES:
        hint = f"The families that can be trained are {', '.join(RECIPES)}."
        raise TrainingError(f"is of the family {provenance.family!r}", path=path, hint=hint)
    return RECIPES[provenance.family]
