"""Lengths of time as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adacode_cli.cli.train_options import seconds_of
from adacode_cli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("9m", 540),
        ("90s", 90),
        ("90", 90),
        ("0.5", 0.5),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1d2h3m4s", 93_784),
        (" 5M ", 300),
        ("0h1s", 1),
    ],
)
def test_lengths_of_time(text, seconds):
    assert seconds_of(text) == seconds


@given(st.dictionaries(st.sampled_from("dhms"), st.integers(1, 10_000), min_size=1))
def test_parts_add_up_in_any_order(parts):
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    text = "".join(f"{number}{name}" for name, number in parts.items())
    assert seconds_of(text) == sum(number * unit[name] for name, number in parts.items())


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "m",
        "0",
        "0s",
        "0h0m",
        "-5",
        "-5m",
        "1h5",
        "1 h",
        "5m 3s",
        "5min",
        "1,5h",
        "1.h",
        "1.5.5m",
        "1e3",
        "inf",
    ],
)
def test_anything_else_is_refused_with_examples(text):
    with pytest.raises(UsageError, match="is not a length of time") as found:
        seconds_of(text)
    assert repr(text) in str(found.value)
    assert "1h30m" in found.value.hint


def test_more_than_can_be_counted_is_refused():
    with pytest.raises(UsageError, match="is not a length of time"):
        seconds_of("9" * 400 + "d")


@given(st.text())
def test_any_text_is_a_time_above_nothing_or_a_usage_error(text):
    try:
        seconds = seconds_of(text)
    except UsageError:
        return
    assert 0 < seconds < float("inf")
