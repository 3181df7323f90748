"""Hidden colours do not bleed into visible ones, by any network and any interpolation."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nearest_picture import Repeated

from adacode_cli.batch.restoring import Restoring
from adacode_cli.engine.pictures import covered
from adacode_cli.imaging.image import Decoded

GARISH, QUIET = (255, 0, 255), (40, 90, 60)


class CubicRestorer:
    """Enlarges by an interpolation that looks at two neighbours on each side, as a network looks at many."""

    def restore(self, task, image, *, scale=1, **options):
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        return Repeated(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC))


def disc(dtype=np.uint8):
    """A quiet disc with a hard edge on a garish colour that is fully transparent."""
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    y, x = np.mgrid[-16:16, -20:20]
    inside = x**2 + y**2 < 12**2
    colors = np.where(inside[..., None], QUIET, GARISH) / 255 * top
    return Decoded(colors.astype(dtype), np.where(inside, top, 0).astype(dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_hard_edge_has_no_fringe(dtype, scale):
    image = disc(dtype)
    out, _ = Restoring(CubicRestorer(), "sr", scale)(image, None)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    seen = out.alpha > 0
    assert seen.any()
    away = np.abs(out.pixels[seen].astype(float) / top * 255 - QUIET).max()
    assert away <= 1.01
    bled = cv2.resize(image.pixels, seen.shape[::-1], interpolation=cv2.INTER_CUBIC)
    assert np.abs(bled[seen].astype(float) / top * 255 - QUIET).max() > 50  # what it would be without


def test_inpainting_leaves_hidden_colours_alone():
    image = disc()

    class Filling:
        def restore(self, task, image, *, mask, **options):
            return Repeated(np.where(mask[..., None], 7, image).astype(image.dtype))

    mask = np.zeros(image.size, bool)
    mask[16, 20] = True
    out, _ = Restoring(Filling(), "inpaint")(image, mask)
    np.testing.assert_array_equal(out.pixels[~mask], image.pixels[~mask])


@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), st.data())
def test_visible_pixels_stay_and_hidden_ones_take_a_visible_colour(height, width, grey, data):
    seed = data.draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width) if grey else (height, width, 3)).astype(np.uint8)
    alpha = (rng.integers(0, 3, (height, width)) * 100).astype(np.uint8)
    out = covered(pixels, alpha)
    np.testing.assert_array_equal(out[alpha > 0], pixels[alpha > 0])
    rows = pixels.reshape(height * width, -1)
    visible = {tuple(row) for row, seen in zip(rows, alpha.ravel() > 0, strict=True) if seen}
    if visible:
        assert {tuple(row) for row in out.reshape(height * width, -1)} <= visible
    else:
        assert out is pixels
