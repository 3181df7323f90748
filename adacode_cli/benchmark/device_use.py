"""How a CUDA device spends the time of a run: kernels, copies, and nothing at all; and how often the host calls it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from adacode_cli.benchmark.intervals import common, length
from adacode_cli.benchmark.trace import Cost, Event, Trace, nested, ranked

# Runtime and driver both; their names on AMD's devices begin with "hip". A graph is one launch of many kernels.
_LAUNCH = re.compile(r"(cuda|cu|hip)\w*(LaunchKernel|LaunchCooperativeKernel|GraphLaunch)")
_WAIT = re.compile(r"(cuda|cu|hip)(Stream|Device|Ctx|Event)Synchronize|(cuda|hip)Memcpy(?!\w*Async)")
_TO_DEVICE, _FROM_DEVICE = re.compile(r"Memcpy HtoD\b|CopyHostToDevice"), re.compile(r"Memcpy DtoH\b|CopyDeviceToHost")


@dataclass(frozen=True)
class DeviceUse:
    """Shares are of the seconds of the run; kernels + copies - hidden + idle are 1.

    Kernels: those that compute, and those that fill or copy within the device. Copies: between host and device, in one
    direction or the other; hidden are those during kernels. A wait is a call in which the host stands still until the
    device has finished something. `kernels` are the ten that take most time, with shares of the time of all kernels;
    `rest_share` is that of the others.
    """

    kernels_share: float
    copies_share: float
    to_device_share: float
    from_device_share: float
    hidden_share: float
    idle_share: float
    waiting_share: float
    kernels_per_file: float
    launches_per_file: float
    waits_per_file: float
    kernels: tuple[Cost, ...]
    rest_share: float


def device_use(trace: Trace, num_files: int) -> DeviceUse | None:
    """What the trace of a run over so many files shows of the device; None where it shows no kernel."""
    computing, copies = trace.of("kernel"), trace.of("gpu_memcpy")
    if not computing:
        return None
    to_device = [event.interval for event in copies if _TO_DEVICE.search(event.name)]
    from_device = [event.interval for event in copies if _FROM_DEVICE.search(event.name)]
    across = [*to_device, *from_device]
    within = [event for event in copies if not (_TO_DEVICE.search(event.name) or _FROM_DEVICE.search(event.name))]
    kernels = [*computing, *trace.of("gpu_memset"), *within]
    at_work = [event.interval for event in kernels]
    calls = trace.of("cuda_runtime", "cuda_driver")
    launches, waits = _outermost(calls, _LAUNCH), _outermost(calls, _WAIT)
    most, rest_share = ranked((event.name, event.end - event.start) for event in kernels)

    def share(seconds: float) -> float:
        return seconds / trace.seconds

    return DeviceUse(
        kernels_share=share(length(at_work)),
        copies_share=share(length(across)),
        to_device_share=share(length(to_device)),
        from_device_share=share(length(from_device)),
        hidden_share=share(length(common(across, at_work))),
        idle_share=share(trace.seconds - length([*across, *at_work])),
        waiting_share=share(length(event.interval for event in waits)),
        kernels_per_file=len(kernels) / num_files,
        launches_per_file=len(launches) / num_files,
        waits_per_file=len(waits) / num_files,
        kernels=most,
        rest_share=rest_share,
    )


def last_kernel_s(trace: Trace) -> float:
    """When the last kernel began, in seconds since the work did; 0 without kernels."""
    return max((event.start for event in trace.of("kernel")), default=0.0)


def _outermost(calls: list[Event], pattern: re.Pattern[str]) -> list[Event]:
    """A call of the runtime may be recorded as one of the driver too, inside of it; that is one call."""
    return [event for event, depth, _ in nested(one for one in calls if pattern.match(one.name)) if depth == 0]
