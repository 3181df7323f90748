"""Pixels stay in their own colour space, and its profile goes with them: wide colours come out as they went in."""

import struct
from io import BytesIO

import numpy as np
import pytest
from image_fixtures import reopened, saved, smooth, srgb_profile
from nearest_image import enlarged
from PIL import Image, ImageCms

from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encode

# Columns of Display P3, adapted to the white of profiles (D50).
DISPLAY_P3 = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}
KEEPING = ("jpeg", "png", "webp", "tiff", "jp2", "avif", "heic")


def display_p3():
    """sRGB's profile with the primaries of Display P3, whose curve is the same."""
    profile = bytearray(srgb_profile())
    (count,) = struct.unpack_from(">I", profile, 128)
    for at in range(132, 132 + 12 * count, 12):
        name, where = bytes(profile[at : at + 4]), struct.unpack_from(">I", profile, at + 4)[0]
        if name in DISPLAY_P3:
            struct.pack_into(">3i", profile, where + 8, *(round(value * 65536) for value in DISPLAY_P3[name]))
    return bytes(profile)


def in_lab(image, profile):
    """L*, a*, b* of an RGB image by its profile, as LittleCMS says."""
    profiles = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(image, *profiles, outputMode="LAB", renderingIntent=1)
    planes = np.asarray(lab).astype(float)
    return np.dstack([planes[..., 0] / 2.55, planes[..., 1:] - 256 * (planes[..., 1:] > 127)])


def vivid():
    """The smooth image with a corner of the purest red and one of the purest green that P3 has."""
    image = smooth(40, 48)
    image[:16, :16], image[-16:, -16:] = (255, 0, 0), (0, 255, 0)
    return image


@pytest.mark.parametrize("format", KEEPING)
def test_wide_colours_come_out_as_they_went_in(format):
    profile, picture = display_p3(), vivid()
    image = decode(saved(picture, "TIFF", icc_profile=profile), name="x")
    data = encode(enlarged(image, 2), format=format)
    again = decode(data, name="x")
    assert again.icc == profile
    before = in_lab(Image.fromarray(picture), profile)
    after = in_lab(Image.fromarray(again.pixels[::2, ::2].copy()), again.icc)
    difference = np.sqrt(((after - before) ** 2).sum(2))
    for corner in (difference[:12, :12], difference[-12:, -12:]):
        assert corner.mean() < (0.01 if format in ("png", "tiff", "jp2") else 2)
    if format in ("jpeg", "png", "tiff", "webp"):
        assert reopened(data).info["icc_profile"] == profile


def test_a_way_through_srgb_would_have_lost_them():
    """Why pixels are kept in place: this is what the other choice costs."""
    profile, image = display_p3(), Image.fromarray(vivid())
    p3, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
    there = ImageCms.profileToProfile(image, p3, srgb, renderingIntent=1)
    back = ImageCms.profileToProfile(there, srgb, p3, renderingIntent=1)
    difference = np.sqrt(((in_lab(back, profile) - in_lab(image, profile)) ** 2).sum(2))
    assert difference[:12, :12].mean() > 5
    assert difference[-12:, -12:].mean() > 5
