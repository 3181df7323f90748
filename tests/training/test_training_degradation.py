"""Degraded images, one at a time: shapes, ranges, registration, the same for the same seed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
from degradation_statistics import shift
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_families import picture

from adacode_cli.errors import UsageError
from adacode_cli.training.degradation import (
    MARGIN,
    MODERATE,
    PUBLISHED,
    DegradationSettings,
    degrade,
    degrade_with_margin,
    gaussian_kernel,
)
from adacode_cli.training.degradation.chain import Blur, Jpeg, Noise, Resize, draw_chain
from adacode_cli.training.degradation.on_cpu import apply
from adacode_cli.training.degradation.settings import RESIZES, HeavySettings

PRESETS = pytest.mark.parametrize("preset", [MODERATE, PUBLISHED], ids=["moderate", "published"])
GENTLE = DegradationSettings(blur_px=0.01, noise=0, quality=(100, 100), noise_share=0, jpeg_share=0)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=40)
@given(
    st.integers(0, 2**32),
    st.sampled_from([1, 2, 3, 4, 8]),
    st.integers(1, 20),
    st.integers(8, 20),
    st.sampled_from([MODERATE, PUBLISHED]),
)
def test_degraded_images_have_the_size_and_depend_on_the_seed_alone(seed, scale, h, w, preset):
    patch = picture(1, h * scale, w * scale)
    low = degrade(patch, scale, rng(seed), preset)
    assert (low.shape, low.dtype) == ((h, w, 3), np.uint8)
    assert np.array_equal(low, degrade(patch, scale, rng(seed), preset))


@pytest.mark.parametrize("scale", [2, 4])
def test_degradations_differ_and_still_show_the_image(scale):
    patch = picture(2, 128, 128)
    small = cv2.resize(patch, (128 // scale,) * 2, interpolation=cv2.INTER_AREA).astype(float)
    lows = [degrade(patch, scale, rng(seed), DegradationSettings()) for seed in range(30)]
    errors = [np.abs(low - small).mean() for low in lows]
    assert max(errors) < 20
    assert max(errors) > 1.5 * min(errors)
    assert len({low.tobytes() for low in lows}) == 30


def test_almost_no_degradation_of_a_grey_image_is_almost_a_plain_shrink():
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
def test_margin_is_cut_from_both_images_at_the_same_place(seed, scale):
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


@pytest.mark.parametrize("half", [0, 1, 5])
@pytest.mark.parametrize("moved", [-0.5, 0.0, 0.25])
def test_kernels_can_be_moved(half, moved):
    kernel = gaussian_kernel(0.6, 0.6, 0.0, half, moved)
    assert kernel.shape == (2 * half + 1,) * 2
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    if half == 5:
        centre = (kernel.sum(0) * np.arange(-5, 6)).sum(), (kernel.sum(1) * np.arange(-5, 6)).sum()
        assert centre == pytest.approx((moved, moved), abs=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kernels": "box"},
        {"blur_px": -1},
        {"kernel_px": (8, 20)},
        {"isotropic": (3.0, 2.0, 0.1)},
        {"anisotropic": (0.0, 2.0, 0.1)},
        {"resizes": ()},
        {"resizes": ("lanczos",)},
        {"two_step_share": 1.5},
        {"first_step": (0.5, 0.0)},
        {"subsample_blur": (0.0, 0.6)},
        {"noise_least": 13.0},
        {"noise": float("nan")},
        {"noise_kinds": (0.5, 0.5, 0.5)},
        {"quality": (0, 50)},
        {"quality": (60, 50)},
    ],
    ids=str,
)
def test_impossible_ranges_are_reported(wrong):
    with pytest.raises(UsageError, match="degradation is impossible"):
        DegradationSettings(**wrong)


def with_tuples(values: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


@PRESETS
def test_settings_survive_json(preset):
    read = json.loads(json.dumps(asdict(preset)))
    heavy = HeavySettings(**with_tuples(read.pop("heavy")))
    assert DegradationSettings(**with_tuples(read), heavy=heavy) == preset


def test_sides_must_be_multiples_of_the_scale():
    with pytest.raises(UsageError, match="multiples of 4"):
        degrade(picture(1, 64, 66), 4, rng(0), MODERATE)


@PRESETS
@pytest.mark.parametrize("scale", [2, 4])
def test_chains_have_all_orders_and_end_in_a_jpeg_of_the_right_size(preset, scale):
    chains = [draw_chain(rng(seed), (96, 128), scale, preset) for seed in range(600)]
    orders = Counter(tuple(type(step).__name__ for step in chain) for chain in chains)
    assert len(orders) > (100 if preset is PUBLISHED else 20)
    for chain in chains:
        assert isinstance(chain[-1], Jpeg)
        assert [step.size for step in chain if isinstance(step, Resize)][-1] == (96 // scale, 128 // scale)
    counts = {
        kind: np.mean([sum(isinstance(s, kind) for s in chain) for chain in chains]) for kind in (Blur, Jpeg, Noise)
    }
    expected = {Blur: 1 + preset.second_blur_share, Jpeg: 1 + preset.jpeg_share, Noise: 1}
    assert counts == pytest.approx(expected, abs=0.08)
    kinds = {step.kind for chain in chains for step in chain if isinstance(step, Resize)}
    assert kinds == set(preset.resizes)


@pytest.mark.parametrize(("preset", "least"), [(MODERATE, 64), (PUBLISHED, 16)], ids=["moderate", "published"])
def test_two_steps_go_over_a_size_between(preset, least):
    """Of 128 pixels to 32: the paper goes down to half of that and up again, with other steps between the two."""
    always = replace(preset, two_step_share=1.0, halving_share=0.0)
    between, apart = [], []
    for seed in range(300):
        chain = draw_chain(rng(seed), (128, 128), 4, always)
        first, second = (i for i, step in enumerate(chain) if isinstance(step, Resize))
        assert chain[second].size == (32, 32)
        between.append(chain[first].size[0])
        apart.append(second - first > 1)
    assert least <= min(between) < least + 6
    assert 122 < max(between) <= 128
    assert any(apart) == preset.steps_apart


def test_published_ranges_are_those_of_the_paper():
    seen = [step for seed in range(400) for step in draw_chain(rng(seed), (256, 256), 4, PUBLISHED)]
    isotropic = {step.span for step in seen if isinstance(step, Blur) and step.form == "isotropic"}
    assert sorted(isotropic) == [(0.1, pytest.approx(2.4)), (0.1, pytest.approx(2.8))]
    sides = {len(step.kernel(rng(i))) for i, step in enumerate(seen) if isinstance(step, Blur)}
    assert sides == set(range(7, 22, 2))
    qualities = [step.quality(rng(i)) for i, step in enumerate(seen) if isinstance(step, Jpeg)]
    assert (min(qualities), max(qualities)) == (30, 95)
    mixings = [step.mixing(rng(i)) for i, step in enumerate(seen) if isinstance(step, Noise)]
    grey = [m[0, 0] * 255 for m in mixings if (m[:, 0] == m[0, 0]).all() and not m[:, 1:].any()]
    colour = [m[0, 0] * 255 for m in mixings if np.array_equal(m, np.eye(3, dtype=np.float32) * m[0, 0])]
    assert np.array([len(grey), len(colour)]) / len(mixings) == pytest.approx([0.4, 0.4], abs=0.08)
    for levels in (grey, colour):
        assert 2 <= min(levels) < 4
        assert 23 < max(levels) <= 25.001


@pytest.mark.parametrize("kind", RESIZES)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_no_kind_of_downsampling_moves_the_image(kind, scale):
    smooth = cv2.GaussianBlur(picture(7, 48 * scale, 48 * scale), (0, 0), 2.5 * scale).astype(np.float32)
    still = cv2.resize(smooth, (48, 48), interpolation=cv2.INTER_AREA)
    step = Resize(kind, (48, 48), scale, (0.1, 0.6 * scale), room=40)
    moved = [shift(apply(step, smooth, rng(seed)), still) for seed in range(5)]
    assert np.abs(moved).max() < 0.01
    assert scale == 3 or np.abs(shift(smooth[::scale, ::scale], still)).min() > 0.2


@PRESETS
@pytest.mark.parametrize("scale", [2, 4])
def test_whole_chains_do_not_move_images(preset, scale):
    """On average over images: JPEG flattens each one in its own way, which looks like a small move."""
    moved = []
    for seed in range(80):
        smooth = cv2.GaussianBlur(picture(seed, 48 * scale, 48 * scale), (0, 0), 2 * scale)
        still = cv2.resize(smooth, (48, 48), interpolation=cv2.INTER_AREA)
        moved.append(shift(degrade(smooth, scale, rng(seed), preset), still))
    error = np.std(moved, 0) / len(moved) ** 0.5
    assert error.max() < 0.01
    assert (np.abs(np.mean(moved, 0)) < 3 * error + 0.005).all()
