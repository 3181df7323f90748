"""Seconds of a call, on any device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
# Calls in each lane, so that filling and emptying the lanes has little effect.
_ROUNDS = 4


def in_lanes(work: Callable[[T], object], tasks: Sequence[T], lanes: int) -> None:
    """Does all tasks in `lanes` threads; with one lane, in the calling thread. Results are freed at once."""
    if lanes == 1:
        for task in tasks:
            work(task)
        return

    def done(task: T) -> None:  # a future would keep the result of `work`
        work(task)

    with ThreadPoolExecutor(lanes) as threads:
        for future in [threads.submit(done, task) for task in tasks]:
            future.result()


def steady_seconds(run: Callable[[], object], repeats: int, device: torch.device, lanes: int) -> float:
    """Wall-clock time of a call among many, where `lanes` threads call: `seconds` on a CPU, whose lane is one."""
    if lanes == 1:
        return seconds(run, repeats, device)
    calls = lanes * _ROUNDS
    return seconds(lambda: in_lanes(lambda _: run(), range(calls), lanes), repeats, device) / calls


def seconds(run: Callable[[], object], repeats: int, device: torch.device | None = None) -> float:
    """Median wall-clock time of `repeats` calls after one that is not counted; the device has finished each one."""
    _finish(run, device)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        _finish(run, device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _finish(run: Callable[[], object], device: torch.device | None) -> None:
    run()
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device is not None and device.type == "mps":
        torch.mps.synchronize()
