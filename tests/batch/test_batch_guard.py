"""What is black, flat or wrongly coloured is found, and nothing that the networks really make is."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nearest import NearestRestorer

from adacode_cli.batch.color_fix import WINDOW_PX, with_low_frequencies
from adacode_cli.batch.comparison import unit
from adacode_cli.batch.guard import MAX_DRIFT, Guarded, defect
from adacode_cli.batch.restoring import Restoring
from adacode_cli.errors import QualityError
from adacode_cli.geometry import Hole
from adacode_cli.imaging.image import Decoded

DTYPES = [np.uint8, np.uint16, np.float32]


def as_dtype(values, dtype):
    return values.astype(dtype) if dtype is np.float32 else np.rint(values * np.iinfo(dtype).max).astype(dtype)


def scene(dtype=np.uint8, grey=False, size=(48, 64), seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.random((6, 8, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC) * 0.6 + 0.2
    values = np.clip(smooth + rng.normal(0, 0.05, smooth.shape), 0, 1).astype(np.float32)
    return as_dtype(values[..., 0] if grey else values, dtype)


def enlarged(pixels, scale=2):
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grey", [False, True])
def test_an_honest_enlargement_is_not_doubted(dtype, grey):
    pixels = scene(dtype, grey)
    after = np.clip(enlarged(pixels), 0, 1 if dtype is np.float32 else np.iinfo(dtype).max).astype(dtype)
    assert defect(Decoded(pixels), Decoded(after)) is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda v: v * 0, "black"),
        (lambda v: v * 0 + 0.5, "flat"),
        (lambda v: np.clip(v + np.array([0.15, 0, 0]), 0, 1), "drift"),
        (lambda v: np.where(np.arange(v.shape[1])[None, :, None] < 34, 1 - v, v), "a part|drift"),
        (lambda v: v[..., ::-1] * np.array([1, 0.4, 1]), "part|drift"),
    ],
)
def test_spoilt_results_are_told(dtype, spoil, word):
    values = np.clip(enlarged(scene(np.float32)), 0, 1)
    after = as_dtype(spoil(values).astype(np.float32), dtype)
    assert re.search(word, defect(Decoded(scene(dtype)), Decoded(after)))


def test_a_small_black_tile_is_a_part_that_differs():
    pixels = scene(size=(160, 160))
    after = enlarged(pixels)
    after[40:104, 40:104] = 0
    assert "a part" in defect(Decoded(pixels), Decoded(after))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grey", [False, True])
def test_pixels_that_are_not_what_the_device_made_are_told(dtype, grey):
    """Its means are of what it made; a part that did not arrive is another image."""
    pixels = scene(dtype, grey, size=(160, 200))
    after = pixels.repeat(2, 0).repeat(2, 1)
    means = unit(pixels)
    assert defect(Decoded(pixels), Decoded(after), None, means) is None
    after[100:140] = 0
    assert "lost" in defect(Decoded(pixels), Decoded(after), None, means)


def test_numbers_that_are_none():
    pixels = scene(np.float32)
    after = np.clip(enlarged(pixels), 0, 1)
    after[3, 4, 1] = np.nan
    assert "not finite numbers" in defect(Decoded(pixels), Decoded(after))


@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_image_that_is_flat_itself_may_stay_so(value):
    flat = np.full((8, 8, 3), value, np.uint8)
    assert defect(Decoded(flat), Decoded(enlarged(flat))) is None


@settings(deadline=None, max_examples=40)
@given(height=st.integers(1, 40), width=st.integers(1, 40), scale=st.sampled_from([1, 2, 4]), seed=st.integers(0, 99))
def test_no_size_is_too_small_to_be_looked_at(height, width, scale, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    after = pixels.repeat(scale, 0).repeat(scale, 1)
    assert defect(Decoded(pixels), Decoded(after)) is None


def test_holes_and_what_cannot_be_seen_do_not_count():
    pixels = scene()
    hole = np.zeros(pixels.shape[:2], bool)
    hole[:, :40] = True
    after = pixels.copy()
    after[:, :43] = 255
    assert defect(Decoded(pixels), Decoded(after), Hole(hole, 1, 3)) is None
    assert defect(Decoded(pixels), Decoded(after))
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    alpha[:, :43] = 0
    assert defect(Decoded(pixels, alpha), Decoded(after, alpha)) is None
    assert defect(Decoded(pixels), Decoded(after), Hole(np.ones_like(hole))) is None


class Half:
    """Makes black images, as a half-wide type that overflows does."""

    def __call__(self, image, mask):
        return Restoring(NearestRestorer(), "sr", 2.0)(Decoded(image.pixels * 0), mask)


def test_doubtful_results_are_computed_again_and_refused_if_that_does_not_help():
    image = Decoded(scene())
    whole = Restoring(NearestRestorer(), "sr", 2.0)
    after, _ = Guarded(Half(), lambda: whole)(image, None)
    np.testing.assert_array_equal(after.pixels[::2, ::2], image.pixels)
    assert any("again in float32: it is black" in note for note in after.notes)
    with pytest.raises(QualityError, match="it is black") as caught:
        Guarded(Half(), Half)(image, None)
    assert (caught.value.exit_code, caught.value.image.pixels.max()) == (6, 0)
    after, _ = Guarded(whole, lambda: pytest.fail("nothing was wrong"))(image, None)
    assert after.notes == ()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grey", [False, True])
def test_low_frequencies_come_back_and_details_stay(dtype, grey):
    pixels = scene(dtype, grey, size=(96, 96))
    values = scene(np.float32, grey, size=(96, 96))
    tint = np.linspace(-0.06, 0.06, 192, dtype=np.float32)[None, :]
    large = np.clip(enlarged(values), 0.1, 0.9)
    tinted = large + (tint if grey else tint[..., None])
    fixed = with_low_frequencies(Decoded(pixels), Decoded(as_dtype(tinted, dtype)))
    assert (fixed.pixels.shape, fixed.pixels.dtype) == (tinted.shape, dtype)
    full = 1 if dtype is np.float32 else np.iinfo(dtype).max
    after = fixed.pixels.astype(np.float32) / full
    assert np.abs(after - large).mean() < 0.35 * np.abs(tinted - large).mean()
    details = after - cv2.blur(after, (9, 9)) - (large - cv2.blur(large, (9, 9)))
    assert np.abs(details).mean() < 0.01


def test_colours_are_not_fixed_inside_holes_or_where_nothing_is_seen():
    pixels = scene(size=(96, 96))
    hole = np.zeros((96, 96), bool)
    hole[30:60, 30:60] = True
    after = pixels.copy()
    after[hole] = (255, 0, 255)
    fixed = with_low_frequencies(Decoded(pixels), Decoded(after), Hole(hole))
    np.testing.assert_array_equal(fixed.pixels, after)
    alpha = np.where(hole, 0, 255).astype(np.uint8)
    fixed = with_low_frequencies(Decoded(pixels, alpha), Decoded(after, alpha))
    np.testing.assert_array_equal(fixed.pixels, after)
    assert WINDOW_PX > 16


def test_the_bound_is_the_documented_one():
    pixels = np.full((40, 40, 3), 100, np.uint8)
    for step, doubted in ((round(255 * MAX_DRIFT) - 1, False), (round(255 * MAX_DRIFT) + 2, True)):
        assert (defect(Decoded(pixels), Decoded(pixels + np.uint8(step))) is not None) == doubted
