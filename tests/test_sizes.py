"""The sizes of results: exactly what was asked for, in the ratio of the image, with the smallest networks."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adacode_cli.errors import InputError
from adacode_cli.sizes import MAX_SCALE, Fate, Sizing

SIDES = st.integers(1, 20_000)
PIXELS = st.integers(1, 60_000)
EDGES = {"width": lambda h, w: w, "height": lambda h, w: h, "long-edge": max, "short-edge": min}
AS_LARGE = st.sampled_from([Fate.COPIED, Fate.SHRUNK, Fate.LEFT_OUT])


@given(SIDES, SIDES, st.sampled_from(sorted(EDGES)), PIXELS)
def test_the_side_is_exactly_what_was_asked_for_and_the_other_within_half_a_pixel(height, width, kind, pixels):
    edge = EDGES[kind]
    assume(pixels <= MAX_SCALE * edge(height, width))
    found = Sizing(kind, pixels).asked(height, width)
    ratio = Fraction(pixels, edge(height, width))
    for side, before in zip(found, (height, width), strict=True):
        exact = before * ratio
        assert abs(side - exact) <= Fraction(1, 2) or (side == 1 and exact < 1)
    assert edge(*found) == pixels


@given(SIDES, SIDES, st.floats(0.0001, 400))
def test_megapixels_are_met_as_far_as_whole_pixels_allow(height, width, megapixels):
    ratio = math.sqrt(megapixels * 1e6 / (height * width))
    assume(ratio <= MAX_SCALE and min(height, width) * ratio >= 1)
    rows, columns = Sizing("megapixels", megapixels).asked(height, width)
    assert abs(rows - height * ratio) <= 0.5 + 1e-6
    assert abs(columns - width * ratio) <= 0.5 + 1e-6
    # Half a pixel of each side at most.
    assert abs(rows * columns - megapixels * 1e6) <= (rows + columns) / 2 + 1


@given(SIDES, SIDES, st.sampled_from(["scale", *sorted(EDGES)]), PIXELS, st.sampled_from([(4, 2), (4,), (2,)]))
def test_runs_reach_the_size_and_no_smaller_ones_do(height, width, kind, pixels, factors):
    amount = 1 + pixels % 16 if kind == "scale" else pixels
    sizing = Sizing(kind, amount)
    if kind != "scale":
        assume(pixels <= MAX_SCALE * EDGES[kind](height, width))
    rows, columns = sizing.asked(height, width)
    runs = sizing.runs(height, width, factors)
    assert set(runs) <= set(sizing.possible_factors(factors)) <= set(factors)
    whole = math.prod(runs)
    assert whole * height >= rows
    assert whole * width >= columns
    for length in range(1, 5):
        for other in product(factors, repeat=length):
            if math.prod(other) * height >= rows and math.prod(other) * width >= columns:
                assert (whole, len(runs)) <= (math.prod(other), len(other))
    assert list(runs) == sorted(runs)  # The last run has the largest input, so the cheap one comes first.


@pytest.mark.parametrize(
    ("scale", "factors", "runs"),
    [
        (1, (4, 2), (2,)),
        (2, (4, 2), (2,)),
        (2.0001, (4, 2), (4,)),
        (4, (4, 2), (4,)),
        (6, (4, 2), (2, 4)),
        (8, (4, 2), (2, 4)),
        (9, (4, 2), (4, 4)),
        (16, (4, 2), (4, 4)),
        (3, (2,), (2, 2)),
        (16, (2,), (2, 2, 2, 2)),
        (2, (4,), (4,)),
        (8, (4,), (4, 4)),
    ],
)
def test_the_runs_of_each_scale(scale, factors, runs):
    sizing = Sizing("scale", scale)
    assert sizing.runs(7, 9, factors) == runs
    assert sizing.possible_factors(factors) == tuple(sorted(set(runs)))


@given(SIDES, SIDES, st.sampled_from([*sorted(EDGES), "megapixels"]), PIXELS, AS_LARGE)
def test_an_image_that_is_as_large_is_not_enlarged(height, width, kind, pixels, as_large):
    sizing = Sizing(kind, pixels / 100 if kind == "megapixels" else pixels, as_large)
    try:
        asked = sizing.asked(height, width)
    except InputError:
        return
    fate, size = sizing.fate(height, width), sizing.size(height, width)
    is_as_large = asked[0] <= height and asked[1] <= width
    expected = Fate.COPIED if asked == (height, width) and as_large is Fate.SHRUNK else as_large
    assert fate is (expected if is_as_large else Fate.RESTORED)
    assert size == ((height, width) if is_as_large and as_large is not Fate.SHRUNK else asked)
    assert size[0] * size[1] <= sizing.most_growth * height * width
    if kind != "megapixels":
        assert is_as_large == (pixels <= EDGES[kind](height, width))


def test_more_than_sixteen_times_is_refused_in_words():
    with pytest.raises(InputError, match=r"100×50 pixels are too few for --width 1601: .* 1600×800 pixels$"):
        Sizing("width", 1601).asked(50, 100)
    assert Sizing("width", 1600).asked(50, 100) == (800, 1600)
    with pytest.raises(InputError, match=r"10×10 pixels are too few for --megapixels 12\.5: "):
        Sizing("megapixels", 12.5).fate(10, 10)
    assert Sizing("scale", 16).asked(3, 5) == (48, 80)


@pytest.mark.parametrize(
    ("sizing", "label"),
    [
        (Sizing("scale", 4), "x4"),
        (Sizing("scale", 2.5), "x2.5"),
        (Sizing("width", 3840), "width-3840"),
        (Sizing("long-edge", 1_000_000), "long-edge-1000000"),
        (Sizing("megapixels", 12.5), "megapixels-12.5"),
        (Sizing("megapixels", 0.0001), "megapixels-0.0001"),
    ],
)
def test_labels(sizing, label):
    assert sizing.label == label
