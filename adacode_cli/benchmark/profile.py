"""How a run over files spends its time: its stages, and what the device or the operators do in the meantime."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from adacode_cli.benchmark.files import jpegs, run_over, side_of
from adacode_cli.benchmark.image import synthetic_image
from adacode_cli.benchmark.stage_times import RUN, Sharing, StageTimes, WatchedStages, sharing
from adacode_cli.benchmark.trace import DeviceUse, OperatorUse, Trace, device_use, last_kernel_s, operator_use, traced
from adacode_cli.engine.restorer import Restorer

_LATER = 2


@dataclass(frozen=True)
class FirstImage:
    """Seconds of the engine for the first image of a process, with loaded weights, and for each later one."""

    seconds: float
    later_seconds: float


@dataclass(frozen=True)
class Profile:
    """A run over `count` files of `megapixels` each, in `seconds` under the profiler.

    device is for CUDA, operators for a CPU. note: a remark on the figures for the user, or None.
    """

    count: int
    megapixels: float
    seconds: float
    first: FirstImage
    sharing: Sharing
    device: DeviceUse | None
    operators: OperatorUse | None
    note: str | None


def first_image(restorer: Restorer, scale: float, megapixels: float) -> FirstImage:
    """Restores a synthetic image a few times. Call it before anything else has used the device.

    Raises WeightsError and DeviceError.
    """
    side, took = side_of(megapixels), []
    restorer.prepare("sr", scale)
    for seed in range(1 + _LATER):
        pixels = synthetic_image(side, side, seed)
        start = time.perf_counter()
        restorer.sr(pixels, scale)
        took.append(time.perf_counter() - start)
    return FirstImage(took[0], statistics.median(took[1:]))


def profile(
    restorer: Restorer, scale: float, count: int, megapixels: float, *, device: torch.device, first: FirstImage
) -> Profile:
    """Profiles a run over synthetic JPEGs as in `files`. The restorer should have restored such files before.

    Raises what `files` does.
    """
    times = StageTimes()
    with jpegs(count, megapixels) as source:
        run = run_over(restorer, scale, source, partial(WatchedStages, times=times))
        trace = traced(partial(_timed, run, times), device)
    on_device = device_use(trace, count) if trace and device.type == "cuda" else None
    operators = operator_use(trace) if trace and device.type == "cpu" else None
    ((began, ended),) = times.of(RUN)
    note = _note(device, trace, on_device, operators, max(start for start, _ in times.of("infer")) - began)
    size = side_of(megapixels) ** 2 / 1e6
    return Profile(count, size, ended - began, first, sharing(times), on_device, operators, note)


def _timed(run: Callable[[], None], times: StageTimes) -> None:
    with times.during(RUN):
        run()


def _note(
    device: torch.device,
    trace: Trace | None,
    on_device: DeviceUse | None,
    operators: OperatorUse | None,
    last_infer_s: float,
) -> str | None:
    if trace is None:
        return f"torch's profiler does not record {device.type} devices: only the stages were measured"
    if device.type == "cuda" and on_device is None:
        return "the profiler recorded no kernel, so only the stages were measured: check whether the driver allows it"
    if on_device and last_kernel_s(trace) < last_infer_s:
        return "the record of the device ends before the run does: use fewer --files, or a smaller --megapixels"
    if device.type == "cpu" and operators is None:
        return "the network ran in threads that the profiler does not record: only the stages were measured"
    return None
