"""Results that are mixed with their inputs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from adacode_cli.batch.strength import mixed


def images(dtype, shape):
    rng = np.random.default_rng(1)
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    before, after = (rng.random(s) * top for s in (shape, (shape[0] * 4, shape[1] * 4, *shape[2:])))
    return before.astype(dtype), after.astype(dtype)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_ends_and_middle(dtype, shape):
    before, after = images(dtype, shape)
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    enlarged = cv2.resize(before.astype(np.float64), (shape[1] * 4, shape[0] * 4), interpolation=cv2.INTER_CUBIC)
    step = 1e-5 if dtype == np.float32 else 1.5
    np.testing.assert_array_equal(mixed(before, after, 1.0), after)
    np.testing.assert_allclose(mixed(before, after, 0.0), enlarged.clip(0, top), atol=step)
    for strength in (0.25, 0.5):
        found = mixed(before, after, strength)
        wanted = strength * after.astype(np.float64) + (1 - strength) * enlarged.clip(0, top)
        assert found.dtype == dtype
        assert found.shape == after.shape
        if dtype != np.float32:  # overshoots of float are cut after the mean
            np.testing.assert_allclose(found, wanted, atol=step)
        assert 0 <= found.min() <= found.max() <= top
