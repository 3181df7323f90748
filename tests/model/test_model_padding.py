"""Padding by mirroring, for any size of image and any amount."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adacode_cli.model.config import NetworkConfig, SwinConfig
from adacode_cli.model.input import lean_size, mirror_index, pad_mirrored, padded_size, reference_size

SIDE = st.integers(1, 40)


@given(size=SIDE, more=st.integers(0, 200))
@settings(deadline=None)
def test_indices_mirror_with_the_edge_repeated(size, more):
    expected = np.pad(np.arange(size), (0, more), mode="symmetric")
    np.testing.assert_array_equal(mirror_index(size, size + more).numpy(), expected)


@given(height=SIDE, width=SIDE, below=st.integers(0, 100), right=st.integers(0, 100))
@settings(deadline=None)
def test_an_image_is_padded_as_numpy_pads_it(height, width, below, right):
    image = np.random.default_rng(height * 41 + width).random((2, 3, height, width), np.float32)
    padded = pad_mirrored(torch.from_numpy(image), height + below, width + right)
    expected = np.pad(image, ((0, 0), (0, 0), (0, below), (0, right)), mode="symmetric")
    np.testing.assert_array_equal(padded.numpy(), expected)


@given(size=st.integers(1, 10_000), multiple=st.sampled_from((1, 8, 16, 32, 64, 96)))
def test_sizes_are_whole_multiples_that_hold_the_image(size, multiple):
    lean, reference = lean_size(size, multiple), reference_size(size, multiple)
    assert lean % multiple == reference % multiple == 0
    assert size <= lean < size + multiple
    assert size < reference <= size + multiple
    # They differ exactly where nothing would have to be padded.
    assert reference - lean == (multiple if size % multiple == 0 else 0)


@pytest.mark.parametrize(("scale", "multiple"), [(1, 64), (2, 32), (4, 16)])
def test_the_published_network_pads_by_the_reference_amount(scale, multiple):
    config = NetworkConfig(task="sr", scale=scale)
    assert config.pad_multiple == multiple
    assert padded_size(config, multiple, multiple + 1) == (2 * multiple, 2 * multiple)
    assert padded_size(config, 1, multiple - 1) == (multiple, multiple)


def test_without_group_norm_nothing_more_is_padded_than_windows_need():
    config = NetworkConfig("sr", 2, channels=(8, 8), grid=4, stem="shuffle", norm="none")
    assert config.pad_multiple == 32
    assert padded_size(config, 32, 33) == (32, 64)


def test_windows_of_two_sizes_both_fit():
    swins = {"encoder_swin": SwinConfig(1, 2, 2, window=4), "predictor_swin": SwinConfig(1, 2, 2, window=6)}
    config = NetworkConfig("inpaint", channels=(8, 8), norm="none", **swins)
    assert config.pad_multiple == 12 * config.latent_stride
