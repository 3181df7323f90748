"""The order of batches: which process makes which samples, and threads that work ahead without changing it."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adacode_cli.errors import TrainingError
from adacode_cli.training.batches import AHEAD, TRAINING, Batch, Order, ordered


def numbered(number: int, stream: int) -> Batch:
    """Later ones are ready sooner."""
    assert stream == TRAINING
    time.sleep(0.002 * (3 - number % 4))
    return Batch(torch.tensor(number), torch.tensor(number))


def numbers(batches, count: int) -> list[int]:
    return [int(batch.input_BCHW) for batch in islice(batches, count)]


def batch_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("adacode-batch")]


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**40), st.integers(0, 10**6), st.integers(0, 1))
def test_processes_share_samples_without_gap_or_overlap(world, each, seed, number, stream):
    def draws(order: Order) -> list[int]:
        return [int(rng.integers(2**60)) for rng in order.generators(number, stream)]

    whole = draws(Order(seed, world * each))
    assert [d for rank in range(world) for d in draws(Order(seed, world * each, rank, world))] == whole
    assert len(set(whole)) == world * each


def test_seeds_streams_batches_and_samples_are_independent_of_one_another():
    """Also where a seed of 64 bits takes the place of two of 32."""
    seeds = (0, 1, 2, 2**32, 2**32 + 1, 2**33, 2**63)
    places = [(seed, number, stream) for seed in seeds for number in range(20) for stream in range(2)]
    draws = [int(rng.integers(2**60)) for s, n, k in places for rng in Order(s, 3).generators(n, k)]
    assert len(set(draws)) == len(places) * 3


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 7), st.integers(0, 10**9))
def test_batches_come_in_order_however_many_threads_make_them(workers, start):
    with closing(ordered(numbered, start, workers)) as batches:
        assert numbers(batches, 9) == [*range(start, start + 9)]
    assert batch_threads() == []


def test_a_few_are_made_ahead_and_no_more():
    made = []

    def noted(number: int, stream: int) -> Batch:
        made.append(number)
        return numbered(number, stream)

    with closing(ordered(noted, 0, 2)) as batches:
        numbers(batches, 3)
    assert set(range(3)) <= set(made) <= set(range(2 + AHEAD))
    made.clear()
    with closing(ordered(noted, 0, 0)) as batches:
        numbers(batches, 3)
    assert made == [0, 1, 2]


def test_nothing_starts_before_the_first_batch_is_wanted():
    batches = ordered(numbered, 0, 2)
    assert batch_threads() == []
    batches.close()
    batches = ordered(numbered, 0, 2)
    next(batches)
    assert len(batch_threads()) > 0
    batches.close()
    assert batch_threads() == []


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_in_a_thread_reaches_the_loop_in_its_turn_and_ends_the_threads(workers):
    def broken(number: int, stream: int) -> Batch:
        if number == 2:
            raise TrainingError("a damaged shard")
        return numbered(number, stream)

    batches = ordered(broken, 0, workers)
    assert numbers(batches, 2) == [0, 1]
    with pytest.raises(TrainingError, match="a damaged shard"):
        next(batches)
    assert batch_threads() == []
