"""Masks: white in a file, strokes on a transparent layer, transparency, a colour."""

from pathlib import Path

import numpy as np
import pytest
from image_fixtures import DEPTHS, saved
from other_programs import convert, needs_imagemagick
from PIL import Image

from adacode_cli.errors import InputError, UsageError
from adacode_cli.imaging.color_key import ColorKey
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.mask import mask_from_alpha, mask_from_color, mask_from_image, read_mask


def test_more_than_half_white_is_a_hole(tmp_path):
    values = np.array([[0, 127, 128, 255]], np.uint8)
    for samples in (values, np.dstack([values] * 3), values.astype(np.uint16) * 257):
        path = tmp_path / "m.png"
        path.write_bytes(saved(samples, "PNG"))
        np.testing.assert_array_equal(read_mask(path, size=(1, 4)), [[False, False, True, True]])
    Image.fromarray(values > 127).save(path)
    np.testing.assert_array_equal(read_mask(path, size=(1, 4)), [[False, False, True, True]])


def test_luma_decides_for_coloured_masks_whatever_their_opaque_alpha(tmp_path):
    path = tmp_path / "m.png"
    colors = np.array([[[0, 255, 0], [255, 0, 0], [255, 255, 0], [0, 0, 255]]], np.uint8)
    for more in ((), (np.full((1, 4), 255, np.uint8),)):
        path.write_bytes(saved(np.dstack([colors, *more]), "PNG"))
        np.testing.assert_array_equal(read_mask(path, size=(1, 4)), [[True, False, True, False]])


SUFFIXES = (".png", ".tif", ".webp")


@needs_imagemagick
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("color", ["white", "black", "red", "#ffe08c"])
def test_strokes_on_a_transparent_layer_are_the_hole(tmp_path, suffix, color):
    """As painting programs export them; under what is transparent lie black, white or the stroke's own colour."""
    for hidden in ("#00000000", "#ffffff00"):
        path = tmp_path / f"m{suffix}"
        stroke = ["-fill", color, "-draw", "rectangle 3,2 10,6", "-draw", "circle 20,12 23,12"]
        convert("-size", "30x20", f"xc:{hidden}", *stroke, "-define", "webp:lossless=true", path)
        expected = convert(path, "-alpha", "extract", "-threshold", "50%", "-depth", "8", "gray:-")
        expected = np.frombuffer(expected, np.uint8).reshape(20, 30) > 0
        assert 0.05 < expected.mean() < 0.5
        np.testing.assert_array_equal(read_mask(path, size=(20, 30)), expected)


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("grey", [False, True])
def test_a_mask_is_composed_over_black(dtype, grey):
    """Black and white strokes on a transparent layer, and brushes that cover in part."""
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    values, alpha = np.array([[1, 0, 1, 1, 0.7, 0.7, 1]]) * top, np.array([[1, 1, 0, 0.6, 0.6, 1, 0.4]]) * top
    values, alpha = values.astype(dtype), alpha.astype(dtype)
    image = Decoded(values if grey else np.dstack([values] * 3), alpha)
    mask = mask_from_image(image, Path("m.png"), size=(1, 7))
    np.testing.assert_array_equal(mask, [[True, False, False, True, False, True, False]])


def test_what_marks_nothing_stays_without_a_hole():
    """An empty layer, a black layer with a transparent corner, a layer of 45 % grey."""
    black, clear = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    corner = np.full((10, 10), 255, np.uint8)
    corner[:3, :3] = 0
    for image in (
        Decoded(black, clear),
        Decoded(black + 255, clear),
        Decoded(black, corner),
        Decoded(black + 115),
        Decoded(black + 115, corner),
    ):
        assert not mask_from_image(image, Path("m.png"), size=(10, 10)).any()


def test_mask_of_another_size(tmp_path):
    path = tmp_path / "m.png"
    path.write_bytes(saved(np.zeros((3, 5), np.uint8), "PNG"))
    with pytest.raises(InputError, match=r"5×3.*3×5") as caught:
        read_mask(path, size=(5, 3))
    assert caught.value.path == path
    assert caught.value.hint


def test_mask_that_is_no_image(tmp_path):
    path = tmp_path / "m.png"
    path.write_text("white, mostly")
    with pytest.raises(InputError):
        read_mask(path, size=(1, 1))


@pytest.mark.parametrize("dtype", DEPTHS)
def test_alpha_below_half_is_a_hole(dtype):
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    alpha = np.array([[0, top * 0.49, top * 0.51, top]]).astype(dtype)
    image = Decoded(np.zeros((1, 4, 3), dtype), alpha)
    np.testing.assert_array_equal(mask_from_alpha(image), [[True, True, False, False]])


def test_no_alpha_no_mask():
    with pytest.raises(InputError, match="alpha") as caught:
        mask_from_alpha(Decoded(np.zeros((2, 2), np.uint8)))
    assert caught.value.hint


@pytest.mark.parametrize("dtype", DEPTHS)
def test_colour_matches_after_rounding_to_eight_bits(dtype):
    wanted = np.array([255, 128, 7])
    pixels = np.tile(wanted, (1, 3, 1)).astype(np.float64) / 255
    pixels[0, 1, 1] += 0.4 / 255
    pixels[0, 2, 1] += 0.6 / 255
    stored = pixels if dtype == np.float32 else np.rint(pixels * np.iinfo(dtype).max)
    mask = mask_from_color(ColorKey(Decoded(stored.astype(dtype)), "#ff8007"))
    np.testing.assert_array_equal(mask, [[True, True, False]])


def test_colour_in_grey_images():
    image = Decoded(np.array([[0, 128, 255]], np.uint8))
    np.testing.assert_array_equal(mask_from_color(ColorKey(image, "#808080")), [[False, True, False]])
    np.testing.assert_array_equal(mask_from_color(ColorKey(image, "FFFFFF")), [[False, False, True]])
    assert not mask_from_color(ColorKey(image, "#ff0000")).any()


@pytest.mark.parametrize("color", ["", "white", "#fff", "#ggffff", "#ffffff00", "0xffffff"])
def test_bad_colour(color):
    with pytest.raises(UsageError) as caught:
        ColorKey(Decoded(np.zeros((2, 2), np.uint8)), color)
    assert "#rrggbb" in caught.value.hint
