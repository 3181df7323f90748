"""Worn pictures and holes: shapes, ranges, the same for the same seed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_families import picture

from adacode_cli.training.degradation import (
    MARGIN,
    DegradationSettings,
    degrade,
    degrade_with_margin,
    gaussian_kernel,
)
from adacode_cli.training.holes import MOST, random_hole

GENTLE = DegradationSettings(blur_px=0.01, noise=0, quality=(100, 100), noise_share=0, jpeg_share=0)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([2, 4]), st.integers(8, 20), st.integers(8, 20))
def test_degraded_pictures_have_the_size_and_depend_on_the_seed_alone(seed, scale, h, w):
    patch = picture(1, h * scale, w * scale)
    low = degrade(patch, scale, rng(seed), DegradationSettings())
    assert (low.shape, low.dtype) == ((h, w, 3), np.uint8)
    assert np.array_equal(low, degrade(patch, scale, rng(seed), DegradationSettings()))


@pytest.mark.parametrize("scale", [2, 4])
def test_degradations_differ_and_still_show_the_picture(scale):
    patch = picture(2, 128, 128)
    small = cv2.resize(patch, (128 // scale,) * 2, interpolation=cv2.INTER_AREA).astype(float)
    lows = [degrade(patch, scale, rng(seed), DegradationSettings()) for seed in range(30)]
    errors = [np.abs(low - small).mean() for low in lows]
    assert max(errors) < 20
    assert max(errors) > 2 * min(errors)
    assert len({low.tobytes() for low in lows}) == 30


def test_almost_no_degradation_of_a_grey_picture_is_almost_a_plain_shrink():
    grey = np.repeat(picture(3, 128, 128)[..., 1:2], 3, 2)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(float)
    errors = [np.abs(degrade(grey, 4, rng(seed), GENTLE) - small).mean() for seed in range(20)]
    assert min(errors) < 1
    assert np.median(errors) < 5


def test_jpeg_sees_colours_in_the_right_order():
    """It keeps the detail of luma, of which red is 30 % and blue 11 %, and little of the detail of colours."""
    dots = np.random.default_rng(0).integers(0, 2, (64, 64)).repeat(2, 0).repeat(2, 1).astype(np.uint8) * 255

    def kept(channel: int) -> float:
        patch = np.zeros((128, 128, 3), np.uint8)
        patch[..., channel] = dots
        return float(np.mean([degrade(patch, 2, rng(seed), GENTLE)[..., channel].std() for seed in range(5)]))

    assert kept(1) > kept(0) > 1.1 * kept(2)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([2, 4]))
def test_margin_is_cut_from_both_pictures_at_the_same_place(seed, scale):
    n = 16
    patch = picture(5, (n + 2 * MARGIN) * scale, (n + 2 * MARGIN) * scale)
    low, high = degrade_with_margin(patch, scale, rng(seed), GENTLE)
    assert (low.shape, high.shape) == ((n, n, 3), (n * scale, n * scale, 3))
    small = cv2.resize(high, (n, n), interpolation=cv2.INTER_AREA).astype(float)
    here = np.abs(low - small).mean()
    shifted = np.abs(low[1:] - small[:-1]).mean(), np.abs(low[:, 1:] - small[:, :-1]).mean()
    assert here < min(shifted)


@given(st.floats(0.15, 3), st.floats(0.15, 3), st.floats(0, np.pi))
def test_kernels_keep_brightness_and_centre(sigma_x, sigma_y, angle):
    kernel = gaussian_kernel(sigma_x, sigma_y, angle)
    assert kernel.shape[0] == kernel.shape[1]
    assert kernel.shape[0] % 2 == 1
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert np.allclose(kernel, kernel[::-1, ::-1], atol=1e-6)


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.sampled_from([32, 64, 128]))
def test_holes_are_between_a_pixel_and_the_most_of_the_picture(seed, side):
    hole = random_hole(side, rng(seed))
    assert (hole.shape, hole.dtype) == ((side, side), np.bool_)
    assert 1 <= hole.sum() <= MOST * side**2
    assert np.array_equal(hole, random_hole(side, rng(seed)))


def test_holes_are_of_many_sizes():
    shares = np.array([random_hole(128, rng(seed)).mean() for seed in range(300)])
    assert (shares < 0.02).mean() > 0.02
    assert (shares > 0.25).mean() > 0.02
