"""Seconds of a call, on whatever device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


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
