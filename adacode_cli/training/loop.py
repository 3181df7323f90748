"""The training loop: one stage and its batches, until its steps or its time end, or until it is stopped.

In each case the run can continue: a checkpoint is written at the end and at intervals, but never for a run whose values
are not finite any more.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from adacode_cli.errors import TrainingError
from adacode_cli.training.batches import Batch
from adacode_cli.training.optimisation import Optimisation, learning_rate
from adacode_cli.training.processes import Processes
from adacode_cli.training.recipe import StageRecipe
from adacode_cli.training.run_names import LogLine

Now = Callable[[], float]
# Several processes must agree when to stop; on a GPU each check waits for the device.
AGREE_EVERY = 10


@dataclass(frozen=True)
class Pace:
    """How often a run does things that do not change its result: seconds between checkpoints, otherwise steps."""

    log_every: int = 50
    validate_every: int = 500
    checkpoint_every_s: float = 300.0


@dataclass(frozen=True)
class Point:
    """The progress of a run: steps done, and the seconds that they took."""

    steps: int = 0
    seconds: float = 0.0


_START = Point()


@dataclass(frozen=True)
class Step:
    """How far a run is: after so many of its steps. of: the steps of the whole run; 0 if its length is a time.
    progress: from 0 to 1.
    """

    steps: int
    of: int
    progress: float


class Watcher(Protocol):
    """What the loop reports to; all calls come after a step with finite losses."""

    def stepped(self, step: Step) -> None:
        """Called after every step."""

    def log(self, line: LogLine) -> None:
        """A line of the log: `step` and means since the line before."""

    def validate(self, steps: int) -> LogLine:
        """Measures the averaged weights after `steps` steps."""

    def keep(self, point: Point) -> None:
        """Writes a checkpoint."""


class Clock:
    """How much of a run is done, from 0 to 1: by steps, or by time if the recipe has minutes.

    `before`: seconds of earlier sessions of the run.
    """

    def __init__(self, recipe: StageRecipe, now: Now, before: float = 0.0) -> None:
        self.recipe, self._now = recipe, now
        self._start = now() - before

    @property
    def seconds(self) -> float:
        """Seconds of training, including earlier sessions."""
        return self._now() - self._start

    def progress(self, step: int) -> float:
        """The progress after `step` finished steps and the time since the start."""
        done = step / self.recipe.steps
        if self.recipe.minutes:
            done = max(done, self.seconds / (60 * self.recipe.minutes))
        return min(done, 1.0)


class LogInterval:
    """The steps since the last line of the log: their losses, and how the time was spent."""

    def __init__(self, now: Now, images_a_step: int) -> None:
        self._now, self._images = now, images_a_step
        self._values: list[dict[str, Tensor]] = []
        self._since, self._waited = now(), 0.0

    def waiting(self, batches: Iterator[Batch]) -> Batch:
        """The next batch; the time until it is available counts as waiting."""
        start = self._now()
        batch = next(batches)
        self._waited += self._now() - start
        return batch

    def add(self, values: dict[str, Tensor]) -> None:
        """Adds one step's losses, which may be on any device."""
        self._values.append(values)

    def line(self, step: int) -> LogLine:
        """Means of all steps since the last line. Raises TrainingError, naming the step, where one is not finite."""
        lines = _floats(self._values)
        for i, values in enumerate(lines, step - len(lines) + 1):
            require_finite(values, i)
        seconds = max(self._now() - self._since, 1e-9)
        means = {k: sum(v[k] for v in lines if k in v) / sum(k in v for v in lines) for k in lines[-1]}
        speed = {"images_per_s": len(lines) * self._images / seconds, "waiting": min(1.0, self._waited / seconds)}
        self._values, self._since, self._waited = [], self._now(), 0.0
        return {"step": step, **means, **speed}


def run_loop(
    optimisation: Optimisation,
    batches: Iterator[Batch],
    watcher: Watcher,
    pace: Pace,
    *,
    point: Point = _START,
    stop: Callable[[], bool] = lambda: False,
    now: Now = time.monotonic,
) -> bool:
    """Trains from `point` until the recipe's end (True) or until `stop` (False).

    batches: those from number `point.steps` on. Raises TrainingError when a loss or a gradient stops being finite;
    the last checkpoint is then unchanged. Several processes must end by steps, because each has its own clock.
    """
    recipe, processes = optimisation.recipe, optimisation.stage.processes
    clock, device = Clock(recipe, now, point.seconds), optimisation.stage.device
    interval, kept, steps = LogInterval(now, recipe.batch), now(), point.steps
    progress, stopped = clock.progress(steps) if steps else 0.0, False
    while progress < 1 and not stopped:
        values = optimisation.step(interval.waiting(batches).to(device), steps, progress)
        interval.add(values)
        rate = learning_rate(recipe.optimiser, steps, progress)
        steps += 1
        if device.type == "cpu":  # without waiting for a device, values that are not finite are found at once
            require_finite(_floats([values])[0], steps)
        progress, stopped = clock.progress(steps), _agreed(stop, processes, steps)
        watcher.stepped(Step(steps, 0 if recipe.minutes else recipe.steps, progress))
        due = now() - kept > pace.checkpoint_every_s
        last = progress >= 1 or stopped
        judged = steps % pace.validate_every == 0 or progress >= 1
        if steps % pace.log_every == 0 or judged or last or due:
            line = interval.line(steps) | {"learning_rate": rate, "seconds": clock.seconds}
            line |= {"memory_mb": memory_mb(device)} | optimisation.stage.report()
            if judged:
                line |= watcher.validate(steps)
            watcher.log(line)
        if due or last:
            watcher.keep(Point(steps, clock.seconds))
            kept = now()
    return progress >= 1


def _agreed(stop: Callable[[], bool], processes: Processes, step: int) -> bool:
    """Whether any process wants to stop; all must learn this at the same step."""
    waits = processes.world > 1 and processes.device.type != "cpu" and step % AGREE_EVERY
    return False if waits else processes.any(stop())


def require_finite(values: LogLine, step: int) -> None:
    """Raises TrainingError for a loss or gradient that is not finite; `step` counts from 1."""
    for name, value in values.items():
        if not math.isfinite(value):
            norms = {"gradient": "the gradient's norm", "discriminator_gradient": "the discriminator's gradient norm"}
            what = norms.get(name, f"the loss {name!r}")
            hint = (
                "Lower --learning-rate or choose --precision fp32, and continue with --resume from the last checkpoint."
            )
            raise TrainingError(f"{what} is {value} at step {step}", hint=hint)


def memory_mb(device: torch.device) -> float:
    """Highest memory of this process so far in MB: a CUDA device's, else resident; 0 on Windows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def _floats(lines: list[dict[str, Tensor]]) -> list[LogLine]:
    """All values in one transfer from the device."""
    flat = torch.stack([value.float() for values in lines for value in values.values()]).tolist()
    numbers = iter(flat)
    return [{name: next(numbers) for name in values} for values in lines]
