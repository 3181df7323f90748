"""The parts of a run over files: what each one takes, and how much of it is not hidden behind the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from adacode_cli.batch.guard import Guarded
from adacode_cli.batch.keeping import Keeping, TimesNs
from adacode_cli.batch.outcome import Made
from adacode_cli.batch.plan import Job
from adacode_cli.batch.restoring import Restored
from adacode_cli.batch.stages import Fetched, Inferred, OnPage, Read, Stages, Written, no_listener
from adacode_cli.benchmark.files import Files, files
from adacode_cli.benchmark.stage_times import Interval, common, length
from adacode_cli.engine.restorer import Restorer
from adacode_cli.geometry import Hole
from adacode_cli.imaging.decode import Decode
from adacode_cli.imaging.image import Decoded

NETWORK = "network"
PARTS = ("reading", "decoding", NETWORK, "guard", "encoding", "writing")


@dataclass(frozen=True)
class Part:
    """seconds: of all calls, also of those that ran side by side. share: of the run, in which the part is at work;
    alone_share: of the run, in which it is and the network is not.
    """

    name: str
    seconds: float
    share: float
    alone_share: float


def parts_of_run(restorer: Restorer, scale: float, count: int, megapixels: float) -> tuple[Files, tuple[Part, ...]]:
    """As `files`, with the parts of the run."""
    times = _PartTimes()
    found = files(restorer, scale, count, megapixels, partial(_watched, times))
    return found, tuple(_parts(times, found.run_seconds))


class _PartTimes:
    """Intervals by part, in seconds of `time.perf_counter`. A part that begins within another one interrupts it."""

    def __init__(self) -> None:
        self._lock, self._of_thread = threading.Lock(), threading.local()
        self.of_part: dict[str, list[Interval]] = {part: [] for part in PARTS}

    @contextmanager
    def during(self, part: str) -> Iterator[None]:
        """Adds the time of the block, without parts that it calls."""
        around: tuple[str, float] | None = getattr(self._of_thread, "now", None)
        if around:
            self._add(*around)
        self._of_thread.now = part, time.perf_counter()
        try:
            yield
        finally:
            self._add(*self._of_thread.now)
            self._of_thread.now = around and (around[0], time.perf_counter())

    def _add(self, part: str, began: float) -> None:
        with self._lock:
            self.of_part[part].append((began, time.perf_counter()))


def _watched(times: _PartTimes, guarded: Guarded, *, decoder: Decode, lanes: int) -> Stages:
    def restore(image: Decoded, hole: Hole | None) -> tuple[Decoded, Restored]:
        with times.during(NETWORK):
            return guarded.restore(image, hole)

    return _WatchedStages(
        replace(guarded, restore=restore),
        decoder=decoder,
        lanes=lanes,
        keeping=_WatchedKeeping(times=times),
        times=times,
    )


@dataclass(frozen=True)
class _WatchedKeeping(Keeping):
    times: _PartTimes = field(default_factory=_PartTimes)

    def encoded(self, image: Decoded, format_name: str, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
        with self.times.during("encoding"):
            return super().encoded(image, format_name, quality)


@dataclass(frozen=True)
class _WatchedStages(Stages):
    times: _PartTimes = field(default_factory=_PartTimes)

    def fetch(self, job: Job) -> Fetched:
        with self.times.during("reading"):
            return super().fetch(job)

    def take_in(self, job: Job, data: bytes, mask_data: bytes | None = None) -> Read:
        with self.times.during("decoding"):
            return super().take_in(job, data, mask_data)

    def infer(self, job: Job, read: Read, on_page: OnPage = no_listener) -> Inferred:
        with self.times.during("guard"):
            return super().infer(job, read, on_page)

    def write(self, job: Job, inferred: Inferred, made: Made, times_ns: TimesNs | None = None) -> Written:
        with self.times.during("writing"):
            return super().write(job, inferred, made, times_ns)


def _parts(times: _PartTimes, run_seconds: float) -> Iterator[Part]:
    network = times.of_part[NETWORK]
    for name, own in times.of_part.items():
        covered, seconds = length(own), sum(end - start for start, end in own)
        beside = 0.0 if name == NETWORK else length(common(own, network))
        yield Part(name, seconds, covered / run_seconds, (covered - beside) / run_seconds)
