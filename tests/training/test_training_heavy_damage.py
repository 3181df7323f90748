"""Heavy damage: two rounds of it, alike on the CPU and on a device; what it leaves alone where it has no share."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from degradation_statistics import NAMES, as_images, as_tensor, differences, draw_batched, draw_single, textured
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_families import picture

from adacode_cli.errors import UsageError
from adacode_cli.training.degradation import MODERATE, PUBLISHED, DegradationSettings, degrade, degrade_batch
from adacode_cli.training.degradation.chain import Blur, Halftone, Jpeg, Noise, Resize, Step, draw_chain
from adacode_cli.training.degradation.on_cpu import apply, jpeg
from adacode_cli.training.degradation.on_device import apply_batch
from adacode_cli.training.degradation.settings import HeavySettings
from adacode_cli.training.overrides import overridden
from adacode_cli.training.presets import named_recipe

HEAVY = replace(MODERATE, heavy=HeavySettings(share=1.0))
MIXED = replace(MODERATE, heavy=HeavySettings(share=0.5), clean_share=0.3)
# Everything that is possible at once, at its greatest.
EXTREME = HeavySettings(
    share=1.0,
    blur_px=3.0,
    second_blur_px=3.0,
    second_blur_share=1.0,
    between=(0.5, 0.5),
    noise=255.0,
    second_noise=255.0,
    noise_share=1.0,
    shot_share=0.5,
    grain_share=1.0,
    grain_px=(4.0, 4.0),
    halftone_share=1.0,
    quality=(1, 1),
    jpeg_share=1.0,
)
# As in test_training_degradation_batched.
MAX_ERRORS, DRAWS = 4.0, 512
STORES = pytest.mark.parametrize("on", ["host", "device"])
COLOUR = (0.0, 1.0, 0.0)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def applied(on: str, step: Step, image: np.ndarray, seed: int = 0) -> np.ndarray:
    """H×W×3 float32 in [0, 1] after one step, by the one implementation or by the other."""
    if on == "host":
        return apply(step, image, rng(seed))
    batch = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    return apply_batch(step, batch, rng(seed), seeded(seed))[0].permute(1, 2, 0).numpy()


def flat(level: float, side: int = 128) -> np.ndarray:
    return np.full((side, side, 3), level, np.float32)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([1, 2, 3, 4]),
    st.integers(5, 19),
    st.integers(5, 19),
    st.sampled_from([HeavySettings(share=1.0), replace(HeavySettings(share=1.0), between=(0.5, 8.0)), EXTREME]),
)
def test_any_size_comes_out_right_and_in_range_and_again(seed, scale, h, w, heavy):
    settings = replace(MODERATE, heavy=heavy)
    patch = picture(seed % 5, h * scale, w * scale)
    low = degrade(patch, scale, rng(seed), settings)
    assert (low.shape, low.dtype) == ((h, w, 3), np.uint8)
    assert np.array_equal(low, degrade(patch, scale, rng(seed), settings))
    batch = as_tensor(np.stack([patch, patch[::-1]]))
    lows = degrade_batch(batch, scale, seeded(seed), settings)
    assert (lows.shape, lows.dtype) == ((2, 3, h, w), torch.float32)
    assert torch.isfinite(lows).all()
    assert 0 <= float(lows.min()) <= float(lows.max()) <= 1
    torch.testing.assert_close(lows * 255, (lows * 255).round(), rtol=0, atol=1e-4)
    assert torch.equal(lows, degrade_batch(batch, scale, seeded(seed), settings))


@pytest.mark.parametrize("scale", [2, 4])
def test_chains_are_two_rounds_over_a_size_between(scale):
    heavy = replace(HEAVY.heavy, halftone_share=0.25)
    chains = [draw_chain(rng(seed), (96, 128), scale, replace(MODERATE, heavy=heavy)) for seed in range(600)]
    low, sides = (96 // scale, 128 // scale), []
    for chain in chains:
        first, second = (step for step in chain if isinstance(step, Resize))
        assert second.size == low
        sides.append(first.size[0] / low[0])
        assert first.size[1] / low[1] == pytest.approx(sides[-1], abs=0.06)
        assert [type(step) for step in chain[:2]] == [Blur, Resize]
        assert [type(step) for step in chain[-3:]] == [Resize, Noise, Jpeg]
    assert 0.78 <= min(sides) < 0.85
    assert 2.9 < max(sides) <= 3.0
    kinds = (Blur, Noise, Jpeg, Halftone)
    counts = [np.mean([sum(isinstance(step, kind) for step in chain) for chain in chains]) for kind in kinds]
    assert counts == pytest.approx([1.6, 2.0, 1.8, 0.25], abs=0.08)
    noises = [step for chain in chains for step in chain if isinstance(step, Noise)]
    assert np.mean([step.shot for step in noises]) == pytest.approx(heavy.shot_share, abs=0.06)
    assert np.mean([step.grain_px > 0 for step in noises]) == pytest.approx(heavy.grain_share, abs=0.05)
    assert {step.span for step in noises} == {(0.0, 30 / 255), (0.0, 14 / 255)}


def test_each_kind_of_damage_has_its_share():
    other = replace(MIXED, heavy=replace(MIXED.heavy, quality=(31, 94)))
    chains = [draw_chain(rng(seed), (64, 64), 2, other) for seed in range(1500)]
    spans = [chain[-1].span for chain in chains]
    clean = [chain for chain, span in zip(chains, spans, strict=True) if span == (90, 100)]
    assert len(clean) / len(chains) == pytest.approx(0.3, abs=0.04)
    assert spans.count((31, 94)) / len(chains) == pytest.approx(0.5, abs=0.04)
    assert spans.count(MODERATE.quality) / len(chains) == pytest.approx(0.2, abs=0.04)
    assert all([type(step) for step in chain] == [Resize, Jpeg] for chain in clean)


@pytest.mark.parametrize("scale", [2, 4])
def test_a_clean_image_is_only_smaller_and_hardly_compressed(scale):
    clean = replace(MODERATE, clean_share=1.0)
    for seed in range(8):
        smooth = cv2.GaussianBlur(picture(seed, 64 * scale, 64 * scale), (0, 0), 1.5 * scale)
        small = cv2.resize(smooth, (64, 64), interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(degrade(smooth, scale, rng(seed), clean) - small).mean() < 4


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_each_step_does_the_same_to_the_same_image_on_a_device(scale):
    """Except for noise, which nobody can draw alike; a JPEG may round a few coefficients another way."""
    always = replace(MODERATE, heavy=replace(HEAVY.heavy, halftone_share=1.0))
    for seed in range(12):
        image = textured(seed, 96).astype(np.float32) / 255
        for i, step in enumerate(draw_chain(rng(seed), (96, 96), scale, always)):
            after, there = applied("host", step, image, 100 * seed + i), applied("device", step, image, 100 * seed + i)
            if isinstance(step, Jpeg):
                error = ((there - after) ** 2).mean()
                assert error < max(1.6e-4, ((image - after) ** 2).mean() / 6)
            elif not isinstance(step, Noise):
                np.testing.assert_allclose(there, after, atol=1e-5)
            image = after


@pytest.mark.parametrize(("settings", "scale", "draws"), [(HEAVY, 2, DRAWS), (HEAVY, 4, 256), (MIXED, 2, 256)])
def test_batches_have_the_statistics_of_single_images(settings, scale, draws):
    apart = differences(draw_single(settings, scale, draws), draw_batched(settings, scale, draws))
    assert np.abs(apart).max() < MAX_ERRORS, dict(zip(NAMES, apart.round(1), strict=True))


@pytest.mark.parametrize("other", [{"noise": 60.0}, {"quality": (10, 40)}, {"blur_px": 1.6}, {"between": (0.5, 0.6)}])
def test_these_statistics_tell_other_ranges_apart(other):
    changed = replace(HEAVY, heavy=replace(HEAVY.heavy, **other))
    apart = differences(draw_single(changed, 2, DRAWS // 2), draw_batched(HEAVY, 2, DRAWS))
    assert np.abs(apart).max() > MAX_ERRORS


def test_it_is_heavier_than_the_moderate_one():
    errors = [draw_single(settings, 2, 128)[:, NAMES.index("absolute error")].mean() for settings in (MODERATE, HEAVY)]
    assert errors[1] > 1.1 * errors[0]


def test_grids_of_the_last_jpeg_lie_anywhere():
    shifts = [draw_chain(rng(seed), (64, 64), 2, HEAVY)[-1].shift for seed in range(1500)]
    assert set(shifts) == {(down, right) for down in range(8) for right in range(8)}
    for axis in (0, 1):
        shares = np.bincount([shift[axis] for shift in shifts], minlength=8) / len(shifts)
        assert shares == pytest.approx([1 / 8] * 8, abs=0.035)


@STORES
@pytest.mark.parametrize("down", range(8))
def test_a_shifted_jpeg_has_its_blocks_where_it_says(on, down):
    right = (3 * down + 1) % 8
    image = textured(3, 72).astype(np.float32) / 255
    coded = applied(on, Jpeg((6, 6), (down, right)), image)
    assert coded.shape == image.shape
    for axis, shift in ((0, down), (1, right)):
        steps = np.abs(np.diff(coded.mean(2), axis=axis)).mean(1 - axis)
        by_phase = [steps[np.arange(1, 72) % 8 == phase].mean() for phase in range(8)]
        assert int(np.argmax(by_phase)) == -shift % 8
    if (down, right) == (0, 0):
        np.testing.assert_array_equal(coded, jpeg(image, 6))


@STORES
def test_an_unshifted_jpeg_is_the_one_of_before(on):
    image = textured(4, 40).astype(np.float32) / 255
    np.testing.assert_array_equal(
        applied(on, Jpeg((40, 40)), image), applied(on, Jpeg((40, 40), (0, 0)), image), strict=True
    )
    if on == "host":
        np.testing.assert_array_equal(applied(on, Jpeg((40, 40)), image), jpeg(image, 40))


@STORES
def test_noise_of_photons_grows_with_the_root_of_the_brightness(on):
    levels = (0.1, 0.25, 0.5, 0.8)
    shot, plain = (Noise((0.02, 0.02), 1.0, COLOUR, shot=shot) for shot in (True, False))
    found = [applied(on, shot, flat(level)).std() for level in levels]
    assert found == pytest.approx([0.02 * level**0.5 for level in levels], rel=0.03)
    assert [applied(on, plain, flat(level)).std() for level in levels] == pytest.approx([0.02] * 4, rel=0.03)
    assert float(applied(on, shot, flat(0.0)).max()) == 0
    halves = np.concatenate((flat(0.1), flat(0.6)), 1)  # of one image
    dark, bright = (applied(on, shot, halves)[:, part].std() for part in (slice(128), slice(128, None)))
    assert bright / dark == pytest.approx(6**0.5, rel=0.05)


@STORES
@pytest.mark.parametrize("grain_px", [0.4, 0.9, 2.0])
def test_grain_keeps_the_deviation_of_the_noise_and_makes_clumps_of_it(on, grain_px):
    found = [
        applied(on, Noise((0.05, 0.05), 1.0, COLOUR, grain_px=px, room=99), flat(0.5)) - 0.5 for px in (0.0, grain_px)
    ]
    for noise in found:
        assert noise.std() == pytest.approx(0.05, rel=0.06)
        assert abs(noise.mean()) < 0.005
    white, clumps = (np.corrcoef(n[:, 1:].ravel(), n[:, :-1].ravel())[0, 1] for n in found)
    assert abs(white) < 0.02
    # Of white noise after a Gaussian of deviation s, pixels at a distance of one correlate by exp(-1 / (4 s²)); one
    # pixel is coarse for the narrowest of these.
    assert clumps == pytest.approx(np.exp(-1 / (4 * grain_px**2)), abs=0.12)


@STORES
def test_a_halftone_leaves_the_mean_of_mid_grey_and_all_of_black_and_white(on):
    always = replace(MODERATE, heavy=replace(HEAVY.heavy, halftone_share=1.0, between=(1.0, 3.0)))
    chains = [draw_chain(rng(seed), (256, 256), 2, always) for seed in range(40)]
    screens = [step for chain in chains for step in chain if isinstance(step, Halftone)]
    assert len(screens) == 40
    for step in screens:
        printed = applied(on, step, flat(0.5))
        assert abs(float(printed.mean()) - 0.5) < 0.01
        assert printed.std() == pytest.approx(step.strength / 2, rel=0.1)  # of the mean of two cosines
        for level in (0.0, 1.0):
            assert np.array_equal(applied(on, step, flat(level)), flat(level))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, wrong) for name in ("share", "second_blur_share", "noise_share", "shot_share") for wrong in (-0.1, 2)),
        *((name, float("nan")) for name in ("grain_share", "halftone_share", "jpeg_share")),
        *((name, wrong) for name in ("blur_px", "second_blur_px") for wrong in (-1.0, float("nan"), float("inf"))),
        *((name, wrong) for name in ("noise", "second_noise") for wrong in (-1.0, 256.0, float("nan"))),
        *(("between", wrong) for wrong in ((0.4, 1.0), (2.0, 1.0), (1.0, 9.0))),
        *(("grain_px", wrong) for wrong in ((0.0, 1.0), (2.0, 1.0), (1.0, 5.0), (float("nan"), 1.0))),
        *(("quality", wrong) for wrong in ((0, 50), (60, 50), (50, 101))),
    ],
)
def test_impossible_ranges_are_reported_by_their_names(field, value):
    with pytest.raises(UsageError, match=rf"degradation is impossible: .*heavy\.{field}\b"):
        HeavySettings(**{field: value})


def test_shares_of_more_than_a_whole_are_reported():
    with pytest.raises(UsageError, match=r"clean_share and heavy\.share"):
        replace(MODERATE, heavy=HeavySettings(share=0.6), clean_share=0.5)
    with pytest.raises(UsageError, match="clean_share is a share from 0 to 1"):
        replace(MODERATE, clean_share=-0.1)
    for tenths in range(11):
        replace(MODERATE, heavy=HeavySettings(share=tenths / 10), clean_share=(10 - tenths) / 10)


def test_single_values_can_be_set_from_a_command_line():
    compact = named_recipe("compact")
    changed = overridden(compact, ["degradation.heavy.noise=20", "degradation.heavy.share=0.5"]).degradation
    assert changed == replace(compact.degradation, heavy=HeavySettings(share=0.5, noise=20.0))
    with pytest.raises(UsageError, match=r"--set degradation\.heavy\.noise=999: .*heavy\.noise"):
        overridden(compact, ["degradation.heavy.noise=999"])
    with pytest.raises(UsageError, match="no setting 'nose'"):
        overridden(compact, ["degradation.heavy.nose=1"])


# What a step had to say of itself before there was heavy damage.
FIELDS = {
    "Blur": ("form", "span", "room", "halves", "of_variance"),
    "Resize": ("kind", "size", "stride", "span", "room"),
    "Noise": ("span", "share", "kinds"),
    "Jpeg": ("span",),
}


def digest(found: object) -> str:
    return hashlib.sha256(json.dumps(found, default=float).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("preset", "single", "batches"),
    [(MODERATE, "53bef18c6d866e51", "90f8c85176b75b7e"), (PUBLISHED, "953b73f9ad478491", "00cc2f6b72bd8ee1")],
    ids=["moderate", "published"],
)
def test_without_a_share_of_it_every_draw_is_the_one_of_before(preset, single, batches):
    """Digests recorded with the version before: of all chains, and of where the generators stand after them."""
    assert (preset.heavy.share, preset.clean_share) == (0, 0)
    found = []
    for scale in (1, 2, 4):
        for seed in range(40):
            chain = draw_chain(rng(seed), (48, 64), scale, preset)
            found.append([[kind := type(s).__name__, *(getattr(s, f) for f in FIELDS[kind])] for s in chain])
            generator = rng(seed)
            degrade(picture(seed, 12 * scale, 16 * scale), scale, generator, preset)
            found.append(int(generator.integers(2**62)))
    assert digest(found) == single
    states = []
    for scale in (2, 4):
        generator = seeded(scale)
        images = as_tensor(np.stack([picture(i, 16 * scale, 16 * scale) for i in range(6)]))
        degrade_batch(images, scale, generator, preset)
        states.append(hashlib.sha256(generator.get_state().numpy().tobytes()).hexdigest())
    assert digest(states) == batches


# Mean and deviation of six images of 64×64 px at half the size, with the version before.
LOOKS = {
    "moderate": ((132.59, 52.0), (143.4, 54.64), (127.62, 62.89), (128.87, 64.6), (120.41, 75.17), (105.27, 65.68)),
    "published": ((133.09, 43.13), (142.7, 48.04), (127.19, 60.36), (129.02, 57.17), (120.26, 68.12), (105.42, 54.29)),
}
# Means of six images of 32×32 px at half the size, degraded as a batch.
BATCH_LOOKS = {
    "moderate": (102.9, 147.59, 140.34, 132.32, 117.35, 101.72),
    "published": (103.7, 147.91, 141.03, 132.1, 117.03, 102.93),
}


@pytest.mark.parametrize(("preset", "name"), [(MODERATE, "moderate"), (PUBLISHED, "published")])
def test_without_a_share_of_it_images_look_as_before(preset: DegradationSettings, name: str):
    """Within what another version of a codec or of OpenCV may round another way."""
    lows = [degrade(picture(i, 64, 64), 2, rng(i), preset) for i in range(6)]
    assert [(low.mean(), low.std()) for low in lows] == [pytest.approx(look, abs=0.05) for look in LOOKS[name]]
    images = as_tensor(np.stack([picture(i, 32, 32) for i in range(6)]))
    degraded = as_images(degrade_batch(images, 2, seeded(2), preset))
    assert degraded.mean((1, 2, 3)) == pytest.approx(BATCH_LOOKS[name], abs=0.05)
