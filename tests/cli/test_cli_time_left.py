"""The time that is left of a run, with recorded runs whose files vary by 40 times in size (`record_run.py`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adacode_cli.batch.foresight import Foresight
from adacode_cli.batch.found import Found
from adacode_cli.batch.plan import Job
from adacode_cli.cli.time_left import TimeLeft, Work, Works
from adacode_cli.cli.works import work_of
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded
from adacode_cli.sizes import Sizing

RECORDED = sorted((Path(__file__).parent / "recorded_runs").glob("*.jsonl"))
# From a tenth of a run on, the time left is right within a quarter. At the end of a run, when a quarter is hardly a
# second, it may be off by this part of the whole run.
FROM, WITHIN, OF_THE_RUN = 0.1, 0.25, 0.015
# While the first file is at work and few of its tiles are done, no time is shown.
UNKNOWN_UNTIL = 0.12

Event = list


def recorded(path: Path) -> tuple[dict[str, int], list[Event], float]:
    """(the pixels of each file, the events, the seconds of the whole run)."""
    pixels, *events = (json.loads(line) for line in path.read_text().splitlines())
    return pixels, events, events[-1][0]


def works_of(pixels: dict[str, int], known: float = 1.0) -> Works:
    """Works of which this part is known, spread over all."""
    works = Works(len(pixels))
    for i, (name, number) in enumerate(pixels.items()):
        is_known = int((i + 1) * known) > int(i * known)
        works.add(name, Work(1, number / 1e6) if is_known else None)
    return works


def tell(time_left: TimeLeft, event: Event) -> None:
    now, kind, *rest = event
    if kind == "started":
        time_left.started(rest[0], now)
    elif kind == "advanced":
        time_left.advanced(rest[0], rest[1], now)
    elif kind == "finished":
        time_left.finished(rest[0], now, worked=rest[1] == "done")


def estimates(works: Works, events: list[Event], end: float) -> Iterator[tuple[float, float | None]]:
    """(seconds, the time left that is shown then), a hundred times, as a terminal shows it."""
    time_left, following = TimeLeft(works), iter(events)
    event = next(following)
    for percent in range(1, 100):
        now = end * percent / 100
        while event[0] <= now:
            tell(time_left, event)
            time_left.left(event[0])
            event = next(following)
        yield now, time_left.left(now)


def assert_right(shown: Iterator[tuple[float, float | None]], end: float, within: float = WITHIN) -> None:
    for now, left in shown:
        if now >= UNKNOWN_UNTIL * end:
            assert left is not None
        if now >= FROM * end and left is not None:
            assert abs(left - (end - now)) <= max(within * (end - now), OF_THE_RUN * end), f"{left} at {now} of {end}"


def test_the_recorded_runs_are_what_the_tests_need():
    assert len(RECORDED) == 9
    for path in RECORDED:
        pixels, events, _ = recorded(path)
        sizes = list(pixels.values())
        assert max(sizes) > 38 * min(sizes)
        assert (sizes == sorted(sizes)) == ("small-first" in path.name)
        assert (sizes == sorted(sizes, reverse=True)) == ("large-first" in path.name)
        assert sum(event[1] == "finished" and event[3] == "done" for event in events) == len(pixels)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_time_left_is_right_within_a_quarter_from_a_tenth_of_the_run_on(path):
    pixels, events, end = recorded(path)
    assert_right(estimates(works_of(pixels), events, end), end)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_it_never_rises_while_a_file_is_at_work(path):
    pixels, events, _ = recorded(path)
    time_left, shown = TimeLeft(works_of(pixels)), None
    for event, following in pairwise(events):
        tell(time_left, event)
        if event[3:] == [1.0]:  # the file is computed
            shown = None
        for step in range(10):
            left = time_left.left(event[0] + step / 10 * (following[0] - event[0]))
            assert shown is None or left <= shown
            shown = left


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
@pytest.mark.parametrize("every", [1, 5])
def test_files_that_are_skipped_do_not_change_it(path, every):
    """As many files are found done as are restored, in a tenth of the time: at first, or one here and there."""
    pixels, events, end = recorded(path)
    done = {f"done-{name}": number for name, number in pixels.items()}
    pause = end / 10 / len(done)
    names, changed, shift = iter(done), [], 0.0
    if every == 1:  # all of them come first
        for name in names:
            shift += pause
            changed.append([shift, "finished", name, "skipped"])
    number = 0
    for event in events:
        if event[1] == "started":
            number += 1
            for name in (name for _, name in zip(range(every), names, strict=False) if number % every == 0):
                shift += pause
                changed.append([event[0] + shift, "finished", name, "skipped"])
        changed.append([event[0] + shift, *event[1:]])
    whole = changed[-1][0]
    works = works_of(pixels | done)
    time_left, at_the_end = TimeLeft(works), []
    for event in changed:
        tell(time_left, event)
        left = time_left.left(event[0])
        if event[1] == "advanced" and left is not None and event[0] > whole / 2:
            at_the_end.append((left, whole - event[0]))
    # What is found done later counts as work until then, so the time shown is never too small.
    assert all(left >= (1 - WITHIN) * real - OF_THE_RUN * whole for left, real in at_the_end)
    if every == 1:
        assert all(left <= (1 + WITHIN) * real + OF_THE_RUN * whole for left, real in at_the_end)


def test_it_does_not_rise_either_when_others_are_skipped_meanwhile():
    works = works_of({str(i): 1_000_000 for i in range(20)})
    time_left = TimeLeft(works)
    for i in range(5):
        time_left.started(str(i), float(i))
        time_left.finished(str(i), i + 1.0, worked=True)
    time_left.started("5", 5.0)
    shown = time_left.left(5.0)
    for i in range(100):
        now = 5.0 + i / 10
        if i == 50:  # The file takes long, and others are found done.
            time_left.finished("6", now, worked=False)
        left = time_left.left(now)
        assert left <= shown
        shown = left


def test_files_that_are_probably_done_count_as_nothing_until_they_are_made():
    works = Works(3)
    works.add("a", Work(1, 2.0))
    works.add("b", Work(1, 4.0), is_done=True)
    works.add("c", Work(1, 6.0), is_done=True)
    assert works.total == Work(1, 2.0)
    works.is_made("c")
    works.is_made("a")
    assert works.total == Work(2, 8.0)
    assert works.of("b") == Work(0, 0)


@pytest.mark.parametrize("path", [path for path in RECORDED if "random" in path.name], ids=lambda path: path.stem)
def test_files_of_unknown_size_count_with_the_mean_of_the_others(path):
    pixels, events, end = recorded(path)
    works = works_of(pixels, known=0.5)
    known = [number / 1e6 for i, number in enumerate(pixels.values()) if i % 2]
    assert works.total.megapixels == pytest.approx(len(pixels) * sum(known) / len(known))
    lefts = [left for _, left in estimates(works, events, end)]
    assert lefts[-1] is not None
    assert max(left for left in lefts[50:] if left is not None) < end


def test_files_that_the_network_does_not_make_take_no_time():
    """Copies of images that are as large already are neither fast files nor files that are left."""
    works = Works(20)
    for i in range(20):
        works.add(str(i), Work(0, 0) if i % 2 else Work(1, 1.0))
    time_left, now = TimeLeft(works), 0.0
    for i in range(10):
        time_left.started(str(i), now)
        now += 0.001 if i % 2 else 1.0
        time_left.advanced(str(i), 1.0, now)
        time_left.finished(str(i), now, worked=not i % 2)
    assert time_left.left(now) == pytest.approx(5, rel=0.1)


def test_a_file_that_is_no_image_counts_as_nothing_and_one_of_unknown_size_as_the_mean(tmp_path):
    whole = encode(Decoded(np.zeros((10, 20, 3), np.uint8)), format="png")
    files = {"text.png": b"no image", "cut.png": b"\x89PNG\r\n\x1a\n", "whole.png": whole}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
    works = {
        name: work_of(Job(Found(tmp_path, name, in_tree=True), tmp_path, name), Foresight(Sizing("scale", 2)))
        for name in (*files, "pipe.png", "missing.png")
    }
    assert works == {
        "text.png": Work(0, 0),
        "pipe.png": Work(0, 0),
        "missing.png": Work(0, 0),
        "cut.png": None,
        "whole.png": Work(1, 0.0002),
    }


def test_several_files_at_work_share_the_time():
    """As on a GPU: two are under way, and one is done each second."""
    works = works_of({str(i): 1_000_000 for i in range(20)})
    time_left = TimeLeft(works)
    time_left.started("0", 0.0)
    time_left.started("1", 0.0)
    for i in range(10):
        time_left.advanced(str(i), 1.0, i + 1.0)
        time_left.finished(str(i), i + 1.0, worked=True)
        time_left.started(str(i + 2), i + 1.0)
    assert time_left.left(10.0) == pytest.approx(10, rel=0.05)
    assert time_left.left(10.5) == pytest.approx(9.5, rel=0.05)
    assert time_left.share == pytest.approx(0.5)


def test_nothing_is_known_before_anything_is_done():
    time_left = TimeLeft(works_of({"a": 1, "b": 2}))
    assert time_left.left(0.0) is None
    time_left.started("a", 1.0)
    time_left.advanced("a", 0.1, 2.0)
    assert time_left.left(2.0) is None
    time_left.finished("b", 3.0, worked=False)
    assert time_left.left(3.0) is None


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["started", "advanced", "finished"]), st.floats(0, 1)))
)
def test_any_order_of_events_gives_a_time_or_none(told):
    """Executors of other processes may tell of some events only, and in another order."""
    time_left, now = TimeLeft(works_of(dict(zip("abc", (10, 1000, 100_000), strict=True)))), 0.0
    for name, kind, value in told:
        now += value
        tell(time_left, [now, kind, name, "done" if kind == "finished" else value])
        left = time_left.left(now)
        assert left is None or left >= 0
        assert 0 <= time_left.share <= 1
