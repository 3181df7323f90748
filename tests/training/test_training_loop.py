"""The loop: when it ends, how fast it learns, what it averages, and that it stops at nonsense."""

from __future__ import annotations

import math
from itertools import count

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_families import clean_batch, packed, repeated

from adacode_cli.errors import TrainingError
from adacode_cli.training.batches import Batch
from adacode_cli.training.initialise import fresh_network
from adacode_cli.training.loop import Average, Clock, learning_rate, train
from adacode_cli.training.settings import LossWeights, TrainSettings
from adacode_cli.training.stages import BasisStage

BATCH = clean_batch(0, num=1)


def settings(**values) -> TrainSettings:
    return TrainSettings(**({"steps": 3, "batch": 1, "patch": 64, "precision": "fp32", "warmup": 1} | values))


def stage(seed: int = 0) -> BasisStage:
    return BasisStage(fresh_network(packed("basis"), seed), LossWeights(), None)


@pytest.mark.parametrize("steps", [1, 5])
def test_a_run_ends_after_its_steps(steps):
    lines = []
    trained = train(stage(), repeated(BATCH), settings(steps=steps, log_every=2), lines.append)
    assert trained.steps == steps
    assert [line["step"] for line in lines] == ([1] if steps == 1 else [2, 4, 5])
    assert trained.last == lines[-1]
    assert {"total", "pixel", "codebook", "perplexity", "used", "steps_per_s"} <= trained.last.keys()
    assert all(math.isfinite(value) for value in trained.last.values())


def test_a_run_ends_when_its_time_is_over_and_does_at_least_one_step():
    ticks = count()  # a clock that goes on by 1 s whenever it is looked at
    trained = train(stage(), repeated(BATCH), settings(steps=1000, minutes=0.2), now=lambda: float(next(ticks)))
    assert 1 < trained.steps <= 12
    assert trained.last["step"] == trained.steps
    late = count(step=10**6)
    trained = train(stage(), repeated(BATCH), settings(steps=1000, minutes=0.2), now=lambda: float(next(late)))
    assert trained.steps == 1


def test_progress_is_by_steps_or_by_time_whichever_is_further():
    times = iter([100.0, 130.0, 130.0, 200.0])
    clock = Clock(settings(steps=10, minutes=1), lambda: next(times))
    assert clock.progress(2) == pytest.approx(0.5)
    assert clock.progress(8) == pytest.approx(0.8)
    assert clock.progress(9) == 1.0


def test_learning_rate_rises_then_falls_to_its_share():
    s = settings(learning_rate=1e-3, warmup=4, final_rate=0.1)
    assert [learning_rate(s, step, 0.0) for step in range(5)] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])
    assert learning_rate(s, 100, 0.5) == pytest.approx(0.55e-3)
    assert learning_rate(s, 100, 1.0) == pytest.approx(1e-4)


@given(st.floats(0, 1), st.floats(0, 1))
def test_learning_rate_never_rises_after_the_warm_up(a, b):
    early, late = sorted((a, b))
    s = settings(warmup=4)
    assert learning_rate(s, 9, late) <= learning_rate(s, 9, early)


def test_average_follows_slowly_and_keeps_what_does_not_change():
    generator = torch.Generator().manual_seed(0)
    fixed = torch.randn(1000, generator=generator)
    state = {"moving": torch.zeros(1), "fixed": fixed, "number": torch.tensor(3)}
    average = Average(state, decay=0.9)
    seen = []
    for _ in range(200):
        average.update({"moving": torch.ones(1), "fixed": fixed, "number": torch.tensor(3)})
        seen.append(float(average.state["moving"]))
    assert seen[0] == pytest.approx(1 - 2 / 11)  # a young average forgets its first value faster
    assert seen[-1] == pytest.approx(1, abs=1e-6)
    assert seen == sorted(seen)
    assert torch.equal(average.state["fixed"], fixed)
    assert average.state["fixed"] is not fixed
    old = Average({"x": torch.zeros(1)}, decay=0.9)
    old.updates = 10_000
    old.update({"x": torch.ones(1)})
    assert float(old.state["x"]) == pytest.approx(0.1)


def test_the_result_is_the_average_and_not_the_last_step():
    a_stage = stage()
    trained = train(a_stage, repeated(BATCH), settings(steps=4, learning_rate=1e-2))
    last = a_stage.network.state_dict()
    assert trained.state.keys() == last.keys()
    assert any(not torch.equal(trained.state[k], last[k]) for k in last)


def test_first_values_of_codes_are_in_the_average():
    """k-means comes first: the average must not begin with the random codes before it."""
    a_stage = stage()
    trained = train(a_stage, repeated(BATCH), settings(steps=1, learning_rate=1e-9))
    key = "codebook.books.0.embedding.weight"
    assert torch.allclose(trained.state[key], a_stage.network.state_dict()[key], atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_is_the_same_again(precision):
    a, b = (train(stage(), repeated(BATCH), settings(precision=precision)).state for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert all(tensor.dtype == torch.float32 for tensor in a.values())


def test_a_loss_that_is_not_finite_stops_the_run():
    broken = BATCH.target_BCHW.clone()
    broken[0, 0, 0, 0] = float("nan")
    batches = iter([BATCH, BATCH, Batch(BATCH.input_BCHW, broken)])
    with pytest.raises(TrainingError, match="the loss is nan at step 1") as found:
        train(stage(), batches, settings(steps=9))
    assert "learning-rate" in found.value.hint


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_spoils_the_weights():
    class Steep(BasisStage):
        """A loss of zero whose gradient is infinite."""

        def losses(self, batch):
            terms = super().losses(batch)
            at_zero = terms["pixel"] - terms["pixel"].detach()
            return terms | {"pixel": at_zero.clamp(min=0).sqrt()}

    steep = Steep(fresh_network(packed("basis"), 0), LossWeights(), None)
    with pytest.raises(TrainingError, match=r"gradient's norm is (nan|inf) at step 0"):
        train(steep, repeated(BATCH), settings())
    assert all(bool(torch.isfinite(p).all()) for p in steep.network.parameters())
