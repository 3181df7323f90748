"""Plans part the padded input on the window grid and keep to the memory that there is."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import ATTENTIVE, LOCAL, PUBLISHED, for_task

from adacode_cli.engine.plan import DEFAULT_OVERLAP_PX, bytes_per_output_pixel, plan_tiles
from adacode_cli.model.config import NetworkConfig

CONFIGS = [
    for_task(c, t, s) for c in (LOCAL, PUBLISHED) for t, s in (("reconstruct", 1), ("sr", 2), ("sr", 4), ("inpaint", 1))
]
tile_choices = st.sampled_from(["auto", "none", 64, "100", 128, 1000])
GENEROUS = 1e12


def plan(config, height, width, *, tile="auto", overlap_px=None, budget=GENEROUS, itemsize=4):
    return plan_tiles(config, height, width, tile=tile, overlap_px=overlap_px, budget=budget, itemsize=itemsize)


@settings(deadline=None)
@given(
    st.sampled_from(CONFIGS),
    st.integers(1, 12),
    st.integers(1, 12),
    tile_choices,
    st.sampled_from([None, 0, 1, 64, 65, 200]),
    st.floats(-1e6, 1e10),
)
def test_any_plan_parts_the_image_on_the_window_grid(config, rows, columns, tile, overlap_px, budget):
    step = config.pad_multiple
    made = plan(config, rows * step, columns * step, tile=tile, overlap_px=overlap_px, budget=budget)
    count = np.zeros((rows * step, columns * step), np.int64)
    for box in made.keep:
        assert all(v % step == 0 for v in (box.top, box.left, box.bottom, box.right))
        count[box.slices] += 1
    assert (count == 1).all()
    assert made.overlap % step == 0
    wanted = DEFAULT_OVERLAP_PX if overlap_px is None else overlap_px
    assert wanted <= made.overlap * config.scale < wanted + step * config.scale
    if tile not in ("auto", "none"):
        assert max(max(b.height, b.width) for b in made.keep) <= max(int(tile) // config.scale, step)


@settings(deadline=None)
@given(
    st.sampled_from(CONFIGS),
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from([2, 4]),
    st.sampled_from([0, 64]),
    st.integers(0, 10**9),
)
def test_automatic_tiles_stay_within_the_budget_with_their_context(config, rows, columns, itemsize, overlap_px, budget):
    step = config.pad_multiple
    height, width = rows * step, columns * step
    made = plan(config, height, width, overlap_px=overlap_px, budget=budget, itemsize=itemsize)
    reads = [box.grown(made.overlap, height, width) for box in made.keep]
    largest = max(read.area for read in reads) * config.scale**2 * bytes_per_output_pixel(config, itemsize)
    smallest_there_is = max(max(b.height, b.width) for b in made.keep) <= step
    assert largest <= budget or smallest_there_is


def test_memory_decides_between_one_tile_and_many():
    whole = bytes_per_output_pixel(LOCAL, 4) * 1024 * 2048
    assert len(plan(LOCAL, 1024, 2048, budget=whole * 1.001).keep) == 1
    assert len(plan(LOCAL, 1024, 2048, budget=whole * 0.999).keep) > 1
    few, many = (len(plan(LOCAL, 1024, 2048, budget=whole / n).keep) for n in (4, 16))
    assert 1 < few < many
    assert len(plan(LOCAL, 1024, 2048, tile="none", budget=0).keep) == 1


def test_long_pictures_are_cut_across():
    made = plan(LOCAL, 64, 64_000, tile=256)
    assert len(made.keep) == 250
    assert {(b.height, b.width) for b in made.keep} == {(64, 256)}
    assert [b.left for b in made.keep] == list(range(0, 64_000, 256))


def test_tiles_smaller_than_a_window_become_a_window():
    wide = replace(LOCAL, predictor_swin=replace(ATTENTIVE.predictor_swin, window=16))
    assert wide.pad_multiple == 128
    assert {(b.height, b.width) for b in plan(wide, 256, 384, tile=64).keep} == {(128, 128)}
    assert {(b.height, b.width) for b in plan(wide, 256, 384, tile=200).keep} == {(128, 128)}


@pytest.mark.parametrize(
    ("config", "itemsize", "measured"),
    [
        ("compact", 4, 175),
        ("compact", 2, 109),
        ("published", 4, 1639),
        ("published", 2, 842),
    ],
)
def test_the_estimate_is_not_below_what_was_measured(config, itemsize, measured):
    """Peak live bytes for each output pixel of a pass on a CPU, for the two shapes of the weights there are."""
    shape = {
        "compact": NetworkConfig("reconstruct", channels=(64, 128), grid=4, stem="shuffle", norm="none"),
        "published": NetworkConfig("reconstruct"),
    }[config]
    assert measured <= bytes_per_output_pixel(shape, itemsize) <= 1.25 * measured
