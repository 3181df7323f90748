"""The loop: when it ends, and what it tells of and when."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from statistics import fmean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_families import clean_batch, repeated
from tiny_recipes import after, tiny_optimisation, tiny_recipe, tiny_restoring

from adacode_cli.training.batches import Batch
from adacode_cli.training.loop import Clock, LogInterval, LogLine, Pace, Point, Step, run_loop
from adacode_cli.training.optimisation import Optimisation, learning_rate
from adacode_cli.training.recipe import StageRecipe

BATCH = clean_batch(0, num=1)
DEGRADED = Batch(torch.nn.functional.avg_pool2d(BATCH.target_BCHW, 2), BATCH.target_BCHW)


def stage_recipe(**values) -> StageRecipe:
    return replace(tiny_recipe().basis, **({"steps": 3, "batch": 1} | values))


@dataclass
class Witness:
    """Remembers what the loop tells, in order."""

    lines: list[LogLine] = field(default_factory=list)
    validated: list[int] = field(default_factory=list)
    kept: list[Point] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def stepped(self, step: Step) -> None:
        self.steps.append(step)

    def log(self, line: LogLine) -> None:
        self.lines.append(line)
        self.calls.append("log")

    def validate(self, steps: int) -> LogLine:
        self.validated.append(steps)
        self.calls.append("validate")
        return {"validation/psnr": 10.0 + steps}

    def keep(self, point: Point) -> None:
        self.kept.append(point)
        self.calls.append("keep")


def ticking(step: float = 1.0):
    """A clock that goes on by `step` seconds whenever it is looked at."""
    ticks = count()
    return lambda: next(ticks) * step


def watched(run: Optimisation, pace: Pace, batches: Iterator[Batch] | None = None, **more) -> tuple[bool, Witness]:
    witness = Witness()
    ended = run_loop(run, batches or repeated(BATCH), witness, pace, **({"now": lambda: 0.0} | more))
    return ended, witness


@pytest.mark.parametrize(("steps", "logged"), [(1, [1]), (4, [2, 4]), (5, [2, 4, 5])])
def test_a_run_ends_after_its_steps(steps, logged):
    ended, seen = watched(tiny_optimisation(stage_recipe(steps=steps)), Pace(log_every=2, validate_every=4))
    assert ended
    assert [line["step"] for line in seen.lines] == logged
    assert seen.steps == [Step(step, steps, step / steps) for step in range(1, steps + 1)]
    assert seen.validated == sorted({4, steps} & set(range(1, steps + 1)))
    assert [point.steps for point in seen.kept] == [steps]
    assert seen.calls[-2:] == ["log", "keep"]
    measured = {
        "images_per_s",
        "waiting",
        "memory_mb",
        "learning_rate",
        "seconds",
        "perplexity/basis 1",
        "used/basis 1",
    }
    for line in seen.lines:
        assert line.keys() >= {"step", "total", "pixel", "codebook", "gradient", *measured}
        assert all(math.isfinite(value) for value in line.values())
        assert line["memory_mb"] > 10
        assert 1 <= line["perplexity/basis 1"] <= 16
        assert 0 < line["used/basis 1"] <= 1
    assert seen.lines[-1]["validation/psnr"] == 10.0 + steps


def test_scores_come_when_they_are_due_whether_or_not_a_line_is():
    _, seen = watched(tiny_optimisation(stage_recipe(steps=8)), Pace(log_every=4, validate_every=3))
    assert seen.validated == [3, 6, 8]
    assert [line["step"] for line in seen.lines] == [3, 4, 6, 8]
    assert ["validation/psnr" in line for line in seen.lines] == [True, False, True, True]


def test_a_run_ends_when_its_time_is_over():
    recipe = stage_recipe(steps=1000, minutes=0.5)
    ended, seen = watched(tiny_optimisation(recipe), Pace(), now=ticking())
    assert ended
    assert 1 < seen.kept[-1].steps <= 30
    assert seen.kept[-1].seconds >= 30
    ended, seen = watched(tiny_optimisation(recipe), Pace(), now=ticking(1e6))
    assert (ended, seen.kept[-1].steps) == (True, 1)


def test_time_of_earlier_sessions_counts():
    recipe = stage_recipe(steps=1000, minutes=0.5)
    ended, seen = watched(tiny_optimisation(recipe), Pace(), now=ticking(0.25), point=Point(40, 29.0))
    assert ended
    assert 41 <= seen.kept[-1].steps <= 44
    assert seen.lines[0]["seconds"] > 29


@pytest.mark.parametrize("point", [Point(3, 1.0), Point(7, 1.0)])
def test_a_run_that_is_over_is_not_trained_on(point):
    run = tiny_optimisation(stage_recipe(steps=3))
    before = {k: v.clone() for k, v in run.network.state_dict().items()}
    ended, seen = watched(run, Pace(), point=point)
    assert (ended, seen.calls) == (True, [])
    assert all(torch.equal(v, before[k]) for k, v in run.network.state_dict().items())


def test_somebody_may_stop_it():
    ended, seen = watched(tiny_optimisation(stage_recipe(steps=9)), Pace(log_every=2), stop=after(3))
    assert not ended
    assert [line["step"] for line in seen.lines] == [2, 3]
    assert (seen.validated, [point.steps for point in seen.kept]) == ([], [3])
    ended, seen = watched(tiny_optimisation(stage_recipe(steps=3)), Pace(), stop=after(3))
    assert ended, "a stop at the very end is the end"


def test_progress_is_by_steps_or_by_time_whichever_is_further():
    times = iter([100.0, 130.0, 130.0, 200.0])
    clock = Clock(stage_recipe(steps=10, minutes=1), lambda: next(times))
    assert clock.progress(2) == pytest.approx(0.5)
    assert clock.progress(8) == pytest.approx(0.8)
    assert clock.progress(9) == 1.0


@given(st.integers(0, 200), st.floats(0, 1e4), st.floats(0, 5))
def test_progress_never_falls_and_ends_at_one(step, second, minutes):
    now = [0.0]
    clock = Clock(stage_recipe(steps=100, minutes=minutes), lambda: now[0])
    now[0] = second
    here = clock.progress(step)
    assert 0 <= here <= clock.progress(step + 1) <= 1
    assert (here == 1) == (step >= 100 or (minutes > 0 and second / (60 * minutes) >= 1))
    now[0] += 1
    assert clock.progress(step) >= here


def test_the_rate_that_is_reported_is_the_one_that_was_learnt_at():
    recipe = stage_recipe(steps=6)
    used, run = [], tiny_optimisation(recipe)
    run.optimiser.register_step_pre_hook(lambda adam, *_: used.append(adam.param_groups[0]["lr"]))
    _, seen = watched(run, Pace(log_every=1))
    assert [line["learning_rate"] for line in seen.lines] == used
    assert used == [learning_rate(recipe.optimiser, step, step / 6) for step in range(6)]


@settings(max_examples=40)
@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=9), st.integers(0, 8))
def test_a_line_is_the_mean_of_its_window_and_of_late_terms_since_they_are_there(totals, late):
    now = [0.0]
    window = LogInterval(lambda: now[0], images_a_step=4)
    steps = [
        {"total": torch.tensor(v)} | ({"late": torch.tensor(2 * v)} if i >= late else {}) for i, v in enumerate(totals)
    ]
    for _ in range(2):  # the second window knows nothing of the first
        for values in steps:
            window.waiting(delayed(now, 0.5))
            window.add(values)
            now[0] += 1.5
        line = window.line(len(totals))
        assert line["total"] == pytest.approx(fmean(totals), abs=1e-6)
        assert ("late" in line) == (late < len(totals))
        if late < len(totals):
            assert line["late"] == pytest.approx(2 * fmean(totals[late:]), abs=1e-6)
        assert line["images_per_s"] == pytest.approx(2.0)
        assert line["waiting"] == pytest.approx(0.25)


def delayed(now: list[float], seconds: float) -> Iterator[Batch]:
    """Batches that take so long."""
    while True:
        now[0] += seconds
        yield BATCH


def test_the_adversary_joins_in_the_middle_of_a_window():
    run = tiny_restoring()
    run.recipe = replace(run.recipe, steps=4, adversarial_from=0.5)
    losses_of_steps, step = [], run.step
    run.step = lambda *a: losses_of_steps.append(step(*a)) or losses_of_steps[-1]
    _, seen = watched(run, Pace(log_every=4), repeated(DEGRADED))
    late = [float(values["adversarial"]) for values in losses_of_steps if "adversarial" in values]
    assert len(late) == 2
    assert seen.lines[0]["adversarial"] == pytest.approx(fmean(late))
    assert seen.lines[0]["pixel"] == pytest.approx(fmean(float(values["pixel"]) for values in losses_of_steps))


def test_checkpoints_come_with_a_line_whenever_their_time_is_over():
    """Without the line, a session that goes on would average over steps that are not its own."""
    recipe = stage_recipe(steps=6)
    _, seen = watched(tiny_optimisation(recipe), Pace(log_every=100, checkpoint_every_s=3), now=ticking())
    assert 2 < len(seen.kept) < 6
    assert [line["step"] for line in seen.lines] == [point.steps for point in seen.kept]
    assert [point.seconds for point in seen.kept] == sorted(point.seconds for point in seen.kept)
    assert all(a == "log" for a, b in zip(seen.calls, seen.calls[1:], strict=False) if b == "keep")
    _, seen = watched(tiny_optimisation(recipe), Pace(log_every=100, checkpoint_every_s=1e9), now=ticking())
    assert [point.steps for point in seen.kept] == [6]
