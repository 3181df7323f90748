"""Batches: what the network sees, what it should return, and that threads change nothing."""

from __future__ import annotations

import threading
from contextlib import closing
from itertools import islice, pairwise

import pytest
import torch

from adacode_cli.errors import TrainingError, UsageError
from adacode_cli.training.batches import clean_batches, crop_side, degraded_batches, holed_batches, ordered
from adacode_cli.training.settings import TrainSettings

SETTINGS = TrainSettings(batch=2, patch=64)


def first(make, num: int, seed: int = 0, workers: int = 2):
    with closing(ordered(make, seed, workers)) as batches:
        return list(islice(batches, num))


def same(a, b) -> bool:
    return torch.equal(a.input_BCHW, b.input_BCHW) and torch.equal(a.target_BCHW, b.target_BCHW)


def makers(corpus):
    return [
        clean_batches(corpus, SETTINGS, "sky"),
        degraded_batches(corpus, SETTINGS, 2),
        degraded_batches(corpus, SETTINGS, 4),
        holed_batches(corpus, SETTINGS, mask_channel=True),
        holed_batches(corpus, SETTINGS, mask_channel=False),
    ]


@pytest.mark.parametrize("kind", range(5))
def test_batches_depend_on_seed_and_number_and_not_on_the_threads(corpus, kind):
    make = makers(corpus)[kind]
    alone, many = first(make, 7, workers=1), first(make, 7, workers=5)
    assert all(same(a, b) for a, b in zip(alone, many, strict=True))
    assert not any(same(a, b) for a, b in pairwise(alone))
    assert not same(alone[0], first(make, 1, seed=1)[0])


def test_clean_batches_are_their_own_target(corpus):
    batch = first(clean_batches(corpus, SETTINGS, None), 1)[0]
    assert batch.input_BCHW.shape == (2, 3, 64, 64)
    assert batch.hole_B1HW is None
    assert torch.equal(batch.input_BCHW, batch.target_BCHW)
    assert 0 <= batch.input_BCHW.min() < batch.input_BCHW.max() <= 1


@pytest.mark.parametrize("scale", [2, 4])
def test_degraded_batches_are_smaller_by_the_scale(corpus, scale):
    batch = first(degraded_batches(corpus, SETTINGS, scale), 1)[0]
    assert batch.input_BCHW.shape == (2, 3, 64 // scale, 64 // scale)
    assert batch.target_BCHW.shape == (2, 3, 64, 64)


def test_holed_batches_hide_the_hole_and_nothing_else(corpus):
    for batch in first(holed_batches(corpus, SETTINGS, mask_channel=True), 3):
        image, hole = batch.input_BCHW[:, :3], batch.input_BCHW[:, 3:]
        assert torch.equal(hole, batch.hole_B1HW)
        assert set(hole.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(image, batch.target_BCHW * (1 - hole))
    for batch in first(holed_batches(corpus, SETTINGS, mask_channel=False), 3):
        expected = torch.where(batch.hole_B1HW > 0, torch.ones(()), batch.target_BCHW)
        assert torch.equal(batch.input_BCHW, expected)


def test_photographs_too_small_for_the_crops_are_refused_before_any_work(corpus):
    wide = TrainSettings(patch=128)
    assert crop_side(128, 4) == 160 == corpus.least_side
    degraded_batches(corpus, wide, 4)
    for make in (
        lambda: clean_batches(corpus, TrainSettings(patch=192), None),
        lambda: degraded_batches(corpus, TrainSettings(patch=192), 2),
        lambda: holed_batches(corpus, TrainSettings(patch=192), mask_channel=True),
    ):
        with pytest.raises(TrainingError, match="are wanted from photographs of 160 px"):
            make()


def test_an_error_in_a_thread_reaches_the_loop_and_closing_ends_the_threads():
    def make(rng):
        raise TrainingError("broken")

    batches = ordered(make, 0)
    with pytest.raises(TrainingError, match="broken"):
        next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("adacode-batch")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"patch": 100},
        {"patch": 0},
        {"batch": 0},
        {"steps": 0},
        {"minutes": 0.0},
        {"minutes": float("nan")},
        {"learning_rate": 0.0},
        {"warmup": 0},
        {"log_every": 0},
        {"ema": 1.0},
        {"seed": -1},
        {"precision": "fp16"},
    ],
    ids=str,
)
def test_impossible_settings_are_usage_errors(wrong):
    with pytest.raises(UsageError):
        TrainSettings(**wrong)
