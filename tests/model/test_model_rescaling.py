"""A ×4 network with a trunk as one of ×2: what it makes is the mean of 2×2 pixels of what the ×4 one makes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner
from adacode_cli.errors import WeightsError
from adacode_cli.model.config import NetworkConfig, TrunkConfig
from adacode_cli.model.rescaling import averaged_shuffle, can_halve, halved

sys.path.append(str(Path(__file__).parents[1] / "engine"))
from tiny_networks import CPU, LAYOUTS, lively

NETWORK = lively(LAYOUTS["trunk sr ×4"])
HALF = halved(NETWORK)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.integers(1, 40))
@torch.inference_mode()
def test_its_image_is_the_mean_of_four_pixels(height, width):
    x = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height * 99 + width))
    large, small = NETWORK(x), HALF(x)
    assert small.image_BCHW.shape == (1, 3, 2 * height, 2 * width)
    assert torch.allclose(small.image_BCHW, F.avg_pool2d(large.image_BCHW, 2), atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(small.codes, large.codes, strict=True))
    assert torch.equal(small.weights_BKHW, large.weights_BKHW)


@torch.inference_mode()
def test_in_tiles_too():
    x = torch.rand(1, 3, 150, 90, generator=torch.Generator().manual_seed(0))
    made = Runner(HALF, CPU, RunOptions("fp32", 64)).run(x, deep=False).image_CHW
    assert torch.allclose(made, HALF(x).image_BCHW[0], atol=1e-4)


def test_twice_is_a_quarter():
    quarter = halved(HALF)
    assert (quarter.config.scale, quarter.config.cell_px) == (1, 1)
    x = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(quarter(x).image_BCHW, F.avg_pool2d(NETWORK(x).image_BCHW, 4), atol=1e-5)
    assert not can_halve(quarter.config)


def test_the_network_that_is_halved_stays_as_it_is_and_the_half_is_known_by_its_configuration():
    before = {key: value.clone() for key, value in NETWORK.state_dict().items()}
    halved(NETWORK)
    assert all(torch.equal(value, before[key]) for key, value in NETWORK.state_dict().items())
    assert NetworkConfig.from_dict(HALF.config.to_dict()) == HALF.config
    assert (HALF.config.scale, HALF.config.grid, HALF.config.cell_px, HALF.config.latent_stride) == (2, 4, 2, 4)


def test_only_what_ends_in_what_is_linear_is_halved():
    assert can_halve(LAYOUTS["trunk sr ×4"])
    assert not can_halve(replace(LAYOUTS["trunk sr ×4"], base="upsampled"))
    assert not can_halve(LAYOUTS["compact sr ×4"])
    assert not can_halve(LAYOUTS["published sr ×4"])


def test_a_shuffle_that_cannot_be():
    for shuffle, message in ((3, "not a power of two"), (2, "scale <= grid"), (-2, "positive whole number")):
        with pytest.raises(WeightsError, match=message):
            replace(LAYOUTS["trunk sr ×4"], trunk=TrunkConfig(7, 2, 4, shuffle))


@given(st.sampled_from([2, 4, 8]))
def test_means_of_a_shuffle(shuffle):
    x = torch.rand(1, 3 * shuffle**2, 5, 4)
    weight = torch.rand(3 * shuffle**2, 3 * shuffle**2, 1, 1)
    bias = torch.rand(3 * shuffle**2)
    whole = F.pixel_shuffle(F.conv2d(x, weight, bias), shuffle)
    small = F.conv2d(x, averaged_shuffle(weight, shuffle), averaged_shuffle(bias, shuffle))
    small = F.pixel_shuffle(small, shuffle // 2) if shuffle > 2 else small
    assert torch.allclose(small, F.avg_pool2d(whole, 2), atol=1e-4)
