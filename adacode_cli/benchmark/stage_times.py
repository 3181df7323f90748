"""When each stage of a run was at work, in any thread, and how much of that time overlaps.

Times are intervals; the functions compute their union, their overlaps, and lengths.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch.profiler import record_function

from adacode_cli.batch.keeping import TimesNs
from adacode_cli.batch.outcome import Made
from adacode_cli.batch.plan import Job
from adacode_cli.batch.stages import Fetched, Inferred, OnPage, Read, Stages, Written, no_listener

INFER = "adacode infer"
"""Name of the annotation around the network's stage, for the trace of a profiler."""
RUN, STAGES = "run", ("read", "infer", "write")


Interval = tuple[float, float]
"""Start and end, in one unit. If the end is not after the start, the interval is empty."""


def overlaps(intervals: Iterable[Interval], least: int = 1) -> list[Interval]:
    """Where at least `least` of the intervals lie at once: ascending, none empty, none touching the next."""
    edges = []
    for start, end in intervals:
        if end > start:
            edges += [(start, False), (end, True)]
    found, depth, since = [], 0, 0.0
    for at, is_end in sorted(edges):  # at equal times the starts come first, so that touching intervals become one
        before, depth = depth, depth + (-1 if is_end else 1)
        if before < least <= depth:
            since = at
        elif depth < least <= before and at > since:
            found.append((since, at))
    return found


def common(some: Iterable[Interval], others: Iterable[Interval]) -> list[Interval]:
    """Where at least one of `some` and at least one of `others` lie: ascending and disjoint."""
    return overlaps([*overlaps(some), *overlaps(others)], 2)


def length(intervals: Iterable[Interval]) -> float:
    """The length of all that the intervals cover; what several cover counts once."""
    return sum(end - start for start, end in overlaps(intervals))


class StageTimes:
    """Intervals by stage, and that of the whole `RUN`, in seconds of `time.perf_counter`.

    Any number of threads may add to them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_stage: dict[str, list[Interval]] = {stage: [] for stage in (RUN, *STAGES)}

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Adds the time of the block, also when it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._of_stage[stage].append((began, time.perf_counter()))

    def of(self, stage: str) -> list[Interval]:
        """What was added, one interval a call."""
        with self._lock:
            return list(self._of_stage[stage])


@dataclass(frozen=True)
class WatchedStages(Stages):
    """The stages of a run, unchanged, which also record their times in `times`."""

    times: StageTimes = field(default_factory=StageTimes)

    def fetch(self, job: Job) -> Fetched:
        """As `Stages.fetch`."""
        with self.times.during("read"):
            return super().fetch(job)

    def take_in(self, job: Job, data: bytes, mask_data: bytes | None = None) -> Read:
        """As `Stages.take_in`."""
        with self.times.during("read"):
            return super().take_in(job, data, mask_data)

    def infer(self, job: Job, read: Read, on_page: OnPage = no_listener) -> Inferred:
        """As `Stages.infer`, annotated for a profiler."""
        with self.times.during("infer"), record_function(INFER):
            return super().infer(job, read, on_page)

    def write(self, job: Job, inferred: Inferred, made: Made, times_ns: TimesNs | None = None) -> Written:
        """As `Stages.write`."""
        with self.times.during("write"):
            return super().write(job, inferred, made, times_ns)


@dataclass(frozen=True)
class StageUse:
    """`name`: "read", "infer" or "write". seconds: of all its calls, also where they ran side by side in threads.

    share: of the run, in which it is at work; beside_share: of the run, in which another stage is at work as well.
    """

    name: str
    seconds: float
    share: float
    beside_share: float


@dataclass(frozen=True)
class Sharing:
    """The stages of a run, the share of it in which two calls or more are under way, and that in which none is."""

    stages: tuple[StageUse, ...]
    parallel_share: float
    none_share: float


def sharing(times: StageTimes) -> Sharing:
    """What the stages did of the one run that was timed."""
    ((began, ended),) = times.of(RUN)
    seconds, every = ended - began, [one for stage in STAGES for one in times.of(stage)]

    def use(stage: str) -> StageUse:
        own = times.of(stage)
        others = [one for other in STAGES if other != stage for one in times.of(other)]
        total = sum(end - start for start, end in own)
        return StageUse(stage, total, length(own) / seconds, length(common(own, others)) / seconds)

    parallel, none = length(overlaps(every, 2)), seconds - length(every)
    return Sharing(tuple(map(use, STAGES)), parallel / seconds, none / seconds)
