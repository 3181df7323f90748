"""The options that the stages of training share, each written once."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adacode_cli.cli.options import LIBRARIES_TOO, flag, verbosity
from adacode_cli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from adacode_cli.training.recipe import Recipe, StageName, StageRecipe

_LENGTH = "How long"
_LEARNING = "How it learns"
_SESSION = "This session"
_CONSOLE = "What is shown"
# `steps` of a run whose length is given in minutes.
_NO_STEP_LIMIT = 10**9

Shards = Annotated[
    Path, typer.Argument(metavar="SHARDS", help="The directory that 'adacode train prepare' wrote.")
]  # fmt: skip
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="RUN", help="The run's directory, for weights, settings and logs.")
]

DeviceName = Annotated[
    str, typer.Option(metavar="NAME", rich_help_panel=_SESSION, help="auto, cpu, cuda, cuda:1 or mps.")
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", rich_help_panel=_SESSION, help="Threads that compute. Default: all cores."),
]
AsEvents = Annotated[
    bool, flag("--json", panel=_CONSOLE, help="Write one JSON object per line to standard output, and no log lines.")
]
Quiet = Annotated[bool, flag("--quiet", "-q", panel=_CONSOLE, help="Show no log lines, only errors.")]
Verbose = Annotated[int, verbosity(LIBRARIES_TOO, _CONSOLE)]


@dataclass(frozen=True)
class TrainOptions:
    """The options of a stage, as Typer parses them."""

    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            rich_help_panel=_LENGTH,
            help="Length of the schedule in minutes; basis: for all categories together.",
        ),
    ] = None
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=_LENGTH,
            help="Length of the schedule in steps; basis: for all categories together.",
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
            help="compact, published, or a recipe.json. Default: the recipe of the stage before; for stage I, compact.",
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
            metavar="N,N,…",
            rich_help_panel=_LEARNING,
            help="Number of codes of each basis; the list is repeated for more categories.",
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
            metavar="RATE",
            rich_help_panel=_LEARNING,
            help="The highest learning rate; with compact it decays along a cosine.",
        ),
    ] = None
    perceptual: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_LEARNING,
            help="The network of the perceptual loss: lpips (bundled, on SqueezeNet), a file of such a network "
            "(.safetensors), or lpips-vgg, lpips-alex or lpips-squeeze through the package lpips; '' for none. "
            "Default: that of the recipe; for compact, lpips.",
        ),
    ] = None
    perceptual_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="WEIGHT",
            rich_help_panel=_LEARNING,
            help="Weight of the perceptual loss; the pixel loss has the weight 1.",
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
            help="bf16, fp32, or auto: bf16 where the device is faster with it. Default: that of the recipe.json of "
            "--config, otherwise auto.",
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
        flag(
            "--slim",
            panel=_SESSION,
            help="Write only the weights into checkpoints: smaller, but resuming is less exact.",
        ),
    ] = False
    cache: Annotated[
        Literal["auto", "none", "memory", "device"],
        typer.Option(
            metavar="PLACE",
            rich_help_panel=_SESSION,
            help="Where decoded crops are kept: none, memory, device. auto: on the GPU if they fit into a quarter of "
            "its memory, otherwise in main memory if they fit into half of it.",
        ),
    ] = "auto"
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=_SESSION,
            help="Threads that make batches. Default: the number of cores, at most 8.",
        ),
    ] = None
    device: DeviceName = "auto"
    threads: Threads = None
    validate_every: Annotated[
        int,
        typer.Option(min=1, metavar="N", rich_help_panel=_SESSION, help="Steps between validations on held-out crops."),
    ] = 500
    checkpoint_every: Annotated[
        str, typer.Option(metavar="TIME", rich_help_panel=_SESSION, help="Time between checkpoints.")
    ] = "5m"
    quiet: Quiet = False
    json: AsEvents = False
    verbose: Verbose = 0

    def recipe(self, stages: tuple[StageName, ...], device: torch.device, earlier: Recipe | None = None) -> Recipe:
        """The recipe of these stages; `earlier` if no other was chosen. Raises UsageError."""
        from adacode_cli.engine.device import computes_bf16
        from adacode_cli.evaluation.perceptual import perceptual_identity
        from adacode_cli.training.overrides import overridden, read_recipe
        from adacode_cli.training.presets import named_recipe

        precision = self.precision
        if self.config is None and earlier is not None:
            recipe = earlier
            precision = precision or "auto"  # the stage before may have run on a processor with bf16
        elif self.config is not None and self.config.endswith(".json"):
            recipe = read_recipe(Path(self.config))
        else:
            recipe = named_recipe(self.config or "compact")
            precision = precision or "auto"  # a preset is for any machine; a recipe records what was computed
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
    """A length of time in seconds; a number without a unit is seconds. Raises UsageError for other texts, and for 0."""
    plain = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        plain += "s"
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(plain))
    if _PART.sub("", plain) or not 0 < seconds < math.inf:
        raise UsageError(f"{text!r} is not a length of time", hint="Write 90s, 9m, 1.5h or 1h30m.")
    return seconds
