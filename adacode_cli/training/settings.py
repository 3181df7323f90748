"""Every number of a training run in one frozen value, written beside its results."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from adacode_cli.errors import UsageError
from adacode_cli.training.degradation import DegradationSettings

# `steps` of a run that only the clock ends.
NO_STEP_LIMIT = 10**9
# Windows of attention are 8 latent cells of 8 output pixels a side in both families.
WINDOW_PX = 64


@dataclass(frozen=True)
class LossWeights:
    """Factors of the loss terms; 0 switches a term off. Paper, section 3 and its published settings."""

    pixel: float = 1.0
    perceptual: float = 0.5
    codebook: float = 1.0
    commitment: float = 0.25
    feature: float = 0.1


@dataclass(frozen=True)
class TrainSettings:
    """One stage's run. Raises UsageError for values that no run can have.

    patch: output pixels a side of a crop; batch: crops a step. The run ends after `steps`, or `minutes` when given,
    whichever comes first, and the learning rate rises over `warmup` steps, then falls on a cosine towards that end,
    to `final_rate` times itself. ema: decay a step of the averaged weights, which are the result. clip: largest
    norm of a gradient. precision: "bf16" or "fp32". seed: 0 or more.
    """

    steps: int = 10_000
    minutes: float | None = None
    batch: int = 16
    patch: int = 128
    learning_rate: float = 5e-4
    final_rate: float = 0.02
    warmup: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    precision: str = "bf16"
    perceptual: Path | None = None
    log_every: int = 50
    loss: LossWeights = field(default_factory=LossWeights)
    degradation: DegradationSettings = field(default_factory=DegradationSettings)

    def __post_init__(self) -> None:
        problems = [text for wrong, text in self._checks() if wrong]
        if problems:
            raise UsageError(f"these training settings are impossible: {'; '.join(problems)}")

    def _checks(self) -> list[tuple[bool, str]]:
        low, high = self.degradation.quality
        return [
            (self.patch < 1 or self.patch % WINDOW_PX != 0, f"patch {self.patch} is not a multiple of {WINDOW_PX}"),
            (self.steps < 1 or self.batch < 1, "steps and batch are at least 1"),
            (self.minutes is not None and not 0 < self.minutes < math.inf, "minutes are more than 0"),
            (not 0 < self.learning_rate < math.inf, "the learning rate is more than 0"),
            (self.warmup < 1 or self.log_every < 1, "warmup and log_every are at least 1"),
            (not 0 <= self.ema < 1, "ema is from 0 to below 1"),
            (self.seed < 0, "the seed is 0 or more"),
            (self.precision not in ("bf16", "fp32"), f"precision {self.precision!r} is not bf16 or fp32"),
            (not 1 <= low <= high <= 100, "JPEG quality is from 1 to 100"),
        ]
