"""Alpha passes by the network: enlarged beside it, hidden colours covered, and in the image or apart the same bits."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_networks import LOCAL, photograph, restorer

from adacode_cli.engine.images import apart, covered, joined, resize
from adacode_cli.errors import InputError
from adacode_cli.geometry import Hole

DEPTHS = [np.uint8, np.uint16, np.float32]
GARISH, QUIET = (255, 0, 255), (40, 90, 60)
BY = restorer(LOCAL)


def top_of(dtype):
    return 1 if dtype == np.float32 else np.iinfo(dtype).max


def disc(dtype=np.uint8, *, grey=False, hidden=GARISH):
    """A quiet disc with a hard edge on a garish colour that is fully transparent: colours and alpha."""
    y, x = np.mgrid[-16:16, -20:20]
    inside = x**2 + y**2 < 12**2
    colors = np.where(inside[..., None], QUIET, hidden) / 255 * top_of(dtype)
    colors = colors[..., 0] if grey else colors
    return colors.astype(dtype), np.where(inside, top_of(dtype), 0).astype(dtype)


def restore(task, image, **options):
    mask = np.zeros(image.shape[:2], np.bool_)
    mask[14:18, 10:20] = True
    return BY.restore(task, image, **({"mask": mask} if task == "inpaint" else {}), **options)


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("task", "scale"), [("sr", 4), ("sr", 2.5), ("inpaint", 1), ("reconstruct", 1)])
def test_alpha_in_the_image_and_beside_it_are_the_same(dtype, grey, task, scale):
    color, alpha = disc(dtype, grey=grey)
    inside = restore(task, joined(color, alpha), scale=scale)
    beside = restore(task, color, alpha=alpha, scale=scale)
    assert inside.alpha is None
    assert inside.image.shape[2] == (2 if grey else 4)
    assert beside.image.ndim == color.ndim
    seen, coverage = apart(inside.image)
    np.testing.assert_array_equal(seen, beside.image)
    np.testing.assert_array_equal(coverage, beside.alpha)
    assert inside.image.dtype == beside.alpha.dtype == dtype


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("task", "scale"), [("sr", 3), ("reconstruct", 1)])
def test_colours_that_nobody_sees_change_nothing(dtype, grey, task, scale):
    """Whatever a file holds under full transparency, the result is that of its visible colours."""
    results = [
        restore(task, joined(*disc(dtype, grey=grey, hidden=hidden)), scale=scale).image for hidden in (GARISH, QUIET)
    ]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_hard_edge_has_no_fringe(dtype, scale):
    """An interpolation that looks at two neighbours on each side stands for a network, which looks at many."""

    def enlarged(image):
        return cv2.resize(image, (40 * scale, 32 * scale), interpolation=cv2.INTER_CUBIC)

    color, alpha = disc(dtype)
    seen = resize(alpha, 32 * scale, 40 * scale) > 0
    assert seen.any()
    away = np.abs(enlarged(covered(color, alpha))[seen].astype(float) / top_of(dtype) * 255 - QUIET).max()
    assert away <= 1.01
    bled = np.abs(enlarged(color)[seen].astype(float) / top_of(dtype) * 255 - QUIET).max()
    assert bled > 50, "what it would be without"


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("scale", [1.7, 2, 4])
def test_alpha_is_enlarged_by_cubic_interpolation(dtype, scale):
    color, alpha = disc(dtype)
    found = restore("sr", color, alpha=alpha, scale=scale).alpha
    wanted = cv2.resize(alpha, found.shape[::-1], interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(found, np.clip(wanted, 0, top_of(dtype)))
    assert (found.min(), found.max()) == (0, top_of(dtype))


@given(scale=st.floats(1, 4), height=st.integers(1, 9), width=st.integers(1, 9))
def test_alpha_always_has_the_size_of_the_pixels(scale, height, width):
    color, alpha = np.random.default_rng(0).random((2, height, width), np.float32)
    made = BY.restore("sr", color, alpha=alpha, scale=scale)
    assert made.alpha.shape == made.image.shape
    assert made.alpha.min() >= 0
    assert made.alpha.max() <= 1


@pytest.mark.parametrize("dtype", DEPTHS)
def test_filling_a_hole_leaves_hidden_colours_alone(dtype):
    color, alpha = disc(dtype)
    filled = restore("inpaint", color, alpha=alpha)
    hidden = alpha == 0
    assert hidden.any()
    np.testing.assert_array_equal(filled.image[hidden], color[hidden])
    np.testing.assert_array_equal(filled.alpha, alpha)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_a_hole_that_was_transparency_is_opaque_afterwards(dtype):
    color, alpha = disc(dtype)
    hole = Hole(alpha < top_of(dtype) / 2, grow_px=1, opaque=True)
    filled = BY.restore("inpaint", color, alpha=alpha, mask=hole)
    assert (filled.alpha == top_of(dtype)).all()
    assert filled.alpha.dtype == dtype
    kept = BY.restore("inpaint", color, alpha=alpha, mask=Hole(hole.mask, 1))
    np.testing.assert_array_equal(kept.alpha, alpha)


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("grey", [False, True])
def test_codes_are_made_of_what_is_seen_and_keep_alpha(dtype, grey):
    garish, quiet = (joined(*disc(dtype, grey=grey, hidden=hidden)) for hidden in (GARISH, QUIET))
    codes, other = BY.encode(garish), BY.encode(quiet)
    np.testing.assert_array_equal(codes.codes_KHW, other.codes_KHW)
    np.testing.assert_array_equal(codes.steps_KHW, other.steps_KHW)
    color, alpha = disc(dtype, grey=grey)
    beside = BY.encode(color, alpha)
    np.testing.assert_array_equal(codes.codes_KHW, beside.codes_KHW)
    for made in (codes, beside):
        np.testing.assert_array_equal(made.alpha, alpha)
        assert made.grey == grey
    assert BY.decode(codes).image.shape == (32, 40, 4)


def test_alpha_that_does_not_fit_is_refused():
    color, alpha = disc()
    for image, beside in (
        (color, alpha[:-1]),
        (color, alpha.astype(np.uint16)),
        (joined(color, alpha), alpha),
        (color, color),
    ):
        with pytest.raises(InputError, match="is not the alpha of an image"):
            restore("reconstruct", image, alpha=beside)
    bad = np.full((8, 8), np.nan, np.float32)
    with pytest.raises(InputError, match="64 of the image's 64 samples are not finite"):
        restore("reconstruct", photograph(8, 8, np.float32), alpha=bad)


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
