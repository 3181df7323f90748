"""Intervals against drawing them on a row of cells."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from adacode_cli.benchmark.stage_times import common, length, overlaps

CELLS = 24
edge = st.integers(0, CELLS)
intervals = st.lists(st.tuples(edge, edge), max_size=12)


def depths(drawn):
    """How many intervals cover each cell; where the end is not after the start, none is covered."""
    return [sum(start <= cell < end for start, end in drawn) for cell in range(CELLS)]


def cells(drawn):
    return [depth > 0 for depth in depths(drawn)]


def assert_tidy(found):
    assert all(start < end for start, end in found)
    assert all(one[1] < other[0] for one, other in pairwise(found))


@given(intervals, st.integers(1, 5))
def test_overlaps_are_the_cells_that_are_covered_so_often(drawn, least):
    found = overlaps(drawn, least)
    assert cells(found) == [depth >= least for depth in depths(drawn)]
    assert_tidy(found)


@given(intervals, intervals)
def test_common_is_where_both_are(some, others):
    found = common(iter(some), iter(others))
    assert cells(found) == [a and b for a, b in zip(cells(some), cells(others), strict=True)]
    assert_tidy(found)


@given(intervals)
def test_length_counts_every_cell_once(drawn):
    assert length(drawn) == sum(cells(drawn))


@given(intervals, intervals)
def test_what_is_covered_is_the_one_and_the_other_less_what_is_common(some, others):
    assert length([*some, *others]) == length(some) + length(others) - length(common(some, others))


def test_intervals_that_touch_are_one():
    assert overlaps([(0.5, 1.0), (1.0, 2.0), (3.0, 4.0)]) == [(0.5, 2.0), (3.0, 4.0)]
    assert overlaps([(0.5, 1.0), (1.0, 2.0)], 2) == []
