"""The options that the stages of training share, each written once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from adacode_cli.training.settings import TrainSettings

_LENGTH = "How long"
_LEARNING = "How it learns"
_CONSOLE = "What is shown"

Photos = Annotated[
    Path,
    typer.Argument(metavar="PHOTOS", help="A directory with one sub-directory of photographs for each category."),
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="RUN", help="The run's directory, for weights, settings and logs.")
]


@dataclass(frozen=True)
class TrainOptions:
    """What a person chose for a stage, as Typer hands it over."""

    minutes: Annotated[
        float | None, typer.Option(metavar="N", rich_help_panel=_LENGTH, help="End after so many minutes of training.")
    ] = None
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=_LENGTH,
            help="End after so many steps. Default without --minutes: 10000.",
        ),
    ] = None
    batch: Annotated[int, typer.Option(min=1, metavar="N", rich_help_panel=_LEARNING, help="Crops in a step.")] = 16
    patch: Annotated[
        int,
        typer.Option(metavar="PIXELS", rich_help_panel=_LEARNING, help="Side of a crop in output pixels: 64, 128, …"),
    ] = 128
    learning_rate: Annotated[
        float, typer.Option(metavar="R", rich_help_panel=_LEARNING, help="The highest; it falls on a cosine.")
    ] = 5e-4
    perceptual: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_LEARNING,
            help="A SqueezeNet LPIPS network (.safetensors) to compare pictures with. Default: pixels alone.",
        ),
    ] = None
    perceptual_weight: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="W", rich_help_panel=_LEARNING, help="Of that comparison. Default: 0.5; restore 0.25."
        ),
    ] = None
    seed: Annotated[
        int,
        typer.Option(min=0, metavar="N", rich_help_panel=_LEARNING, help="Of first values, crops and degradations."),
    ] = 0
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        typer.Option(
            metavar="TYPE", rich_help_panel=_LEARNING, help="bf16 or fp32; auto is bf16 where that is native."
        ),
    ] = "auto"
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", rich_help_panel=_LEARNING, help="Threads that compute. Default: all cores."),
    ] = None
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", metavar="", rich_help_panel=_CONSOLE, help="No log lines, only errors.")
    ] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", metavar="", rich_help_panel=_CONSOLE, help="Tracebacks of errors.")
    ] = False

    def settings(self, perceptual_weight: float = 0.5) -> TrainSettings:
        """As training takes them; `perceptual_weight` counts where none was chosen. Raises UsageError."""
        import torch

        from adacode_cli.engine.device import computes_bf16
        from adacode_cli.training.settings import NO_STEP_LIMIT, LossWeights, TrainSettings

        auto = "bf16" if computes_bf16(torch.device("cpu")) else "fp32"
        weight = perceptual_weight if self.perceptual_weight is None else self.perceptual_weight
        return TrainSettings(
            steps=self.steps or (TrainSettings.steps if self.minutes is None else NO_STEP_LIMIT),
            minutes=self.minutes,
            batch=self.batch,
            patch=self.patch,
            learning_rate=self.learning_rate,
            seed=self.seed,
            precision=auto if self.precision == "auto" else self.precision,
            perceptual=self.perceptual,
            loss=LossWeights(perceptual=weight),
        )
