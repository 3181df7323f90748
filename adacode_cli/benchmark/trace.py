"""What torch's profiler recorded of a run: how a CUDA device, or a network's thread on a CPU, spends its time.

The events are read from the trace that the profiler writes for Chrome. The format of that file has been stable for
years, while the Python interface to kernels changes between versions.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity

from adacode_cli.benchmark.stage_times import INFER, Interval, common, length
from adacode_cli.errors import OutputError, translated

WORK = "adacode work"
"""Name of the annotation around all that is traced."""
MAX_NAMED = 10
_ACTIVITIES = {
    "cpu": [ProfilerActivity.CPU],
    "cuda": [ProfilerActivity.CPU, ProfilerActivity.CUDA],  # annotations are among those of the CPU
}
# The library under the profiler logs its start and stop on standard error at every level below this one.
_SILENT = "99"
# Runtime and driver both; their names on AMD's devices begin with "hip". A graph is one launch of many kernels.
_LAUNCH = re.compile(r"(cuda|cu|hip)\w*(LaunchKernel|LaunchCooperativeKernel|GraphLaunch)")
_WAIT = re.compile(r"(cuda|cu|hip)(Stream|Device|Ctx|Event)Synchronize|(cuda|hip)Memcpy(?!\w*Async)")
_TO_DEVICE, _FROM_DEVICE = re.compile(r"Memcpy HtoD\b|CopyHostToDevice"), re.compile(r"Memcpy DtoH\b|CopyDeviceToHost")


class TraceEvent(NamedTuple):
    """Something that took time. start, end: in seconds since the work began. thread: which one of which process."""

    name: str
    category: str
    thread: tuple[Any, Any]
    start: float
    end: float

    @property
    def interval(self) -> Interval:
        """From start to end."""
        return self.start, self.end


@dataclass(frozen=True)
class Trace:
    """The events of `seconds` of work, cut off where it begins and ends. `thread` is the one that did the work."""

    seconds: float
    thread: tuple[Any, Any]
    events: tuple[TraceEvent, ...]

    def of(self, *categories: str) -> list[TraceEvent]:
        """The events of some categories, as the profiler names them: "kernel", "cpu_op" and others."""
        return [event for event in self.events if event.category in categories]


def traced(work: Callable[[], object], device: torch.device) -> Trace | None:
    """Does the work and returns its trace on the CPU or a CUDA device; None for devices that are not profiled.

    Raises what the work does, and OutputError where the trace cannot be written to the temporary folder.
    """
    if device.type not in _ACTIVITIES:
        work()
        return None
    os.environ.setdefault("KINETO_LOG_LEVEL", _SILENT)
    profiling = torch.profiler.profile(activities=_ACTIVITIES[device.type], acc_events=True)
    with profiling as profiler, torch.profiler.record_function(WORK):
        work()
    with tempfile.TemporaryDirectory(prefix="adacode-bench-") as folder:
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        return read_trace(path)


def read_trace(path: Path) -> Trace:
    """The events within the annotation `WORK`. Raises OutputError if the file is not whole."""
    what = "the trace of the profiler cannot be read"
    hint = "Set TMPDIR to a folder with more room, or use fewer --files."
    try:
        with translated(OutputError, what, path, hint=hint):
            trace_events = json.loads(path.read_text(encoding="utf-8", errors="replace"), strict=False)["traceEvents"]
        (work,) = (one for one in trace_events if one.get("name") == WORK and one.get("cat") == "user_annotation")
    except (ValueError, KeyError) as error:
        raise OutputError(f"{what}: it is incomplete", path=path, hint=hint) from error
    return Trace(work["dur"] / 1e6, _thread(work), tuple(_within(trace_events, work["ts"], work["dur"])))


def _within(trace_events: Iterable[dict[str, Any]], began_us: float, lasted_us: float) -> Iterator[TraceEvent]:
    for one in trace_events:
        if one.get("ph") != "X" or "cat" not in one:
            continue
        start, end = one["ts"] - began_us, one["ts"] - began_us + one.get("dur", 0)
        if end >= 0 and start <= lasted_us:
            cut = max(start, 0) / 1e6, min(end, lasted_us) / 1e6
            yield TraceEvent(str(one["name"]), one["cat"], _thread(one), *cut)


def _thread(event: dict[str, Any]) -> tuple[Any, Any]:
    return event.get("pid"), event.get("tid")


@dataclass(frozen=True)
class Cost:
    """All events of one name: how many, their seconds together, and the share of the seconds of all names."""

    name: str
    calls: int
    seconds: float
    share: float


def ranked(seconds_of: Iterable[tuple[str, float]]) -> tuple[tuple[Cost, ...], float]:
    """Of (name, seconds) of single events: the ten names with most seconds, and the share of all others."""
    calls: dict[str, int] = defaultdict(int)
    total: dict[str, float] = defaultdict(float)
    for name, seconds in seconds_of:
        calls[name] += 1
        total[name] += seconds
    every = sum(total.values()) or 1.0
    names = sorted(total, key=lambda name: (-total[name], name))
    costs = tuple(Cost(name, calls[name], total[name], total[name] / every) for name in names[:MAX_NAMED])
    return costs, sum(total[name] for name in names[MAX_NAMED:]) / every


def nested(events: Iterable[TraceEvent]) -> Iterator[tuple[TraceEvent, int, float]]:
    """Each event with its depth (0: not within another one of its thread) and its seconds outside those within it."""
    of_thread = defaultdict(list)
    for event in events:
        of_thread[event.thread].append(event)
    for own in of_thread.values():
        yield from _nested(own)


def _nested(events: list[TraceEvent]) -> Iterator[tuple[TraceEvent, int, float]]:
    around: list[tuple[TraceEvent, list[float]]] = []  # with the seconds of what lies directly within
    for event in [*sorted(events, key=lambda one: (one.start, -one.end)), None]:
        while around and (event is None or event.start >= around[-1][0].end):
            done, inner = around.pop()
            yield done, len(around), max(0.0, done.end - done.start - sum(inner))
        if event is not None:
            if around:
                around[-1][1].append(event.end - event.start)
            around.append((event, []))


@dataclass(frozen=True)
class DeviceUse:
    """Shares are of the seconds of the run; kernels + copies - hidden + idle are 1.

    Kernels: those that compute, and those that fill or copy within the device. Copies: between host and device, in one
    direction or the other; those during kernels are hidden. A wait is a call in which the host is blocked until the
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
    """The use of the device in the trace of a run over `num_files` files; None if the trace has no kernel."""
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


def _outermost(calls: list[TraceEvent], pattern: re.Pattern[str]) -> list[TraceEvent]:
    """A call of the runtime may also be recorded as a call of the driver inside it; both count as one."""
    return [event for event, depth, _ in nested(one for one in calls if pattern.match(one.name)) if depth == 0]


@dataclass(frozen=True)
class OperatorUse:
    """The first three are shares of the seconds of the run and are 1 together.

    Outside operators, in the network's stage, are Python, NumPy and OpenCV. Waiting is all outside that stage.
    `operators` are the ten that take most time by themselves, without the operators that they call, with shares of the
    time of all operators; `rest_share` is that of the others.
    """

    operators_share: float
    outside_share: float
    waiting_share: float
    operators: tuple[Cost, ...]
    rest_share: float


def operator_use(trace: Trace) -> OperatorUse | None:
    """What the trace shows of the thread that did the work; None where the network did not run in it."""
    stage = [one.interval for one in trace.of("user_annotation") if one.name == INFER and one.thread == trace.thread]
    if not stage:
        return None
    operators = [event for event in trace.of("cpu_op") if event.thread == trace.thread]
    in_stage = length(stage)
    computing = length(common(stage, (event.interval for event in operators)))
    most, rest_share = ranked((event.name, own) for event, _, own in nested(operators))
    return OperatorUse(
        operators_share=computing / trace.seconds,
        outside_share=(in_stage - computing) / trace.seconds,
        waiting_share=(trace.seconds - in_stage) / trace.seconds,
        operators=most,
        rest_share=rest_share,
    )
