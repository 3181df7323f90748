"""Holes filled from a network's own coarser results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import network, picture

from adacode_cli.errors import WeightsError
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.input import fill_from, halve, prepare_input

CONFIG = NetworkConfig(
    "inpaint",
    channels=(8, 8),
    grid=4,
    stem="shuffle",
    norm="none",
    base="filled",
    mask_channel=True,
    skip="fuse",
    num_skips=1,
    coarse_passes=2,
)


def holed(height: int, width: int, share: float, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, height, width, generator=generator)
    hole = (torch.rand(2, 1, height, width, generator=generator) < share).float()
    return torch.cat((image * (1 - hole), hole), 1)


@given(height=st.integers(1, 19), width=st.integers(1, 19), share=st.floats(0, 1), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_half_the_size_is_the_mean_of_what_is_known(height, width, share, seed):
    given_ = holed(height, width, share, seed)
    half = halve(given_)
    assert half.shape == (2, 4, -(-height // 2), -(-width // 2))
    for b, y, x in np.ndindex(2, *half.shape[2:]):
        block = given_[b, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].flatten(1)
        known = block[:3, block[3] == 0]
        assert half[b, 3, y, x] == (0 if known.shape[1] else 1)
        wanted = known.mean(1) if known.shape[1] else torch.zeros(3)
        torch.testing.assert_close(half[b, :3, y, x], wanted, rtol=0, atol=1e-6)


@given(height=st.integers(1, 19), width=st.integers(1, 19), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_only_holes_are_filled_from_the_coarse_image(height, width, seed):
    given_ = holed(height, width, 0.4, seed)
    coarse = torch.full((2, 3, -(-height // 2), -(-width // 2)), 0.25)
    filled = fill_from(given_, coarse)
    hole = given_[:, 3:].bool().expand(-1, 3, -1, -1)
    assert torch.equal(filled[:, 3:], given_[:, 3:])
    assert torch.equal(filled[:, :3][~hole], given_[:, :3][~hole])
    torch.testing.assert_close(filled[:, :3][hole], torch.full((int(hole.sum()),), 0.25))


@torch.inference_mode()
def test_each_pass_goes_on_from_the_coarser_one():
    net, image = network(CONFIG), holed(200, 264, 0.3, 5)
    plain = network(replace(CONFIG, coarse_passes=0))
    coarsest = plain(halve(halve(image))).image_BCHW
    middle = net.prepared(halve(image), 1)
    assert torch.equal(middle, fill_from(halve(image), coarsest)), "sides of whole windows need no padding"
    finest = net(image).image_BCHW
    assert torch.equal(finest, net(image, 2).image_BCHW)
    assert not torch.equal(finest, net(image, 1).image_BCHW)
    assert torch.equal(net(image, 0).image_BCHW, plain(image).image_BCHW)


@torch.inference_mode()
def test_an_image_of_one_window_is_not_halved():
    net, image = network(CONFIG), holed(CONFIG.pad_multiple, 2 * CONFIG.pad_multiple, 0.5, 1)
    assert torch.equal(net.prepared(image, 2), prepare_input(image, "filled"))
    assert torch.isfinite(net(holed(1, 1, 1.0, 1)).image_BCHW).all()


@torch.inference_mode()
def test_hidden_pixels_have_no_influence_in_any_pass():
    net, image = network(CONFIG), picture(CONFIG, 160, 130)
    image[:, 3] = 0
    image[:, 3, 40:120, 20:90] = 1
    other = image.clone()
    other[:, :3, 40:120, 20:90] = torch.rand(3, 80, 70)
    assert torch.equal(net(image).image_BCHW, net(other).image_BCHW)


@pytest.mark.parametrize("change", [{"coarse_passes": -1}, {"coarse_passes": 1.5}, {"base": "none"}])
def test_impossible_passes_are_refused(change):
    with pytest.raises(WeightsError, match="coarse"):
        replace(CONFIG, **change)
