"""`adacode train detect`: trains the small network that marks scratches for `adacode inpaint --detect`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from adacode_cli.cli.boundary import invocation_of, say_last_words
from adacode_cli.cli.options import flag, with_option_groups
from adacode_cli.cli.signals import StopRequest, say_at_a_signal
from adacode_cli.cli.streams import stderr_console
from adacode_cli.cli.train_options import AsEvents, DeviceName, Quiet, Shards, Threads, Verbose, seconds_of
from adacode_cli.cli.train_progress import Progress, counted_step, progress
from adacode_cli.cli.train_session import require_memory, require_room
from adacode_cli.cli.train_voice import Voice
from adacode_cli.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_TIME_LIMIT, OutputError, UsageError

if TYPE_CHECKING:
    from adacode_cli.training.detection import DetectionRecipe
    from adacode_cli.training.run_lock import RunLock

EPILOG = """Examples:

  adacode train detect shards -o marks.safetensors --steps 14000
  adacode inpaint scans --detect marks.safetensors --save-mask masks"""
_STOPPING = "stopping soon, with a checkpoint; press Ctrl-C again to stop now and lose the steps since the last one"
_NAME = "detect"
_LEARNING, _SESSION = "How it learns", "This session"


@dataclass(frozen=True)
class DetectOptions:
    """The options of the training, as Typer parses them."""

    steps: Annotated[int, typer.Option(min=1, metavar="N", rich_help_panel=_LEARNING, help="Length in steps.")] = 14_000
    batch: Annotated[int, typer.Option(min=1, metavar="N", rich_help_panel=_LEARNING, help="Crops in each step.")] = 8
    patch: Annotated[
        int, typer.Option(metavar="PIXELS", rich_help_panel=_LEARNING, help="Side of a crop: a multiple of 16.")
    ] = 256
    learning_rate: Annotated[
        float, typer.Option(metavar="RATE", rich_help_panel=_LEARNING, help="The highest learning rate.")
    ] = 1.2e-3
    threshold: Annotated[
        float,
        typer.Option(
            metavar="PROBABILITY",
            rich_help_panel=_LEARNING,
            help="The least probability of a pixel that the result marks, between 0 and 1: higher ones mark less.",
        ),
    ] = 0.6
    seed: Annotated[int, typer.Option(min=0, metavar="N", rich_help_panel=_LEARNING, help="The random seed.")] = 0
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            rich_help_panel=_SESSION,
            help="Stop after this time (9m, 1.5h) with a checkpoint; --resume continues.",
        ),
    ] = None
    resume: Annotated[bool, flag("--resume", panel=_SESSION, help="Continue an unfinished training.")] = False
    overwrite: Annotated[bool, flag("--overwrite", panel=_SESSION, help="Start over and replace FILE.")] = False
    device: DeviceName = "auto"
    threads: Threads = None
    quiet: Quiet = False
    json: AsEvents = False
    verbose: Verbose = 0

    def recipe(self) -> DetectionRecipe:
        """The settings that change the result. Raises UsageError."""
        from adacode_cli.training.detection import DetectionRecipe

        return DetectionRecipe(
            self.steps, self.batch, self.patch, self.learning_rate, threshold=self.threshold, seed=self.seed
        )


@with_option_groups
def detect(
    context: typer.Context,
    shards: Shards,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The detector: a .safetensors file.")],
    options: DetectOptions,
) -> None:
    """A detector of scratches, hairs, dust and creases, from photographs that are damaged anew in every step."""
    invocation_of(context, json=options.json, verbose=options.verbose)
    if output.suffix != ".safetensors":
        name = output.with_suffix(".safetensors").name
        raise UsageError(f"-o {output} is not the name of a .safetensors file", hint=f"Write -o {name}.")
    if options.resume and options.overwrite:
        raise UsageError("--resume and --overwrite contradict each other", hint="Continue the run, or start over.")
    limit = None if options.time_limit is None else seconds_of(options.time_limit)
    stop_request = StopRequest(limit, _STOPPING)
    say_at_a_signal("interrupted: the steps since the last checkpoint, if there is one, are lost")
    from adacode_cli.training.run_lock import RunLock

    lock, voice, kept = RunLock.of_file(output), Voice(options.json), list[Path]()
    try:
        lock.take()
        with stop_request.listening(), progress(f"loading {shards}", quiet=options.quiet or options.json) as shown:
            finished = _train(shards, output, options, stop_request, shown, lock=lock, voice=voice, kept=kept)
    except KeyboardInterrupt as error:
        say_last_words()
        raise typer.Exit(EXIT_INTERRUPTED) from error
    except (RuntimeError, MemoryError) as error:
        require_memory(error)
        raise
    except OutputError as error:
        require_room(error)
        raise
    finally:
        lock.release()
    for path in kept:
        voice.kept(_NAME, path)
    if finished:
        voice.written(output)
        voice.ended([] if kept else [output], None, None, EXIT_DONE)
        return
    early = EXIT_INTERRUPTED if stop_request.interrupted else EXIT_TIME_LIMIT
    voice.ended([], _NAME, output.with_suffix(".checkpoint"), early)
    raise typer.Exit(early)


def _train(
    shards: Path,
    output: Path,
    options: DetectOptions,
    stop_request: StopRequest,
    shown: Progress,
    *,
    lock: RunLock,
    voice: Voice,
    kept: list[Path],
) -> bool:
    import cv2
    import torch

    from adacode_cli.checkpoints.format import Provenance
    from adacode_cli.engine.device import choose_device
    from adacode_cli.engine.memory import free_bytes
    from adacode_cli.training.crops import Contents
    from adacode_cli.training.data import HOST_SHARE
    from adacode_cli.training.detection import DetectionRun, train_detector
    from adacode_cli.training.loop import Step
    from adacode_cli.training.shards import Shards as OpenShards

    cv2.setNumThreads(1)  # batches are made in several threads
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe, opened, workers = options.recipe(), OpenShards(shards), min(8, os.cpu_count() or 1)
    contents, device = Contents(opened, "train"), choose_device(options.device)
    voice.started(_NAME, output, shards, str(device))
    run = DetectionRun(
        output,
        device,
        options.resume,
        options.overwrite,
        workers,
        keep_crops=contents.decoded_bytes < HOST_SHARE * free_bytes(torch.device("cpu")),
        on_log=_logger(options, recipe.steps, shown, voice),
        stop=stop_request.should_stop,
        on_step=lambda steps: shown.stepped("detect", Step(steps, recipe.steps, steps / recipe.steps)),
        lock=lock,
        on_note=voice.note,
        on_kept=lambda: kept.append(output),
    )
    stated = Provenance(trained_on=opened.describe(), licence=opened.licence, source="adacode train detect")
    return train_detector(contents, opened.identity, recipe, run, stated)


def _logger(
    options: DetectOptions, num_steps: int, shown: Progress, voice: Voice
) -> Callable[[int, float, float], None]:
    """What reports a step of so many: its loss, and how many images are trained on in a second."""
    console = stderr_console()

    def log(step: int, loss: float, images_per_s: float) -> None:
        voice.logged(_NAME, {"step": step, "loss": loss, "images_per_s": images_per_s})
        if not options.json and not options.quiet:
            left = f"; {shown.left}" if shown.left else ""
            counted = counted_step(step, num_steps)
            console.print(Text(f"detect {counted}: loss {loss:.4f}; {images_per_s:.3g} images/s{left}"))

    return log
