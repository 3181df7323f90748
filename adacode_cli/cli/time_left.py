"""The time that is left of a run, from the pixels of its files and from the time that earlier ones took.

A file takes a constant time for each run of the network, and a time for each megapixel that it gets. Both are fitted to
the files that are done: least squares, where each file counts with the inverse of its size, because the times of large
files vary more. Before the first file is done, its tiles are all that is known. Only the time in which files are
restored counts: files that are skipped take next to none, and are neither done nor left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass

# Before anything is known, a run of the network takes this long beside the time for its pixels. It counts as much as
# one file.
_USUAL_RUN_S = 0.02
# The first file also waits for what is prepared once, so it does not count when there are some others.
_FEW_FILES = 4
# Files smaller than this part of the mean count alike.
_SMALL = 0.3
# Before a file is done, this share of the first one tells how long others will take.
_ENOUGH = 0.2


@dataclass(frozen=True)
class Work:
    """What the network does for a file: the number of its runs, and the megapixels that they get in all."""

    runs: float
    megapixels: float

    def times(self, share: float) -> Work:
        """This share of it."""
        return Work(share * self.runs, share * self.megapixels)

    def plus(self, other: Work) -> Work:
        """Both together."""
        return Work(self.runs + other.runs, self.megapixels + other.megapixels)


NOTHING = Work(0, 0)


class Works:
    """The work of each file of a run, as far as it is known. Another thread may add to it while it is read."""

    def __init__(self, num_files: int, known: Mapping[str, Work | None] | None = None) -> None:
        self.num_files = num_files
        self._known: dict[str, Work] = {}
        self._if_made: dict[str, Work] = {}
        self._sum, self._lock = NOTHING, threading.Lock()
        for source, work in (known or {}).items():
            self.add(source, work)

    def add(self, source: str, work: Work | None, *, is_done: bool = False) -> None:
        """Adds what is known of a file; None: its size is not known, so it counts with the mean of the others.

        is_done: it will probably be found done, so it counts as nothing.
        """
        if work is None:
            return
        with self._lock:
            if is_done:
                self._if_made[source], work = work, NOTHING
            self._sum = self._sum.plus(work)
            self._known[source] = work

    def is_made(self, source: str) -> None:
        """Counts a file that was added as done, because it is made again."""
        with self._lock:
            work = self._if_made.pop(source, None)
            if work is not None:
                self._sum = self._sum.plus(work)
                self._known[source] = work

    def of(self, source: str) -> Work:
        """The work of a file, or the mean of those that are known."""
        return self._known.get(source, self.mean)

    def megapixels(self, source: str) -> float | None:
        """Of one file, if they are known."""
        work = self._known.get(source)
        return work.megapixels if work else None

    @property
    def mean(self) -> Work:
        """Of the files whose work is known."""
        count = len(self._known)
        return self._sum.times(1 / count) if count else Work(1, 1)

    @property
    def total(self) -> Work:
        """Of all files."""
        return self.mean.times(self.num_files)


@dataclass
class _AtWork:
    """A file that the network computes: how much of it is done, and when that was told; and the same of what was told
    first.
    """

    told: float
    share: float = 0.0
    first_told: float = 0.0
    first_share: float = 0.0


class TimeLeft:
    """Follows a run. Times are in seconds, of a clock that never goes back."""

    def __init__(self, works: Works) -> None:
        self._works = works
        self._at_work: dict[str, _AtWork] = {}
        self._computed: set[str] = set()
        self._gone = NOTHING  # of files that are computed, skipped or failed
        self._fit = _Fit()
        self._mark: float | None = None  # when the last file was computed, or the first one was begun
        self._shown: float | None = None
        self.worked_s, self.num_worked = 0.0, 0

    def started(self, source: str, now: float) -> None:
        """The network begins with a file."""
        self._at_work[source] = _AtWork(now)
        self._mark = now if self._mark is None else self._mark

    def advanced(self, source: str, share: float, now: float) -> None:
        """It has computed this share of it, from 0 to 1."""
        at_work = self._at_work.get(source)
        if at_work is None:
            return
        if share >= 1:
            self._ended(source, now, took_time=True)
        elif share > at_work.share:
            if not at_work.share:
                at_work.first_share, at_work.first_told = share, now
            at_work.share, at_work.told = share, now

    def finished(self, source: str, now: float, *, worked: bool) -> None:
        """A file is done, skipped or failed; `worked`: the network made its result."""
        if source in self._computed:
            self._computed.remove(source)
            return
        was_at_work = source in self._at_work
        self._ended(source, now, took_time=worked)
        self._computed.discard(source)
        if not worked and (was_at_work or not self._at_work):
            self._mark = None if self._mark is None else now

    def _ended(self, source: str, now: float, *, took_time: bool) -> None:
        work = self._works.of(source)
        self._at_work.pop(source, None)
        self._computed.add(source)
        self._gone = self._gone.plus(work)
        if took_time or not self._at_work:
            self._shown = None  # From here on it may rise.
        if took_time and self._mark is not None:
            seconds = now - self._mark
            self._fit.add(work, seconds, self._works.mean)
            self.worked_s += seconds
            self.num_worked += 1
            self._mark = now

    @property
    def share(self) -> float:
        """The share of the run that is computed or left out, from 0 to 1, by pixels."""
        total, done = self._works.total, self._gone
        for source, one in self._at_work.items():
            done = done.plus(self._works.of(source).times(one.share))
        whole = total.megapixels
        return min(1.0, done.megapixels / whole) if whole > 0 else 0.0

    def left(self, now: float) -> float | None:
        """Seconds until the end of the run; None if nothing is known yet. It never rises while a file is at work."""
        estimate = self._estimate(now)
        if estimate is not None:
            self._shown = estimate if self._shown is None else min(self._shown, estimate)
        return self._shown

    def _estimate(self, now: float) -> float | None:
        under_way = [(self._works.of(source), one) for source, one in self._at_work.items()]
        seconds = self._fit.with_part(self._part_done(under_way), self._works.mean)
        if seconds is None:
            return None
        waiting = self._works.total.plus(self._gone.times(-1))
        for work, _ in under_way:
            waiting = waiting.plus(work.times(-1))
        return max(0.0, seconds(waiting)) + self._left_of(under_way, seconds, now)

    def _left_of(self, under_way: list[tuple[Work, _AtWork]], seconds: Seconds, now: float) -> float:
        """Seconds until the files at work are done: by the clock and, if tiles are told of, also by these, which are
        not equally fast. The mean of both is counted on.
        """
        if not under_way:
            return 0.0
        whole = sum(seconds(work) for work, _ in under_way)
        by_clock = max(0.0, whole - (now - (self._mark or now)))
        if not any(one.share for _, one in under_way):
            return by_clock
        since_told = now - max(one.told for _, one in under_way)
        by_tiles = max(0.0, sum(seconds(work.times(1 - one.share)) for work, one in under_way) - since_told)
        return (by_clock + by_tiles) / 2

    def _part_done(self, under_way: list[tuple[Work, _AtWork]]) -> tuple[Work, float] | None:
        """What is done of the first file since its first tile, and how long it took."""
        if self._fit.count or len(under_way) != 1:
            return None
        work, one = under_way[0]
        share = one.share - one.first_share
        return (work.times(share), one.told - one.first_told) if one.share >= _ENOUGH and share > 0 else None


Seconds = Callable[[Work], float]


class _Fit:
    """Seconds for each run and for each megapixel, by least squares; neither is below zero."""

    def __init__(self) -> None:
        self._sums, self.count = _Sums(), 0
        self._first = _Sums()

    def add(self, work: Work, seconds: float, mean: Work) -> None:
        """Adds a file that is done. mean: of all files."""
        if work.runs <= 0:
            return
        self.count += 1
        if self.count == 1:
            self._first = _Sums().plus(work, seconds, mean)
        else:
            self._sums = self._sums.plus(work, seconds, mean)

    def with_part(self, part: tuple[Work, float] | None, mean: Work) -> Seconds | None:
        """The time that work takes, by these files and a part that is done of one more; None if nothing is known."""
        sums = self._sums if self.count >= _FEW_FILES else self._sums.added(self._first)
        if part is not None:
            sums = sums.plus(*part, mean)
        if not sums.rr:
            return None
        per_run, per_megapixel = sums.plus(Work(1, 0), _USUAL_RUN_S, mean).solved()
        return lambda work: per_run * work.runs + per_megapixel * work.megapixels


@dataclass(frozen=True)
class _Sums:
    """The weighted sums of the normal equations, of runs (r), megapixels (x) and seconds (y)."""

    rr: float = 0.0
    rx: float = 0.0
    xx: float = 0.0
    ry: float = 0.0
    xy: float = 0.0

    def added(self, other: _Sums) -> _Sums:
        """The sums of both."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return _Sums(*(one + another for one, another in pairs))

    def plus(self, work: Work, seconds: float, mean: Work) -> _Sums:
        """With one more observation. Small files count alike, larger ones with the inverse of their size."""
        r, x = work.runs, work.megapixels
        weight = 1 / (x + _SMALL * mean.megapixels + 1e-9)
        return self.added(_Sums(*(weight * one for one in (r * r, r * x, x * x, r * seconds, x * seconds))))

    def solved(self) -> tuple[float, float]:
        """(seconds for each run, seconds for each megapixel) that fit best; where one would be below zero, it is zero
        and the other fits best alone.
        """
        determinant = self.rr * self.xx - self.rx**2
        if determinant > 1e-9 * self.rr * self.xx:
            per_run = (self.xx * self.ry - self.rx * self.xy) / determinant
            per_megapixel = (self.rr * self.xy - self.rx * self.ry) / determinant
            if per_run >= 0 and per_megapixel >= 0:
                return per_run, per_megapixel
            if per_run < 0 and self.xx:
                return 0.0, self.xy / self.xx
        return self.ry / self.rr, 0.0
