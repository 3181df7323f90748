"""What torch's profiler saw: the events of a stretch of work, read from the trace that it writes for Chrome.

That file has been the same since years, while what the Python interface says of kernels changes with the version.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity

from adacode_cli.benchmark.intervals import Interval
from adacode_cli.errors import OutputError, translated

WORK = "adacode work"
"""Name of the annotation around all that is traced."""
MOST_NAMED = 10
_ACTIVITIES = {
    "cpu": [ProfilerActivity.CPU],
    "cuda": [ProfilerActivity.CPU, ProfilerActivity.CUDA],  # annotations are among those of the CPU
}
# The library under the profiler tells its own start and stop on standard error at every level below this one.
_SILENT = "99"


class Event(NamedTuple):
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
    events: tuple[Event, ...]

    def of(self, *categories: str) -> list[Event]:
        """The events of some categories, as the profiler names them: "kernel", "cpu_op" and others."""
        return [event for event in self.events if event.category in categories]


@dataclass(frozen=True)
class Cost:
    """All events of one name: how many, their seconds together, and the share of the seconds of all names."""

    name: str
    calls: int
    seconds: float
    share: float


def traced(work: Callable[[], object], device: torch.device) -> Trace | None:
    """Does the work, and says what happened on the CPU or a CUDA device; None for other devices, where nobody looks.

    Raises what the work does, and OutputError where the trace cannot be written to the temporary folder.
    """
    if device.type not in _ACTIVITIES:
        work()
        return None
    os.environ.setdefault("KINETO_LOG_LEVEL", _SILENT)
    looking = torch.profiler.profile(activities=_ACTIVITIES[device.type], acc_events=True)
    with looking as profiler, torch.profiler.record_function(WORK):
        work()
    with tempfile.TemporaryDirectory(prefix="adacode-bench-") as folder:
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        return read_trace(path)


def read_trace(path: Path) -> Trace:
    """The events within the annotation `WORK`. Raises OutputError if the file is not whole."""
    what = "the trace of the profiler cannot be read"
    hint = "Set TMPDIR to a folder with more room, or ask for fewer --files."
    try:
        with translated(OutputError, what, path, hint=hint):
            told = json.loads(path.read_text(encoding="utf-8", errors="replace"), strict=False)["traceEvents"]
        (around,) = (one for one in told if one.get("name") == WORK and one.get("cat") == "user_annotation")
    except (ValueError, KeyError) as error:
        raise OutputError(f"{what}: it is not whole", path=path, hint=hint) from error
    return Trace(around["dur"] / 1e6, _thread(around), tuple(_within(told, around["ts"], around["dur"])))


def _within(told: Iterable[dict[str, Any]], began_us: float, lasted_us: float) -> Iterator[Event]:
    for one in told:
        if one.get("ph") != "X" or "cat" not in one:
            continue
        start, end = one["ts"] - began_us, one["ts"] - began_us + one.get("dur", 0)
        if end >= 0 and start <= lasted_us:
            cut = max(start, 0) / 1e6, min(end, lasted_us) / 1e6
            yield Event(str(one["name"]), one["cat"], _thread(one), *cut)


def _thread(told: dict[str, Any]) -> tuple[Any, Any]:
    return told.get("pid"), told.get("tid")


def nested(events: Iterable[Event]) -> Iterator[tuple[Event, int, float]]:
    """Each event with its depth (0: not within another one of its thread) and its seconds outside those within it."""
    of_thread = defaultdict(list)
    for event in events:
        of_thread[event.thread].append(event)
    for own in of_thread.values():
        yield from _nested(own)


def _nested(events: list[Event]) -> Iterator[tuple[Event, int, float]]:
    around: list[tuple[Event, list[float]]] = []  # with the seconds of what lies directly within
    for event in [*sorted(events, key=lambda one: (one.start, -one.end)), None]:
        while around and (event is None or event.start >= around[-1][0].end):
            done, inner = around.pop()
            yield done, len(around), max(0.0, done.end - done.start - sum(inner))
        if event is not None:
            if around:
                around[-1][1].append(event.end - event.start)
            around.append((event, []))


def ranked(seconds_of: Iterable[tuple[str, float]]) -> tuple[tuple[Cost, ...], float]:
    """Of (name, seconds) of single events: the ten names with most seconds, and the share of all others."""
    calls: dict[str, int] = defaultdict(int)
    total: dict[str, float] = defaultdict(float)
    for name, seconds in seconds_of:
        calls[name] += 1
        total[name] += seconds
    every = sum(total.values()) or 1.0
    names = sorted(total, key=lambda name: (-total[name], name))
    costs = tuple(Cost(name, calls[name], total[name], total[name] / every) for name in names[:MOST_NAMED])
    return costs, sum(total[name] for name in names[MOST_NAMED:]) / every
