"""The training loop: one stage, its batches, an optimiser, an average of the weights, and a log.

A run ends by steps or by the clock, and never with weights that are not finite.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from adacode_cli.errors import TrainingError
from adacode_cli.training.batches import Batch
from adacode_cli.training.settings import TrainSettings
from adacode_cli.training.stages import Stage

LogLine = dict[str, float]
Now = Callable[[], float]


@dataclass(frozen=True)
class Trained:
    """Result of a run: the averaged state dict, the steps done and the last log line."""

    state: dict[str, Tensor]
    steps: int
    last: LogLine


class Clock:
    """How much of a run is done, from 0 to 1: by steps, or by time where a limit is given. `now` is in seconds."""

    def __init__(self, settings: TrainSettings, now: Now) -> None:
        self.settings = settings
        self.now = now
        self.start = now()

    def progress(self, step: int) -> float:
        """What `step` finished steps and the time since the start amount to."""
        done = step / self.settings.steps
        if self.settings.minutes is not None:
            done = max(done, (self.now() - self.start) / (60 * self.settings.minutes))
        return min(done, 1.0)


def learning_rate(settings: TrainSettings, step: int, progress: float) -> float:
    """Linear warm-up over the first steps, then a cosine from `learning_rate` to `final_rate` times that."""
    low = settings.final_rate
    cosine = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress))
    return settings.learning_rate * cosine * min(1.0, (step + 1) / settings.warmup)


class Average:
    """Exponential moving average of a state dict's floating tensors; young averages forget faster."""

    def __init__(self, state: dict[str, Tensor], decay: float) -> None:
        self.state = {k: v.detach().clone() for k, v in state.items()}
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, state: dict[str, Tensor]) -> None:
        """Moves the average towards `state`; tensors that did not change stay as they are, bit for bit."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        names = [k for k, v in self.state.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.state[k] for k in names], [state[k] for k in names], 1 - decay)


class Log:
    """Means of what the steps report, one line every so many steps."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._since = now()
        self._window: list[LogLine] = []

    def add(self, values: LogLine) -> None:
        """Takes up one step."""
        self._window.append(values)

    def line(self, step: int, more: LogLine) -> LogLine:
        """The means since the last line, and `steps_per_s`."""
        num, now = len(self._window), self._now()
        means = {k: sum(w[k] for w in self._window) / num for k in self._window[0]}
        rate = num / max(now - self._since, 1e-9)
        self._window, self._since = [], now
        return {"step": step, **means, **more, "steps_per_s": rate}


class Optimisation:
    """One stage's optimiser, averaged weights and precision."""

    def __init__(self, stage: Stage, settings: TrainSettings, first: Batch) -> None:
        torch.manual_seed(settings.seed)
        self.stage, self.settings = stage, settings
        self.network = stage.network.train()
        self.optimiser = torch.optim.Adam(stage.parameters(), settings.learning_rate, settings.betas)
        with self._autocast():
            stage.begin(first)
        self.average = Average(self.network.state_dict(), settings.ema)

    def step(self, batch: Batch, step: int, progress: float) -> LogLine:
        """One step (numbered from 0); returns the loss and its terms. Raises TrainingError if they are not finite."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, step, progress)
        with self._autocast():
            terms = self.stage.losses(batch)
            total = self.stage.total(terms)
        values = {"total": float(total.detach()), **{k: float(v.detach()) for k, v in terms.items()}}
        self._require_finite("loss", values["total"], step)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.stage.parameters(), self.settings.clip)
        self._require_finite("gradient's norm", float(norm), step)
        self.optimiser.step()
        self.average.update(self.network.state_dict())
        with self._autocast():
            self.stage.after_step(step + 1, progress, batch)
        return values

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.settings.precision == "bf16")

    @staticmethod
    def _require_finite(what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} is {value} at step {step}", hint="Lower --learning-rate, or use --precision fp32."
            )


def train(
    stage: Stage,
    batches: Iterator[Batch],
    settings: TrainSettings,
    on_log: Callable[[LogLine], None] = lambda _: None,
    *,
    now: Now = time.monotonic,
) -> Trained:
    """Runs a stage to its end, for at least one step, and returns the averaged weights.

    Raises TrainingError when the loss or a gradient stops being finite.
    """
    clock = Clock(settings, now)
    optimisation = Optimisation(stage, settings, next(batches))
    log, line = Log(now), LogLine()
    step, progress = 0, 0.0
    while progress < 1:
        log.add(optimisation.step(next(batches), step, progress))
        step += 1
        progress = clock.progress(step)
        if step % settings.log_every == 0 or progress >= 1:
            line = log.line(step, stage.report())
            on_log(line)
    return Trained(optimisation.average.state, step, line)
