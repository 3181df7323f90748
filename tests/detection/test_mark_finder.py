"""Marks in images of every kind: the same whatever the parts, the depth and the layout are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bright_detector import bright_detector
from hypothesis import given, settings
from hypothesis import strategies as st
from test_detector_network import UNEVEN, lively

from adacode_cli.engine import detection
from adacode_cli.engine.detection import MarkFinder
from adacode_cli.errors import DeviceError, InputError

CPU = torch.device("cpu")


def scan(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A dim image with white pixels, H×W×3 uint8, and where these are."""
    rng = np.random.default_rng(seed)
    white = rng.random((height, width)) < 0.05
    image = rng.integers(0, 200, (height, width, 3), np.uint8)
    image[white] = 255
    return image, white


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_exactly_the_white_pixels_are_found(height, width, seed):
    image, white = scan(height, width, seed)
    finder = MarkFinder(bright_detector(), 0.5, CPU)
    found = finder.mask(image)
    assert (found.shape, found.dtype) == ((height, width), np.bool_)
    np.testing.assert_array_equal(found, white)


def test_depth_and_layout_do_not_matter():
    image, white = scan(40, 50)
    finder = MarkFinder(bright_detector(), 0.5, CPU)
    deep, floats = image.astype(np.uint16) * 257, image.astype(np.float32) / 255
    grey = np.where(white, 255, 90).astype(np.uint8)
    opaque = np.full(white.shape, 255, np.uint8)
    for one in (deep, floats, grey, np.dstack((image, opaque)), np.dstack((grey, opaque))):
        np.testing.assert_array_equal(finder.mask(one), white)


def test_what_is_hidden_is_never_marked():
    image, white = scan(40, 50)
    alpha = np.full(white.shape, 255, np.uint8)
    alpha[:, :20] = 0
    finder = MarkFinder(bright_detector(), 0.5, CPU)
    seen = white & (alpha > 0)
    assert seen.sum() < white.sum()
    np.testing.assert_array_equal(finder.mask(np.dstack((image, alpha))), seen)
    np.testing.assert_array_equal(finder.mask(image, alpha), seen)


@pytest.mark.parametrize(("height", "width"), [(100, 300), (331, 65), (300, 300)])
def test_parts_give_the_whole(monkeypatch, height, width):
    """With a network that looks far, whose parts are smaller than what they look at."""
    image, _ = scan(height, width)
    finder = MarkFinder(lively(UNEVEN), 0.5, CPU)
    whole = finder.probabilities(image)
    assert 0 < (whole >= 0.5).mean() < 1
    monkeypatch.setattr(detection, "_PART_PX", 64)
    np.testing.assert_allclose(finder.probabilities(image), whole, rtol=0, atol=1e-5)


def test_the_threshold_is_that_of_the_file_and_counts_in_the_digest():
    image, _ = scan(64, 64)
    network = lively(UNEVEN)
    strict, loose = MarkFinder(network, 0.9, CPU), MarkFinder(network, 0.1, CPU)
    assert strict.mask(image).sum() < loose.mask(image).sum()
    assert strict.digest != loose.digest
    assert strict.digest != MarkFinder(lively(UNEVEN, 1), 0.9, CPU).digest
    assert strict.digest == MarkFinder(lively(UNEVEN), 0.9, CPU).digest


def test_arrays_that_are_no_images_are_refused():
    finder = MarkFinder(bright_detector(), 0.5, CPU)
    with pytest.raises(InputError, match="is not an image"):
        finder.mask(np.zeros((4, 4, 5), np.uint8))


def test_smaller_parts_are_tried_where_memory_is_short(monkeypatch):
    image, white = scan(700, 900)
    finder, sizes = MarkFinder(bright_detector(), 0.5, CPU), []
    forward = finder.network.forward

    def short(x):
        sizes.append(max(x.shape))
        if max(x.shape) > 600:
            raise MemoryError
        return forward(x)

    monkeypatch.setattr(finder.network, "forward", short)
    np.testing.assert_array_equal(finder.mask(image), white)
    assert max(sizes) > 800
    assert sizes[-1] <= 600


def test_too_little_memory_is_an_error_of_this_image(monkeypatch):
    finder = MarkFinder(bright_detector(), 0.5, CPU)

    def full(_image):
        raise MemoryError

    monkeypatch.setattr(finder.network, "forward", full)
    with pytest.raises(DeviceError, match="out of memory") as caught:
        finder.mask(np.zeros((32, 32, 3), np.uint8))
    assert caught.value.only_this_image
