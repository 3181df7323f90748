"""Pixels of one colour, as a viewer shows it."""

from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage.color import deltaE_cie76, rgb2lab

from adacode_cli.geometry import grow_mask
from adacode_cli.imaging import icc_profile
from adacode_cli.imaging.cicp import Cicp
from adacode_cli.imaging.color_key import ColorKey
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.mask import mask_from_color
from adacode_cli.limits import MASK_HALO_PX, MASK_TOLERANCE

MAGENTA = "#ff00ff"
SRGB = bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
DISPLAY_P3, BT2020_PQ = Cicp(12, 13), Cicp(9, 16)


def noise(seed: int = 0, size: tuple[int, int] = (90, 120)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def stored_in(icc: bytes, rgb: tuple[int, int, int]) -> np.ndarray:
    """1×1×3: the values of a colour of sRGB in another profile, converted by Pillow alone."""
    image = Image.new("RGB", (1, 1), rgb)
    profile = ImageCms.ImageCmsProfile(BytesIO(icc))
    return np.array(ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), profile, outputMode="RGB"))


@pytest.mark.parametrize("color", [MAGENTA, "#000000", "#ffffff", "#18a0c4"])
@pytest.mark.parametrize("tolerance", [5, 20, 60])
def test_the_distance_is_that_of_cie_1976(color, tolerance):
    pixels = noise()
    rgb = np.frombuffer(bytes.fromhex(color[1:]), np.uint8)
    distance = deltaE_cie76(rgb2lab(pixels), rgb2lab(rgb[None, None]))
    clear = abs(distance - tolerance) > 0.01  # skimage rounds the matrix and the white point.
    found = ColorKey(Decoded(pixels), color).within(tolerance)
    np.testing.assert_array_equal(found[clear], (distance <= tolerance)[clear])
    nearest, at = ColorKey(Decoded(pixels), color).nearest()
    assert at == pytest.approx(distance.min(), abs=0.02)
    assert bytes.fromhex(nearest[1:]) == pixels[distance == distance.min()][0].tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_depth_has_the_colour(dtype):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = np.array([[[1, 0, 1], [0.99, 0.01, 1], [0.5, 0, 0.5], [1, 1, 1]]]) * top
    image = Decoded(pixels.astype(dtype))
    assert ColorKey(image, MAGENTA).within(0).tolist() == [[True, False, False, False]]
    assert ColorKey(image, MAGENTA).within(20).tolist() == [[True, True, False, False]]


def test_grey_is_compared_as_the_colour_that_it_shows():
    image = Decoded(np.array([[0, 120, 128, 255]], np.uint8))
    assert ColorKey(image, "#808080").within(5).tolist() == [[False, True, True, False]]
    assert not ColorKey(image, MAGENTA).within(40).any()


def test_the_profile_of_the_image_is_applied():
    adobe = icc_profile.adobe_rgb(grey=False)
    image = Decoded(np.hstack([stored_in(adobe, (255, 0, 255)), np.array([[[255, 0, 255]]], np.uint8)]), icc=adobe)
    # The numbers 255, 0, 255 are beyond sRGB in Adobe RGB, and are shown as its strongest magenta.
    assert image.pixels[0, 0].tolist() == [219, 0, 250]
    assert ColorKey(image, MAGENTA).within(0).tolist() == [[True, True]]
    assert not ColorKey(image, "#db00fa").within(0).any()
    assert ColorKey(Decoded(image.pixels), MAGENTA).within(0).tolist() == [[False, True]]


def test_numbers_that_describe_colours_count_like_a_profile():
    icc = DISPLAY_P3.profile(grey=False)
    image = Decoded(stored_in(icc, (40, 200, 60)), cicp=DISPLAY_P3)
    assert image.pixels[0, 0].tolist() != [40, 200, 60]
    assert ColorKey(image, "#28c83c").within(0).all()
    hdr = Decoded(np.array([[[40, 200, 60]]], np.uint8), icc=icc, cicp=BT2020_PQ)
    assert ColorKey(hdr, "#28c83c").within(0).all()


def test_a_profile_of_grey():
    image = Decoded(np.array([[128]], np.uint8), icc=icc_profile.adobe_rgb(grey=True))
    shown, _ = ColorKey(image, "#808080").nearest()
    expected = ImageCms.profileToProfile(
        Image.new("L", (1, 1), 128),
        ImageCms.ImageCmsProfile(BytesIO(image.icc)),
        ImageCms.createProfile("sRGB"),
        outputMode="RGB",
    )
    assert bytes.fromhex(shown[1:]) == bytes(expected.getpixel((0, 0)))


@pytest.mark.parametrize("icc", [SRGB, b"no profile", None])
def test_sound_and_damaged_profiles_leave_the_colour_of_srgb_findable(icc):
    pixels = noise(1)
    pixels[5:9, 7:20] = 255, 0, 255
    expected = np.zeros(pixels.shape[:2], bool)
    expected[5:9, 7:20] = True
    np.testing.assert_array_equal(ColorKey(Decoded(pixels, icc=icc), MAGENTA).within(0), expected)


def test_what_cannot_be_seen_has_no_colour():
    image = Decoded(np.full((1, 3, 3), (255, 0, 255), np.uint8), np.array([[0, 1, 255]], np.uint8))
    assert ColorKey(image, MAGENTA).within(20).tolist() == [[False, True, True]]
    hidden = Decoded(image.pixels, np.zeros((1, 3), np.uint8))
    assert ColorKey(hidden, MAGENTA).nearest() is None


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("rgb", [(255, 0, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)])
def test_thin_lines_that_a_jpeg_has_changed_are_covered(quality, subsampling, rgb):
    photo = cv2.GaussianBlur(noise(2, (200, 300)), (0, 0), 3)
    paint = np.zeros(photo.shape[:2], np.uint8)
    cv2.polylines(paint, [np.array([[20, 20], [250, 60], [60, 180]])], isClosed=False, color=1, thickness=3)
    photo[paint == 1] = rgb
    buffer = BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    image = decode(buffer.getvalue(), name="a.jpg")
    mask = mask_from_color(ColorKey(image, f"#{bytes(rgb).hex()}"), MASK_TOLERANCE)
    assert mask[paint == 1].mean() > 0.995
    assert not mask[~grow_mask(paint == 1, 2 * MASK_HALO_PX)].any()
