"""Filling holes changes the holes, their grown and feathered edge, and not one bit of anything else."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tiny_networks import LOCAL, PUBLISHED, photograph, restorer

from adacode_cli.engine.images import composite
from adacode_cli.errors import InputError
from adacode_cli.geometry import Hole, feather_mask, grow_mask

DEPTHS = [np.uint8, np.uint16, np.float32]
FAMILIES = {name: restorer(config) for name, config in (("local", LOCAL), ("published", PUBLISHED))}
TILED = restorer(LOCAL, tile=64)


def noise(height, width, dtype, channels, seed):
    rng = np.random.default_rng(seed)
    shape = (height, width) if channels == 1 else (height, width, channels)
    return (
        rng.random(shape, np.float32) if dtype == np.float32 else rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype)
    )


masks = arrays.arrays(
    np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.integers(0, 9).map(lambda n: n == 0)
)


@settings(deadline=None, max_examples=40)
@given(
    masks,
    st.integers(0, 4),
    st.integers(0, 4),
    st.sampled_from(DEPTHS),
    st.sampled_from([1, 3, 4]),
    st.sampled_from(["local", "published"]),
    st.integers(0, 99),
)
def test_outside_of_the_edge_nothing_changes(mask, grow, feather, dtype, channels, family, seed):
    assume(not grow_mask(mask, grow).all())
    image = noise(*mask.shape, dtype, channels, seed)
    filled = FAMILIES[family].inpaint(image, mask, grow=grow, feather=feather)
    untouched = ~grow_mask(grow_mask(mask, grow), feather)
    assert filled.dtype == dtype
    assert filled.shape == image.shape
    np.testing.assert_array_equal(filled[untouched], image[untouched])
    if channels == 4:
        np.testing.assert_array_equal(filled[..., 3], image[..., 3])


def test_a_hole_that_is_the_whole_image_is_an_error():
    image, mask = photograph(24, 30), np.ones((24, 30), np.bool_)
    with pytest.raises(InputError, match="mask covers the whole image"):
        TILED.inpaint(image, mask)
    mask[0, 0] = False
    assert (TILED.inpaint(image, mask) != image).any()
    with pytest.raises(InputError, match="mask, which grows by 1 px, covers the whole image"):
        TILED.inpaint(image, mask, grow=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hole_given_as_one_value_is_the_mask_with_its_edge(family):
    image, mask = photograph(24, 30), np.zeros((24, 30), np.bool_)
    mask[4:9, 10:20] = True
    wanted = FAMILIES[family].inpaint(image, mask, grow=2, feather=3).astype(int)
    found = FAMILIES[family].restore("inpaint", image, mask=Hole(mask, 2, 3)).image
    assert np.abs(found - wanted).max() <= 1
    np.testing.assert_array_equal(found[grow_mask(mask, 2)], wanted[grow_mask(mask, 2)])
    assert (found != image).any()


@settings(deadline=None)
@given(masks, st.integers(0, 5), st.sampled_from(DEPTHS), st.sampled_from([1, 3]), st.integers(0, 99))
def test_a_composite_is_old_new_or_between(mask, feather, dtype, channels, seed):
    old, new = (noise(*mask.shape, dtype, channels, seed + n) for n in (0, 1000))
    kept = old.copy()
    weight = feather_mask(mask, feather)
    out = composite(old, new, weight)
    assert out.dtype == dtype
    np.testing.assert_array_equal(old, kept)
    np.testing.assert_array_equal(out[weight == 0], old[weight == 0])
    np.testing.assert_array_equal(out[mask], new[mask])
    share = weight if channels == 1 else weight[..., None]
    exact = old.astype(np.float64) * (1 - share) + new.astype(np.float64) * share
    np.testing.assert_allclose(out, exact, atol=1e-6 if dtype == np.float32 else 0.51)


@pytest.mark.parametrize("dtype", DEPTHS)
def test_a_composite_blends_floats_and_integers_without_wrapping_round(dtype):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    old, new = np.full((1, 5), top, dtype), np.zeros((1, 5), dtype)
    weight = np.array([[0, 0.25, 0.5, 0.75, 1]], np.float32)
    np.testing.assert_allclose(composite(old, new, weight), top * (1 - weight), atol=0.51 if top > 1 else 0)
    np.testing.assert_allclose(composite(new, old, weight), top * weight, atol=0.51 if top > 1 else 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_lies_in_the_hole_does_not_matter(family):
    image = photograph(40, 48)
    mask = np.zeros((40, 48), np.bool_)
    mask[10:20, 12:30] = True
    other = image.copy()
    other[mask] = 255 - other[mask]
    filled = FAMILIES[family].inpaint(image, mask)
    np.testing.assert_array_equal(filled, FAMILIES[family].inpaint(other, mask))
    assert (filled[mask] != image[mask]).any()


def test_the_network_sees_the_grown_hole():
    """Growing hides the rim of a hole, where the damage often bleeds into what is kept."""
    image = photograph(40, 48)
    mask = np.zeros((40, 48), np.bool_)
    mask[15:20, 20:30] = True
    damaged = image.copy()
    damaged[grow_mask(mask, 3)] = (255, 0, 255)
    filled = [FAMILIES["local"].inpaint(picture, mask, grow=3) for picture in (image, damaged)]
    np.testing.assert_array_equal(*filled)


@pytest.mark.parametrize("feather", [0, 6])
def test_the_blend_is_feathered_about_the_grown_hole(feather):
    image = photograph(60, 60)
    mask = np.zeros((60, 60), np.bool_)
    mask[25:35, 25:35] = True
    hole = grow_mask(mask, 2)
    out = FAMILIES["local"].inpaint(image, mask, grow=2, feather=feather)
    assert out.shape == image.shape
    changed = (out != image).any(2)
    assert changed[hole].mean() > 0.9
    rim = grow_mask(hole, feather) & ~hole
    assert changed[rim].any() == (feather > 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_hole(family):
    image = photograph(9, 13)
    np.testing.assert_array_equal(FAMILIES[family].inpaint(image, np.zeros((9, 13), np.bool_)), image)


def test_holes_across_tiles():
    image = photograph(150, 200)
    mask = np.zeros((150, 200), np.bool_)
    mask[50:80, 40:160] = True
    np.testing.assert_allclose(
        TILED.inpaint(image, mask, feather=3).astype(int),
        FAMILIES["local"].inpaint(image, mask, feather=3).astype(int),
        atol=1,
    )
