"""Boxes part an image, and masks grow and feather by true distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from adacode_cli.errors import UsageError
from adacode_cli.geometry import Box, Hole, tiles
from adacode_cli.geometry import feather_mask as feather
from adacode_cli.geometry import grow_mask as grow

sides = st.integers(1, 60)
masks = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=24))
radii = st.integers(0, 12)


def distance(mask):
    """Distance to the nearest True pixel, by trying them all."""
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    nearest = np.full(mask.shape, np.inf)
    for row, column in np.argwhere(mask):
        nearest = np.minimum(nearest, np.hypot(y - row, x - column))
    return nearest


@settings(deadline=None)
@given(masks, radii)
def test_grow_takes_what_lies_within_the_radius(mask, px):
    grown = grow(mask, px)
    assert grown.dtype == np.bool_
    np.testing.assert_array_equal(grown, distance(mask) <= px)


@settings(deadline=None)
@given(masks, radii)
def test_grow_contains_the_mask_and_grows_with_the_radius(mask, px):
    assert (grow(mask, px) >= mask).all()
    assert (grow(mask, px + 1) >= grow(mask, px)).all()
    np.testing.assert_array_equal(grow(mask, 0), mask)


@settings(deadline=None)
@given(masks, radii)
def test_feather_is_one_inside_and_zero_beyond_the_radius(mask, px):
    weight = feather(mask, px)
    away = distance(mask)
    assert weight.dtype == np.float32
    assert (weight[mask] == 1).all()
    assert (weight[away > px] == 0).all()
    assert (weight[(away <= px) & ~mask] > 0).all()
    assert (weight[~mask] < 1).all()


@settings(deadline=None)
@given(masks, radii)
def test_feather_falls_with_distance(mask, px):
    order = np.argsort(distance(mask), axis=None)
    assert (np.diff(feather(mask, px).ravel()[order]) <= 1e-6).all()


@settings(deadline=None)
@given(masks)
def test_feather_of_nothing_is_the_hard_mask(mask):
    np.testing.assert_array_equal(feather(mask, 0), mask.astype(np.float32))


@settings(deadline=None)
@given(masks, radii, radii)
def test_a_hole_has_the_edge_of_its_grown_mask(mask, px, feather_px):
    hole = Hole(mask, px, feather_px)
    np.testing.assert_array_equal(hole.grown, grow(mask, px))
    # OpenCV's distances differ in the last bits with the place in memory where the mask lies.
    np.testing.assert_allclose(hole.weights, feather(grow(mask, px), feather_px), atol=1e-6)
    np.testing.assert_array_equal(hole.touched, feather(grow(mask, px), feather_px) > 0)


def test_what_follows_from_a_mask_is_computed_once():
    hole = Hole(np.eye(9, dtype=np.bool_), 2, 3)
    assert hole.grown is hole.grown
    assert hole.weights is hole.weights
    assert hole.touched is hole.touched


@pytest.mark.parametrize("edge", [{"grow_px": -1}, {"feather_px": -1}])
def test_a_hole_with_an_impossible_edge_is_refused(edge):
    with pytest.raises(UsageError, match="by -1 pixels"):
        Hole(np.zeros((2, 2), np.bool_), **edge)


def test_feather_is_smooth():
    mask = np.zeros((1, 200), np.bool_)
    mask[0, :50] = True
    ramp = feather(mask, 100)[0]
    steps = np.abs(np.diff(ramp))
    assert steps.max() < 1.6 / 100
    assert np.abs(np.diff(steps)).max() < 1e-3  # no corner at either end


@pytest.mark.parametrize("px", [3, 400])
def test_a_grown_point_is_round(px):
    mask = np.zeros((2 * px + 9, 2 * px + 9), np.bool_)
    mask[px + 4, px + 4] = True
    grown = grow(mask, px)
    np.testing.assert_array_equal(grown, distance(mask) <= px)
    np.testing.assert_array_equal(grown, grown.T)


@pytest.mark.parametrize("call", [grow, feather])
def test_negative_radius(call):
    with pytest.raises(UsageError):
        call(np.ones((2, 2), np.bool_), -1)


def coverage(boxes, height, width):
    """How many of the boxes hold each pixel."""
    count = np.zeros((height, width), np.int64)
    for box in boxes:
        assert 0 <= box.top < box.bottom <= height
        assert 0 <= box.left < box.right <= width
        count[box.slices] += 1
    return count


@settings(deadline=None)
@given(sides, sides, st.integers(1, 70), st.integers(1, 70))
def test_tiles_part_the_image(height, width, max_rows, max_columns):
    boxes = list(tiles(height, width, max_rows, max_columns))
    assert (coverage(boxes, height, width) == 1).all()
    assert max(b.height for b in boxes) <= max_rows
    assert max(b.width for b in boxes) <= max_columns
    assert sum(b.area for b in boxes) == height * width
    assert boxes == sorted(boxes, key=lambda b: (b.top, b.left))


@settings(deadline=None)
@given(sides, sides, st.integers(1, 7), st.data())
def test_halves_part_a_box_across_its_longer_side_on_the_grid(height, width, step, data):
    box = Box(3 * step, 5 * step, 3 * step + height * step, 5 * step + width * step)
    halves = box.halves(step)
    if halves is None:
        assert max(height, width) == 1
        return
    first, second = halves
    assert first.area + second.area == box.area
    assert first.area <= second.area < box.area
    assert (coverage(halves, box.bottom, box.right)[box.slices] == 1).all()
    edges = (v for b in halves for v in (b.top, b.left, b.bottom, b.right))
    assert all(v % step == 0 for v in edges)
    if height > width:
        assert first.width == second.width == box.width
    if width > height:
        assert first.height == second.height == box.height


@settings(deadline=None)
@given(sides, st.integers(1, 5))
def test_halving_ends_with_boxes_of_one_step(length, step):
    boxes, whole = [Box(0, 0, length * step, step)], 0
    while boxes:
        halves = boxes.pop().halves(step)
        if halves is None:
            whole += 1
        else:
            boxes += halves
    assert whole == length


def test_a_box_on_other_grids():
    box = Box(2, 4, 6, 12)
    assert box.scaled(4) == Box(8, 16, 24, 48)
    assert box.scaled(4, 8) == Box(1, 2, 3, 6)
    with pytest.raises(AssertionError):
        Box(1, 0, 2, 2).scaled(1, 2)
    assert box.grown(3, 8, 13) == Box(0, 1, 8, 13)
    assert (box.height, box.width, box.area) == (4, 8, 32)
    np.testing.assert_array_equal(np.arange(200).reshape(10, 20)[box.slices][0], np.arange(44, 52))
