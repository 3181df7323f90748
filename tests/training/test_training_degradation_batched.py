"""Whole batches on a device are degraded as single images are: the same steps, the same statistics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from degradation_statistics import NAMES, as_images, as_tensor, differences, draw_batched, draw_single, textured

from adacode_cli.errors import UsageError
from adacode_cli.training.degradation import MARGIN, MODERATE, PUBLISHED
from adacode_cli.training.degradation.chain import Jpeg, Noise, Resize, draw_chain
from adacode_cli.training.degradation.device_jpeg import jpeg_batch, quantisation_tables
from adacode_cli.training.degradation.on_cpu import apply, jpeg
from adacode_cli.training.degradation.on_device import (
    GROUP,
    apply_batch,
    degrade_batch,
    degrade_batch_with_margin,
    group_of,
    host_generator,
    resize_batch,
)

PRESETS = pytest.mark.parametrize("preset", [MODERATE, PUBLISHED], ids=["moderate", "published"])
# Standard errors by which means may differ: by chance alone one comparison in 16,000 does.
MAX_ERRORS = 4.0


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """dB, of levels of 255."""
    return float(10 * np.log10(255**2 / max(((a - b) ** 2).mean(), 1e-4)))


@PRESETS
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_each_step_does_the_same_to_the_same_image(preset, scale):
    """Except for noise, which nobody can draw alike; a JPEG may round a few coefficients another way."""
    for seed in range(25):
        image = textured(seed, 96).astype(np.float32) / 255
        for i, step in enumerate(draw_chain(np.random.default_rng(seed), (96, 96), scale, preset)):
            before = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
            batch = as_images(apply_batch(step, before, np.random.default_rng([seed, i]), seeded(0)))[0]
            after = apply(step, image, np.random.default_rng([seed, i]))
            if isinstance(step, Jpeg):
                assert psnr(batch, after * 255.0) > min(38, psnr(image * 255.0, after * 255.0) + 8)
            elif not isinstance(step, Noise):
                np.testing.assert_allclose(batch, after * 255.0, atol=0.002)
            image = after


@pytest.mark.parametrize("size", [(24, 24), (48, 48), (37, 37), (61, 75), (96, 96), (130, 121)])
@pytest.mark.parametrize("kind", ["nearest", "bilinear", "bicubic", "area"])
def test_sizes_change_as_with_opencv(kind, size):
    image = textured(1, 96)
    single = apply(Resize(kind, size), image.astype(np.float32) / 255, np.random.default_rng(0))
    np.testing.assert_allclose(resize_batch(as_tensor(image[None]), size, kind)[0].permute(1, 2, 0), single, atol=1e-5)


@pytest.mark.parametrize("side", [9, 48, 57, 64])
def test_jpeg_is_that_of_the_codec(side):
    """Each image of a batch at its own quality."""
    qualities = [10, 30, 50, 75, 90, 95, 100]
    images = np.stack([textured(i, side) for i in range(len(qualities))])
    batch = as_images(jpeg_batch(as_tensor(images), qualities))
    for image, quality, coded in zip(images, qualities, batch, strict=True):
        codec = jpeg(image.astype(np.float32) / 255, quality) * 255.0
        assert psnr(coded, codec) > psnr(codec, image.astype(float)) + 8
        assert abs((coded - codec).mean()) < 0.5


@pytest.mark.parametrize("quality", [10, 25, 50, 90])
def test_jpeg_of_flat_greys_is_exactly_that_of_the_codec(quality):
    """The mean of a block is often just between two steps: rounded another way, skies would become darker."""
    greys = np.broadcast_to(np.arange(0, 256, 3, dtype=np.uint8)[:, None, None, None], (86, 16, 16, 3))
    codec = np.stack([jpeg(grey.astype(np.float32) / 255, quality) for grey in greys]) * 255.0
    np.testing.assert_allclose(as_images(jpeg_batch(as_tensor(greys), [quality] * 86)), codec, atol=1e-3)


def test_jpeg_does_not_shift_brightness_or_colours():
    images = np.stack([textured(i, 64) for i in range(16)])
    for quality in (30, 60, 95):
        codec = np.stack([jpeg(image.astype(np.float32) / 255, quality) for image in images]) * 255.0
        bias = (as_images(jpeg_batch(as_tensor(images), [quality] * 16)) - codec).mean((0, 1, 2))
        assert np.abs(bias).max() < 0.05


def test_tables_are_those_of_the_standard_scaled():
    luma, chroma = quantisation_tables(50)
    assert (luma[0, 0], luma[7, 7], chroma[0, 0], chroma[7, 7]) == (16, 99, 17, 99)
    assert all((table == 1).all() for table in quantisation_tables(100))
    assert all((table == 255).all() for table in quantisation_tables(1))


def test_noise_has_the_covariance_of_each_image():
    step = Noise((0.02, 0.1), 1.0, (0.3, 0.3, 0.4))
    grey = torch.full((12, 3, 128, 128), 0.5)
    noise = (apply_batch(step, grey, np.random.default_rng(3), seeded(3)) - 0.5).double()
    rng = np.random.default_rng(3)
    for image in noise:
        mixing = step.mixing(rng).astype(np.float64)
        found = np.cov(image.reshape(3, -1).numpy())
        np.testing.assert_allclose(found, mixing @ mixing.T, atol=0.05 * 0.1**2 + 0.05 * np.abs(found).max())
        assert abs(image.mean()) < 0.005


@pytest.mark.parametrize("colour", [(0.5, 0.5, 0.5), (0.9, 0.1, 0.2), (-0.1, 0.05, 0.05), (-0.1, -0.1, -0.1)])
def test_shot_noise_of_a_colour_is_as_strong_on_either(colour):
    """Below black, where interpolation leads, there is no brightness."""
    step = Noise((0.02, 0.02), 1.0, (0.0, 1.0, 0.0), shot=True)
    image = np.broadcast_to(np.float32(colour), (128, 128, 3)).copy()
    single = apply(step, image, np.random.default_rng(0)) - image.clip(0)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    batched = apply_batch(step, batch, np.random.default_rng(0), seeded(0))[0].permute(1, 2, 0).numpy() - image.clip(0)
    strength = 0.02 * np.sqrt(image.clip(0).mean())
    for noise in (single, batched):
        assert noise.std() <= 1.05 * strength  # what would be below black is cut off
    assert single.std() == pytest.approx(batched.std(), rel=0.05, abs=1e-9)


DRAWS = 1_024


@PRESETS
@pytest.mark.parametrize(("scale", "draws"), [(2, DRAWS), (4, DRAWS // 4)])
def test_batches_have_the_statistics_of_single_images(preset, scale, draws):
    apart = differences(draw_single(preset, scale, draws), draw_batched(preset, scale, draws))
    assert np.abs(apart).max() < MAX_ERRORS, dict(zip(NAMES, apart.round(1), strict=True))


@pytest.mark.parametrize(
    "other", [{"noise": 18.0}, {"quality": (30, 80)}, {"blur_px": 1.0}, {"noise_kinds": (1.0, 0.0, 0.0)}], ids=str
)
def test_these_statistics_tell_other_ranges_apart(other):
    draws = DRAWS
    apart = differences(draw_single(replace(MODERATE, **other), 2, draws), draw_batched(MODERATE, 2, draws))
    assert np.abs(apart).max() > MAX_ERRORS


@PRESETS
def test_batches_depend_on_the_generator_alone(preset):
    images = as_tensor(np.stack([textured(i, 64) for i in range(6)]))
    generator = seeded(5)
    first, second = (degrade_batch(images, 2, generator, preset) for _ in range(2))
    assert (first.shape, first.dtype) == ((6, 3, 32, 32), torch.float32)
    torch.testing.assert_close(first * 255, (first * 255).round(), rtol=0, atol=1e-4)
    assert 0 <= first.min() < first.max() <= 1
    assert torch.equal(first, degrade_batch(images, 2, seeded(5), preset))
    assert not torch.equal(first, second)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(first, degrade_batch(images, 2, seeded(5), preset))


@PRESETS
def test_images_of_a_batch_are_degraded_each_in_its_way(preset):
    images = as_tensor(np.stack([textured(1, 64)] * (2 * GROUP)))
    degraded = degrade_batch(images, 2, seeded(1), preset)
    assert len({image.numpy().tobytes() for image in degraded}) == 2 * GROUP


def test_the_host_reads_the_state_and_moves_it_on():
    generator, again = seeded(2), seeded(2)
    draws = [host_generator(generator).random() for _ in range(3)]
    assert draws == [host_generator(again).random() for _ in range(3)]
    assert len(set(draws)) == 3
    assert host_generator(seeded(3)).random() not in draws


@pytest.mark.parametrize("scale", [2, 4])
def test_margin_is_cut_from_both_batches_at_the_same_places(scale):
    n, count = 16, 12
    gentle = replace(MODERATE, blur_px=0.0, noise_share=0.0, jpeg_share=0.0, quality=(100, 100))
    images = as_tensor(np.stack([textured(4, (n + 2 * MARGIN) * scale)] * count))
    low, high = degrade_batch_with_margin(images, scale, seeded(0), gentle)
    assert (low.shape, high.shape) == ((count, 3, n, n), (count, 3, n * scale, n * scale))
    small = torch.nn.functional.avg_pool2d(high, scale)
    here = (low - small).abs().mean((1, 2, 3))
    shifted = torch.minimum(
        (low[:, :, 1:] - small[:, :, :-1]).abs().mean((1, 2, 3)), (low[..., 1:] - small[..., :-1]).abs().mean((1, 2, 3))
    )
    assert (here < shifted).all()
    assert len({image.numpy().tobytes() for image in high}) > count // 2


def test_what_cannot_be_done_is_reported():
    with pytest.raises(UsageError, match="multiples of 4"):
        degrade_batch(torch.zeros(1, 3, 64, 66), 4, seeded(0), MODERATE)
    with pytest.raises(UsageError, match="beside the margin"):
        degrade_batch_with_margin(torch.zeros(1, 3, 16, 16), 2, seeded(0), MODERATE)


def test_a_large_batch_has_four_chains(monkeypatch):
    """On a GPU the number of small steps decides how long degradation takes."""
    assert [group_of(n) for n in (1, 16, 17, 128, 192)] == [4, 4, 5, 32, 48]
    drawn = []

    def drawing(*args):
        drawn.append(args)
        return draw_chain(*args)

    monkeypatch.setattr("adacode_cli.training.degradation.on_device.draw_chain", drawing)
    degraded = degrade_batch(torch.rand(40, 3, 64, 64), 4, seeded(0), MODERATE)
    assert degraded.shape == (40, 3, 16, 16)
    assert len(drawn) == 4
