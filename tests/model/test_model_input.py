"""The image below the network's own: filled holes and interpolation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import network, picture

from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.input import base_image, fill_from, fill_holes, prepare_input

CONFIG = NetworkConfig("sr", 2, channels=(8, 8), grid=2, stem="shuffle", norm="none", base="upsampled")


@given(height=st.integers(1, 33), width=st.integers(1, 33), share=st.floats(0, 1), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_holes_are_filled_from_what_is_known(height, width, share, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, height, width, generator=generator) * 3 - 1
    hole = (torch.rand(2, 1, height, width, generator=generator) < share).float()
    filled = fill_holes(image, hole)
    assert filled.shape == image.shape
    known = (hole == 0).expand_as(image)
    assert torch.equal(filled[known], image[known])
    for b in range(2):
        if bool(hole[b].all()):
            assert torch.equal(filled[b], torch.zeros_like(filled[b]))
            continue
        for c in range(3):
            values = image[b, c][known[b, c]]
            assert filled[b, c].min() >= values.min() - 1e-5
            assert filled[b, c].max() <= values.max() + 1e-5


@given(height=st.integers(1, 33), width=st.integers(1, 33), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_the_hidden_pixels_have_no_influence(height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, height, width, generator=generator)
    hole = (torch.rand(1, 1, height, width, generator=generator) < 0.5).float()
    other = torch.where(hole.bool(), torch.rand(image.shape, generator=generator), image)
    assert torch.equal(fill_holes(image, hole), fill_holes(other, hole))


def pull_push(image, known):
    """One channel, cell by cell: the mean of what is known in 2×2 pixels stands for them, down to a single pixel."""
    height, width = image.shape
    if height == width == 1:
        return image / known
    coarse = np.zeros((2, -(-height // 2), -(-width // 2)))
    for y, x in np.ndindex(height, width):
        coarse[:, y // 2, x // 2] += image[y, x] * known[y, x], known[y, x]
    amount = np.minimum(coarse[1], 1)
    mean = np.divide(coarse[0], coarse[1], out=np.zeros_like(amount), where=coarse[1] > 0)
    # Below a single pixel nothing is known only where nothing is known at all.
    below = pull_push(mean, amount)
    filled = np.array(image)
    for y, x in np.ndindex(height, width):
        if not known[y, x]:
            filled[y, x] = between_centres(below, (y + 0.5) / 2 - 0.5, (x + 0.5) / 2 - 0.5)
    return filled


def between_centres(image, y, x):
    y, x = (min(max(v, 0), side - 1) for v, side in zip((y, x), image.shape, strict=True))
    top, left = int(y), int(x)
    bottom, right = min(top + 1, image.shape[0] - 1), min(left + 1, image.shape[1] - 1)
    upper = image[top, left] * (left + 1 - x) + image[top, right] * (x - left)
    lower = image[bottom, left] * (left + 1 - x) + image[bottom, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (8, 8), (5, 11), (1, 6), (13, 2)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_filling_is_what_single_cells_compute(size, share):
    rng = np.random.default_rng(round(10 * share) + size[1])
    image, known = rng.random(size), (rng.random(size) >= share).astype(float)
    known[-1, -1] = 1
    filled = fill_holes(*(torch.from_numpy(v).float()[None, None] for v in (image, 1 - known)))
    np.testing.assert_allclose(filled[0, 0], pull_push(image, known), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (7, 10)])
def test_holes_may_have_soft_edges(size):
    torch.manual_seed(0)
    soft = torch.rand(1, 1, *size) * 0.9
    torch.testing.assert_close(fill_holes(torch.full((1, 3, *size), 0.7), soft), torch.full((1, 3, *size), 0.7))


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0, 0.3])
@pytest.mark.parametrize("size", [(1, 1), (2, 7), (64, 64), (45, 31)])
def test_holes_in_a_constant_image_get_its_value(value, size):
    torch.manual_seed(0)
    image, hole = torch.full((1, 3, *size), value), (torch.rand(1, 1, *size) < 0.8).float()
    hole[..., 0, 0] = 0
    torch.testing.assert_close(fill_holes(image, hole), image, rtol=0, atol=1e-6)


def test_a_ramp_goes_on_through_a_hole():
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64).clone()
    hole = torch.zeros(1, 1, 64, 64)
    hole[..., 20:44, 20:44] = 1
    filled = fill_holes(ramp * (1 - hole), hole)
    inside = filled[..., 20:44, 20:44]
    assert (inside - ramp[..., 20:44, 20:44]).abs().max() < 0.15
    # Smoothly: no step is as large as that between the hole's two sides.
    assert filled.diff(dim=3).abs().max() < 0.1


def test_only_the_filled_kind_changes_the_input():
    image = picture(replace(CONFIG, mask_channel=True), 6, 7)
    assert prepare_input(image, "none") is image
    assert prepare_input(image, "upsampled") is image
    prepared = prepare_input(image, "filled")
    assert torch.equal(prepared[:, 3:], image[:, 3:])
    assert torch.equal(prepared[:, :3], fill_holes(image[:, :3], image[:, 3:]))


def test_the_base_is_the_input_or_its_enlargement():
    image = picture(CONFIG, 5, 9)
    assert base_image(image, "none", 2) is None
    assert torch.equal(base_image(image, "upsampled", 1), image)
    enlarged = base_image(torch.full((1, 4, 5, 9), 0.5), "filled", 2)
    torch.testing.assert_close(enlarged, torch.full((1, 3, 10, 18), 0.5))
    assert torch.equal(base_image(image, "nearest", 1), image)
    for scale in (2, 4):
        repeated = image.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        assert torch.equal(base_image(image, "nearest", scale), repeated)


@torch.inference_mode()
def test_a_silent_network_returns_the_base():
    silent = network(replace(CONFIG, task="inpaint", scale=1, base="filled", mask_channel=True))
    silent.decoder.head.conv.weight.zero_()
    silent.decoder.head.conv.bias.zero_()
    image = picture(silent.config, 13, 21)
    image[:, 3, 4:9, 5:15] = 1
    restored = silent(image).image_BCHW
    known = (image[:, 3:] == 0).expand(-1, 3, -1, -1)
    assert torch.equal(restored[known], image[:, :3][known])
    assert torch.isfinite(restored).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (64, 80), (75, 113)])
def test_filling_has_the_same_bits_for_every_number_of_threads(size):
    generator = torch.Generator().manual_seed(1)
    image, hole = (
        torch.rand(1, 3, *size, generator=generator),
        (torch.rand(1, 1, *size, generator=generator) < 0.4).float(),
    )
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            half = torch.rand(1, 3, *(-(-side // 2) for side in size), generator=torch.Generator().manual_seed(2))
            results.append(torch.cat((fill_holes(image, hole), fill_from(torch.cat((image, hole), 1), half)), 1))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
