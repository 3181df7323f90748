"""The options that the stages of training share, each written once."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adacode_cli.cli.options import flag
from adacode_cli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from adacode_cli.training.recipe import Recipe, StageName, StageRecipe

_LENGTH = "How long"
_LEARNING = "How it learns"
_SESSION = "This session"
_CONSOLE = "What is shown"
# `steps` of a run that only the clock ends.
_NO_STEP_LIMIT = 10**9

Shards = Annotated[
    Path, typer.Argument(metavar="SHARDS", help="The directory that 'adacode train prepare' wrote.")
]  # fmt: skip
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="RUN", help="The run's directory, for weights, settings and logs.")
]


@dataclass(frozen=True)
class TrainOptions:
    """What a person chose for a stage, as Typer hands it over."""

    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="N", rich_help_panel=_LENGTH, help="The schedule's length by the clock; basis: of all categories."
        ),
    ] = None
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=_LENGTH,
            help="The schedule's length in steps; basis: of all categories.",
        ),
    ] = None
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            rich_help_panel=_LENGTH,
            help="Stop after this time (9m, 1.5h) with a checkpoint; --resume continues.",
        ),
    ] = None
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            metavar="NAME",
            rich_help_panel=_LEARNING,
            help="compact, published, or a recipe.json. Default: that of the stage before; at first, compact.",
        ),
    ] = None
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            rich_help_panel=_LEARNING,
            help="Any value of the recipe, such as loss.adversarial=0.1 or network.codes=512,256. May be repeated.",
        ),
    ] = None
    codes: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,…", rich_help_panel=_LEARNING, help="Codes of each basis, over again for more categories."
        ),
    ] = None
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", rich_help_panel=_LEARNING, help="Crops in each step, of all processes together."
        ),
    ] = None
    patch: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", rich_help_panel=_LEARNING, help="Side of a crop in output pixels: 64, 128, …"),
    ] = None
    learning_rate: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            rich_help_panel=_LEARNING,
            help="The highest learning rate; in compact it falls along a cosine.",
        ),
    ] = None
    perceptual: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_LEARNING,
            help="The network of the perceptual loss: a SqueezeNet LPIPS file (.safetensors), or lpips-vgg, "
            "lpips-alex or lpips-squeeze through the package lpips. Default: the recipe's; compact: pixels alone.",
        ),
    ] = None
    perceptual_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="W",
            rich_help_panel=_LEARNING,
            help="Weight of the perceptual loss; the weight of the pixels is 1.",
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            rich_help_panel=_LEARNING,
            help="The random seed of initial values, crops and degradations.",
        ),
    ] = None
    precision: Annotated[
        Literal["auto", "bf16", "fp32"] | None,
        typer.Option(
            metavar="TYPE",
            rich_help_panel=_LEARNING,
            help="bf16, fp32, or auto: bf16 where that is native. Default: as --config's recipe.json says, else auto.",
        ),
    ] = None
    resume: Annotated[
        bool,
        flag("--resume", panel=_SESSION, help="Continue the run in RUN."),
    ] = False
    overwrite: Annotated[bool, flag("--overwrite", panel=_SESSION, help="Start over and replace the run in RUN.")] = (
        False
    )
    slim: Annotated[
        bool,
        flag("--slim", panel=_SESSION, help="Write checkpoints of the weights alone: smaller, less exact."),
    ] = False
    cache: Annotated[
        Literal["auto", "none", "memory", "device"],
        typer.Option(
            metavar="PLACE",
            rich_help_panel=_SESSION,
            help="Where decoded photographs lie: none, memory, device. auto: on a GPU where they fit in a quarter of "
            "its memory, else in main memory where they fit in half of it.",
        ),
    ] = "auto"
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=_SESSION,
            help="Threads that read and make batches. Default: as many as cores, at most 8.",
        ),
    ] = None
    device: Annotated[
        str, typer.Option(metavar="NAME", rich_help_panel=_SESSION, help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto"
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", rich_help_panel=_SESSION, help="Threads that compute. Default: all cores."),
    ] = None
    validate_every: Annotated[
        int,
        typer.Option(min=1, metavar="N", rich_help_panel=_SESSION, help="Steps between scores on held-out crops."),
    ] = 500
    checkpoint_every: Annotated[
        str, typer.Option(metavar="TIME", rich_help_panel=_SESSION, help="Time between checkpoints.")
    ] = "5m"
    quiet: Annotated[bool, flag("--quiet", "-q", panel=_CONSOLE, help="Show no log lines, only errors.")] = False
    verbose: Annotated[bool, flag("--verbose", "-v", panel=_CONSOLE, help="Show tracebacks of errors.")] = False

    def recipe(self, stages: tuple[StageName, ...], device: torch.device, earlier: Recipe | None = None) -> Recipe:
        """What these stages are to follow; `earlier`, where nothing else was chosen. Raises UsageError."""
        from adacode_cli.engine.device import computes_bf16
        from adacode_cli.evaluation.perceptual import perceptual_identity
        from adacode_cli.training.overrides import overridden, read_recipe
        from adacode_cli.training.presets import named_recipe

        precision = self.precision
        if self.config is None and earlier is not None:
            recipe = earlier
            precision = precision or "auto"  # the stage before may have had a processor that computes bf16
        elif self.config is not None and self.config.endswith(".json"):
            recipe = read_recipe(Path(self.config))
        else:
            recipe = named_recipe(self.config or "compact")
            precision = precision or "auto"  # a preset is for any machine, a recipe says what was computed
        if precision == "auto":
            precision = "bf16" if computes_bf16(device) else "fp32"
        for name in stages:
            recipe = recipe.with_stage(name, self._stage(recipe.stage(name)))
        recipe = replace(
            recipe,
            precision=recipe.precision if precision is None else precision,
            perceptual=recipe.perceptual if self.perceptual is None else perceptual_identity(self.perceptual),
            seed=recipe.seed if self.seed is None else self.seed,
        )
        codes = [] if self.codes is None else [f"network.codes={self.codes}"]
        return overridden(recipe, [*codes, *(self.set or [])])

    def _stage(self, stage: StageRecipe) -> StageRecipe:
        if self.minutes is not None or self.steps is not None:
            stage = replace(stage, minutes=self.minutes or 0.0, steps=self.steps or _NO_STEP_LIMIT)
        optimiser = stage.optimiser
        if self.learning_rate is not None:
            optimiser = replace(optimiser, rate=self.learning_rate)
        loss = stage.loss
        if self.perceptual_weight is not None:
            loss = replace(loss, perceptual=self.perceptual_weight)
        batch, patch = self.batch or stage.batch, stage.patch if self.patch is None else self.patch
        return replace(stage, batch=batch, patch=patch, optimiser=optimiser, loss=loss)


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def seconds_of(text: str) -> float:
    """Seconds of a length of time; a number alone counts seconds. Raises UsageError for anything else, and for 0."""
    plain = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        plain += "s"
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(plain))
    if _PART.sub("", plain) or not 0 < seconds < math.inf:
        raise UsageError(f"{text!r} is not a length of time", hint="Write 90s, 9m, 1.5h or 1h30m.")
    return seconds
