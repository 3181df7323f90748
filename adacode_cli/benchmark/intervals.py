"""Arithmetic of intervals of time: where some of them lie, where several overlap, and how long that is."""

from __future__ import annotations

from collections.abc import Iterable

Interval = tuple[float, float]
"""Start and end, in one unit. Where the end is not after the start, the interval is empty."""


def overlaps(intervals: Iterable[Interval], least: int = 1) -> list[Interval]:
    """Where at least `least` of the intervals lie at once: ascending, none empty, none touching the next."""
    edges = []
    for start, end in intervals:
        if end > start:
            edges += [(start, False), (end, True)]
    found, depth, since = [], 0, 0.0
    for at, is_end in sorted(edges):  # of equal times the starts come first, so that touching intervals become one
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
