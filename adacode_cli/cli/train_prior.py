"""`adacode train prior`: learns to predict codes, so that files of codes become smaller."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from adacode_cli.cli.boundary import invocation_of
from adacode_cli.cli.options import flag, with_option_groups
from adacode_cli.cli.signals import say_at_a_signal
from adacode_cli.cli.streams import stderr_console
from adacode_cli.cli.train_options import AsEvents, DeviceName, Quiet, Shards, Threads, Verbose
from adacode_cli.cli.train_progress import Progress, counted_step, progress
from adacode_cli.cli.train_voice import Voice
from adacode_cli.errors import EXIT_DONE, UsageError

EPILOG = """Example:

  adacode train prior shards --fused run/fused.safetensors \\
                    -o mine-prior.safetensors"""
_LEARNING, _SESSION = "How it learns", "This session"


@dataclass(frozen=True)
class PriorOptions:
    """The options of the training, as Typer parses them."""

    steps: Annotated[
        int, typer.Option(min=1, metavar="N", rich_help_panel=_LEARNING, help="Steps of each of the two networks.")
    ] = 2000
    seed: Annotated[int, typer.Option(min=0, metavar="N", rich_help_panel=_LEARNING, help="The random seed.")] = 0
    overwrite: Annotated[bool, flag("--overwrite", panel=_SESSION, help="Replace FILE.")] = False
    device: DeviceName = "auto"
    threads: Threads = None
    quiet: Quiet = False
    json: AsEvents = False
    verbose: Verbose = 0


@with_option_groups
def prior(
    context: typer.Context,
    shards: Shards,
    *,
    fused: Annotated[
        Path, typer.Option(metavar="FILE", help="What 'train fuse' wrote, or a bundle's NAME-reconstruct.safetensors.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The prior: a .safetensors file.")],
    options: PriorOptions,
) -> None:
    """A prior of codes, which makes the files of --save-codes smaller, from the codes of the photographs."""
    invocation_of(context, json=options.json, verbose=options.verbose)
    if output.suffix != ".safetensors":
        raise UsageError(f"-o {output} is not the name of a .safetensors file", hint="Write -o mine-prior.safetensors.")
    say_at_a_signal("interrupted: nothing was written, and the same command starts again")
    voice = Voice(options.json)
    with progress(f"loading {shards}", quiet=options.quiet or options.json) as shown:
        _train(shards, fused, output, options, shown, voice=voice)
    voice.written(output)
    voice.ended([output], None, None, EXIT_DONE)


def _train(shards: Path, fused: Path, output: Path, options: PriorOptions, shown: Progress, *, voice: Voice) -> None:
    import torch

    from adacode_cli.checkpoints.format import Provenance
    from adacode_cli.engine.device import choose_device
    from adacode_cli.training.crops import Contents
    from adacode_cli.training.loop import Step
    from adacode_cli.training.prior import PriorRecipe, PriorRun, train_prior
    from adacode_cli.training.shards import Shards as OpenShards

    if options.threads:
        torch.set_num_threads(options.threads)
    opened, console = OpenShards(shards), stderr_console()

    def show(text: str) -> None:
        if not options.quiet and not options.json:
            console.print(Text(text))

    def on_encoded(done: int, of: int) -> None:
        shown.show(f"{done} of {of} crops are encoded")
        if done % 200 == 0 or done == of:
            show(f"{done} of {of} crops are encoded")

    def log(what: str, steps: int, bits: float) -> None:
        voice.logged(what, {"step": steps, "bits": bits})
        left = f"; {shown.left}" if shown.left else ""
        show(f"prior of {what}, {counted_step(steps, options.steps)}: {bits:.3f} bits a cell{left}")

    device = choose_device(options.device)
    voice.started("prior", output, shards, str(device))
    run = PriorRun(
        output,
        device,
        options.overwrite,
        on_encoded=on_encoded,
        on_log=log,
        on_step=lambda what, steps: shown.stepped(
            f"prior of {what}", Step(steps, options.steps, steps / options.steps)
        ),
    )
    stated = Provenance(trained_on=opened.describe(), licence=opened.licence, source="adacode train prior")
    recipe = PriorRecipe(options.steps, seed=options.seed)
    train_prior(Contents(opened, "train"), fused, recipe, run, stated)
