"""What a format cannot hold is announced, done the documented way, and never silent."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_fixtures import DEPTHS, noise, reopened, smooth
from PIL import Image, JpegImagePlugin

from adacode_cli import formats
from adacode_cli.errors import OutputError, UsageError
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encode, format_of, losses
from adacode_cli.imaging.image import Decoded

FULL_COLOR = 0


def test_default_suffixes_lead_back_to_their_format():
    for format in formats.every():
        for suffix in format.suffixes:
            assert format_of(Path(f"photo{suffix}")) == format.name
            assert format_of(Path(f"photo{suffix.upper()}")) == format.name
    assert format_of(Path("photo.gif")) is None
    assert format_of(Path("photo")) is None


@pytest.mark.parametrize(("quality", "full"), [(None, True), (100, True), (90, True), (89, False), (50, False)])
def test_jpeg_keeps_colour_resolution_from_quality_ninety(quality, full):
    image = Image.open(BytesIO(encode(Decoded(smooth(32, 32)), format="jpeg", quality=quality)))
    assert (JpegImagePlugin.get_sampling(image) == FULL_COLOR) == full


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_quality_is_obeyed_and_defaults_to_ninety_five(format):
    image = Decoded(noise((64, 64, 3), np.uint8))
    assert encode(image, format=format) == encode(image, format=format, quality=95)
    sizes = [len(encode(image, format=format, quality=quality)) for quality in (10, 50, 95, 100)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_impossible_quality(quality):
    with pytest.raises(UsageError):
        encode(Decoded(smooth(4, 4)), format="jpeg", quality=quality)


def test_noise_at_full_quality_with_long_metadata_fits_its_buffer():
    image = Decoded(noise((300, 200, 3), np.uint8), icc=bytes(200_000))
    assert reopened(encode(image, format="jpeg", quality=100)).size == (200, 300)


@pytest.mark.parametrize("format", ["gif", "JPEG", "", "jpg"])
def test_unknown_format(format):
    image = Decoded(smooth(4, 4))
    for call in (lambda: encode(image, format=format), lambda: losses(image, format)):
        with pytest.raises(OutputError) as caught:
            call()
        assert "png" in caught.value.hint


@pytest.mark.parametrize(("format", "side"), [("webp", 16_384), ("jpeg", 65_501)])
def test_too_large_for_the_format(format, side):
    with pytest.raises(OutputError, match=str(side)) as caught:
        encode(Decoded(np.zeros((1, side), np.uint8)), format=format)
    assert caught.value.hint


@pytest.mark.parametrize(("format", "side"), [("webp", 16_383), ("jpeg", 65_500), ("png", 70_000), ("tiff", 70_000)])
def test_the_largest_side_is_written(format, side):
    assert decode(encode(Decoded(np.zeros((1, side), np.uint8)), format=format), name="x").size == (1, side)


@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("grey", [True, False])
def test_transparency_is_shown_on_white(dtype, grey):
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = noise((13, 17) if grey else (13, 17, 3), dtype)
    alpha = noise((13, 17), dtype, seed=4)
    alpha[0, 0] = 0
    image = Decoded(pixels, alpha)
    assert losses(image, "bmp")[0].startswith("alpha")
    share = (alpha / top) if grey else (alpha / top)[..., None]
    expected = 255 * (pixels / top * share + 1 - share)
    shown = decode(encode(image, format="bmp"), name="x").pixels
    assert np.abs(shown - expected).max() <= 0.51
    assert (shown[0, 0] == 255).all()


def test_full_opacity_is_no_loss():
    image = Decoded(smooth(5, 5), np.full((5, 5), 255, np.uint8))
    assert losses(image, "jpeg") == ()
    np.testing.assert_array_equal(decode(encode(image, format="bmp"), name="x").pixels, image.pixels)


@pytest.mark.parametrize(
    ("dtype", "format", "expected"),
    [
        (np.uint16, "jpeg", ("16-bit depth (saved as 8-bit)",)),
        (np.uint16, "webp", ("16-bit depth (saved as 8-bit)",)),
        (np.uint16, "jp2", ()),
        (np.uint16, "avif", ("16-bit depth (saved as 12-bit)",)),
        (np.uint16, "heic", ("16-bit depth (saved as 10-bit)",)),
        (np.float32, "jp2", ("32-bit float depth (saved as 16-bit)",)),
        (np.uint16, "bmp", ("16-bit depth (saved as 8-bit)",)),
        (np.uint16, "png", ()),
        (np.uint16, "tiff", ()),
        (np.float32, "png", ("32-bit float depth (saved as 16-bit)",)),
        (np.float32, "jpeg", ("32-bit float depth (saved as 8-bit)",)),
        (np.float32, "tiff", ()),
        (np.uint8, "jpeg", ()),
    ],
)
def test_depth_losses(dtype, format, expected):
    assert losses(Decoded(noise((3, 4, 3), dtype)), format) == expected


@settings(deadline=None)  # The first of some kind loads a library.
@given(st.sampled_from(sorted(formats.names())), st.sampled_from(DEPTHS), st.booleans())
def test_losses_tell_the_depth_that_comes_back(format, dtype, alpha):
    image = Decoded(noise((33, 34, 3), dtype), np.zeros((33, 34), dtype) if alpha else None)
    again = decode(encode(image, format=format), name="x")
    text = " ".join(losses(image, format))
    assert ("depth" in text) == (again.pixels.dtype != dtype or again.bits is not None)
    assert ("alpha" in text) == (alpha and again.alpha is None)


@pytest.mark.parametrize(
    ("pixels", "alpha"),
    [
        (np.zeros((4, 5, 4), np.uint8), None),
        (np.zeros((0, 5, 3), np.uint8), None),
        (np.zeros((4, 5), np.float64), None),
        (np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8)),
        (np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint16)),
    ],
)
def test_arrays_of_another_kind_are_a_bug_of_the_caller(pixels, alpha):
    with pytest.raises(ValueError, match=r"must be|does not fit"):
        Decoded(pixels, alpha)
