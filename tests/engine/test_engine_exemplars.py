"""Texture that is copied into wide holes: where it comes from, where it goes, and that it is always the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import LOCAL, photograph, psnr, restorer

from adacode_cli.engine import exemplars
from adacode_cli.engine.exemplars import WIDE_PX, with_exemplars

DEPTHS = {np.uint8: 255, np.uint16: 65535, np.float32: 1.0}


def stripes(height: int, width: int, period: int = 12) -> np.ndarray:
    """Diagonal stripes with a slow change of colour, H×W×3 uint8."""
    y, x = np.mgrid[:height, :width]
    wave = 60 * np.sin(2 * np.pi * (x + y) / period)
    return np.clip(np.dstack((120 + wave, 110 + wave + x / 8, 90 - wave)), 0, 255).astype(np.uint8)


def box(height: int, width: int, size: int) -> np.ndarray:
    hole = np.zeros((height, width), bool)
    hole[(height - size) // 2 :, (width - size) // 2 :][:size, :size] = True
    return hole


def flat_in(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """What a network does that knows colours and no texture: the mean of the image in the hole."""
    filled = image.copy()
    filled[hole] = image.reshape(hole.size, -1).mean(0).reshape(image.shape[2:]).astype(image.dtype)
    return filled


def test_texture_goes_on_through_the_hole():
    image, hole = stripes(160, 200), box(160, 200, 40)
    filled = flat_in(image, hole)
    result = with_exemplars(image, filled, hole)
    before, after = (psnr(image[hole] / 255, x[hole] / 255) for x in (filled, result))
    assert after > before + 5
    # Half of the result is the filling, so the stripes have half of their contrast, at their place.
    detail = [x[hole].astype(float) - filled[hole] for x in (image, result)]
    assert np.corrcoef(detail[0].ravel(), detail[1].ravel())[0, 1] > 0.97
    assert detail[1].std() / detail[0].std() == pytest.approx(0.5, abs=0.05)


@given(seed=st.integers(0, 99), size=st.integers(1, 30), channels=st.sampled_from([1, 3]))
@settings(max_examples=15, deadline=None)
def test_only_wide_holes_change(seed, size, channels):
    image = photograph(90, 110, channels=channels, seed=seed)
    hole = box(90, 110, size)
    hole[10] = hole[:, 100] = True  # long and thin
    filled = flat_in(image, hole)
    filled[~hole] = 255 - filled[~hole]  # outside holes, the network's own pixels are passed on
    result = with_exemplars(image, filled, hole)
    wide = box(90, 110, size + 2) & hole if size >= WIDE_PX else np.zeros_like(hole)
    np.testing.assert_array_equal(result[~wide], filled[~wide])
    assert (size < WIDE_PX + 2) or (result[wide] != filled[wide]).any()
    assert (result.shape, result.dtype) == (image.shape, image.dtype)
    np.testing.assert_array_equal(with_exemplars(image, filled, hole), result)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_all_depths_give_the_same_image(dtype, channels):
    image, hole = photograph(120, 130, channels=channels), box(120, 130, 40)
    wanted = with_exemplars(image, flat_in(image, hole), hole)
    scale = DEPTHS[dtype] / 255
    deep = (image * np.float64(scale)).astype(dtype)
    filled = (flat_in(image, hole) * np.float64(scale)).astype(dtype)
    found = with_exemplars(deep, filled, hole)
    assert found.dtype == dtype
    np.testing.assert_allclose(found / scale, wanted, atol=1.01)


def test_pixels_that_are_hidden_are_never_copied():
    """Only the right part has the texture of the hole; once it is hidden, that texture is not found any more."""
    image, hole = stripes(120, 200), np.zeros((120, 200), bool)
    hole[45:75, 110:140] = True
    image[:, :100] = photograph(120, 100)
    filled = flat_in(image, hole)
    usable = np.zeros(hole.shape, bool)
    usable[:, :90] = True
    detail = [x[hole].astype(float) - filled[hole] for x in (image, with_exemplars(image, filled, hole))]
    hidden = with_exemplars(image, filled, hole, usable)[hole] - filled[hole].astype(float)
    assert np.corrcoef(detail[0].ravel(), detail[1].ravel())[0, 1] > 0.9
    assert abs(np.corrcoef(detail[0].ravel(), hidden.ravel())[0, 1]) < 0.6


@pytest.mark.parametrize("share", ["all", "nearly all"])
def test_without_anything_to_copy_the_filling_stays(share):
    image, hole = photograph(60, 60), np.ones((60, 60), bool)
    if share == "nearly all":
        hole[:8] = False
    filled = flat_in(image, hole)
    np.testing.assert_array_equal(with_exemplars(image, filled, hole), filled)


def test_blocks_go_on_from_one_another(monkeypatch):
    image, hole = stripes(200, 260), np.zeros((200, 260), bool)
    hole[80:120, 20:240] = True
    filled = flat_in(image, hole)
    whole = with_exemplars(image, filled, hole)
    monkeypatch.setattr(exemplars, "_BLOCK_PX", 64)
    monkeypatch.setattr(exemplars, "_REACH_PX", 64)
    parts = with_exemplars(image, filled, hole)
    detail = [x[hole].astype(float) - filled[hole] for x in (image, whole, parts)]
    for found in detail[1:]:
        assert np.corrcoef(detail[0].ravel(), found.ravel())[0, 1] > 0.9
    assert not np.array_equal(parts[hole], filled[hole])


def test_the_choice_of_places_is_that_of_a_plain_search():
    """The matrix product of whole numbers gives the places of least cost, one by one in exact arithmetic."""
    image, hole = photograph(72, 80), box(72, 80, 16)
    levels = flat_in(image, hole).astype(np.float32)
    part = exemplars._Part(levels, hole, ~hole, ~hole)
    cells = exemplars._Cells.of(hole)
    places = np.argwhere(part.sources[::4, ::4]) * 4
    own = part._surroundings(cells)
    choices = part._choices(cells, places, own)
    far = round(exemplars._FAR * exemplars._WEIGHT_STEPS * exemplars._LEVEL_STEPS**2)
    for n in range(len(cells.y)):
        costs = []
        for y, x in places:
            theirs = part.around(np.array([y]), np.array([x]))[0]
            difference = (own.weights[n][:, None] * (theirs - own.described[n]) ** 2).sum()
            costs.append(int(difference) + far * int((y - cells.y[n]) ** 2 + (x - cells.x[n]) ** 2))
        best = sorted(costs)[: choices.shape[1]]
        middle = np.array([cells.y[n], cells.x[n]])
        found = [costs[places.tolist().index((shift + middle).tolist())] for shift in choices[n]]
        assert found == best


def test_a_restorer_gives_wide_holes_texture_unless_told_not_to():
    one, image, hole = restorer(LOCAL), photograph(96, 128), box(96, 128, 30)
    hole[:3, :] = True
    plain, textured = one.inpaint(image, hole, exemplars=False), one.inpaint(image, hole)
    np.testing.assert_array_equal(textured[~hole], image[~hole])
    changed = (plain != textured).any(2)
    assert changed[box(96, 128, 30)].mean() > 0.5
    assert not changed[:3].any()
    np.testing.assert_array_equal(with_exemplars(image, plain, hole)[hole], textured[hole])


def test_what_was_filled_before_is_no_source(monkeypatch):
    """Small blocks: what is usable everywhere is the same as no limit, also in the last block."""
    image, hole = photograph(140, 200, seed=3), box(140, 200, 100)
    filled = flat_in(image, hole)
    monkeypatch.setattr(exemplars, "_BLOCK_PX", 64)
    monkeypatch.setattr(exemplars, "_REACH_PX", 64)
    found = with_exemplars(image, filled, hole)
    np.testing.assert_array_equal(found, with_exemplars(image, filled, hole, np.ones_like(hole)))
    assert (found[hole] != filled[hole]).any(1).mean() > 0.5


def test_no_hidden_colour_gets_into_the_result():
    """Only a small island can be seen, with grey levels of 90 to 110; hidden pixels are white."""
    rng = np.random.default_rng(0)
    image = np.full((100, 160, 3), 255, np.uint8)
    hole, usable = np.zeros((100, 160), bool), np.zeros((100, 160), bool)
    usable[40:61, 20:41] = True
    image[usable] = rng.integers(90, 111, (usable.sum(), 3))
    hole[40:80, 60:100] = True
    filled = image.copy()
    filled[hole] = 100
    result = with_exemplars(image, filled, hole, usable)
    assert (result[hole] != 100).any()
    assert 90 <= result[hole].min() <= result[hole].max() <= 110
    other = np.where(usable[..., None] | hole[..., None], image, 0).astype(np.uint8)
    np.testing.assert_array_equal(with_exemplars(other, filled, hole, usable)[hole], result[hole])


def test_far_holes_are_processed_apart_and_near_ones_together():
    wanted = np.zeros((900, 1300), bool)
    for y, x in ((10, 10), (20, 60), (700, 900), (890, 1290)):
        wanted[y : y + 9, x : x + 9] = True
    windows = list(exemplars._windows(wanted))
    assert len(windows) == 3
    assert all(window[0].stop - window[0].start < 400 for window, _ in windows)
    again = np.zeros_like(wanted)
    for window, inside in windows:
        assert not (again[window] & inside).any()
        again[window] |= inside
    np.testing.assert_array_equal(again, wanted)


@given(seed=st.integers(0, 10**6), height=st.integers(1, 150), width=st.integers(1, 150))
@settings(max_examples=40, deadline=None)
def test_windows_hold_every_pixel_once(seed, height, width):
    rng = np.random.default_rng(seed)
    wanted = rng.random((height, width)) < rng.choice([0.001, 0.02, 0.9])
    covered = np.zeros((height, width), int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exemplars, "_BLOCK_PX", 64)
        for window, inside in exemplars._windows(wanted):
            covered[window] += inside
    np.testing.assert_array_equal(covered, wanted.astype(int))
