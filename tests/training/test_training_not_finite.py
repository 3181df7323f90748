"""Losses and gradients that are not finite: the run stops, says where, and keeps nothing of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_families import clean_batch, repeated
from tiny_recipes import after, tiny_optimisation, tiny_recipe

from adacode_cli.errors import TrainingError
from adacode_cli.training.batches import Batch
from adacode_cli.training.checkpoint import Checkpoint, write_checkpoint
from adacode_cli.training.loop import LogInterval, Pace, Point, Step, run_loop
from adacode_cli.training.optimisation import Optimisation
from adacode_cli.training.run_names import LogLine

BATCH = clean_batch(0, num=1)
RECIPE = replace(tiny_recipe().basis, steps=9, batch=1)


class Keeping:
    """Writes real checkpoints, and records when lines were logged."""

    def __init__(self, run: Optimisation, path: Path) -> None:
        self.run, self.path = run, path
        self.kept: list[Point] = []
        self.lines: list[LogLine] = []

    def stepped(self, step: Step) -> None:
        assert step.steps > 0

    def log(self, line: LogLine) -> None:
        self.lines.append(line)

    def validate(self, steps: int) -> LogLine:
        return {}

    def keep(self, point: Point) -> None:
        self.kept.append(point)
        write_checkpoint(self.path, Checkpoint(point.steps, point.seconds, {}, *self.run.state(slim=False)))


def broken() -> Batch:
    pixels = BATCH.target_BCHW.clone()
    pixels[0, 0, 0, 0] = float("nan")
    return Batch(BATCH.input_BCHW, pixels)


@pytest.mark.parametrize("every", [0.0, 1e9])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_nothing_of_it(every, tmp_path):
    run = tiny_optimisation(RECIPE)
    keeping = Keeping(run, tmp_path / "basis.checkpoint")
    assert not run_loop(run, repeated(BATCH), keeping, Pace(), stop=after(2))
    before = keeping.path.read_bytes()
    batches = iter([BATCH, broken()]) if every else iter([broken()])
    with pytest.raises(TrainingError, match=f"the loss 'total' is nan at step {4 if every else 3}") as found:
        run_loop(run, batches, keeping, Pace(checkpoint_every_s=every), point=keeping.kept[-1])
    assert "--resume" in found.value.hint
    assert keeping.path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [keeping.path]


def test_where_the_device_is_not_waited_for_nonsense_is_named_at_the_next_line():
    window = LogInterval(lambda: 0.0, 1)
    for step in range(1, 5):
        window.add({"total": torch.tensor(1.0), "pixel": torch.tensor(math.inf if step == 3 else 1.0)})
    with pytest.raises(TrainingError, match="the loss 'pixel' is inf at step 23"):
        window.line(24)


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path):
    run = tiny_optimisation(RECIPE)
    total = run.stage.total

    def steep(terms):
        """The same value, with an infinite gradient."""
        at_zero = terms["pixel"] - terms["pixel"].detach()
        return total(terms) + at_zero.clamp(min=0).sqrt()

    run.stage.total = steep
    keeping = Keeping(run, tmp_path / "basis.checkpoint")
    with pytest.raises(TrainingError, match=r"the gradient's norm is (nan|inf) at step 1"):
        run_loop(run, repeated(BATCH), keeping, Pace(log_every=1, checkpoint_every_s=0))
    assert (keeping.kept, keeping.lines, list(tmp_path.iterdir())) == ([], [], [])
