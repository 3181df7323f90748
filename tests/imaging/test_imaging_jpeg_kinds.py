"""JPEG beside the usual 8 bits: 12 bits, without loss, arithmetic coding, JPEG-LS. What is not read is named."""

import struct

import imagecodecs
import numpy as np
import pytest
from image_fixtures import noise, smooth, srgb_profile

from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import losses
from adacode_cli.imaging.resolution import INCH


def deep(bits, channels=3):
    """A smooth image over the whole range of `bits`."""
    image = smooth(40, 56).astype(np.uint32) * ((1 << bits) - 1) // 255
    return np.ascontiguousarray(
        image.astype(np.uint16 if bits > 8 else np.uint8)[..., 0 if channels == 1 else slice(3)]
    )


def over_sixteen(samples, bits):
    return np.rint(samples / ((1 << bits) - 1) * 65535)


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def by_hand(frame, bits=8, data=bytes(range(1, 60)), components=1):
    """A JPEG of the kind `frame` whose data mean nothing in particular."""
    parts = b"".join(bytes([index + 1, 0x11, 0]) for index in range(components))
    scan = bytes([components]) + b"".join(bytes([index + 1, 0]) for index in range(components)) + b"\0\x3f\0"
    head = segment(0xDB, b"\0" + b"\1" * 64) + segment(frame, struct.pack(">BHHB", bits, 16, 16, components) + parts)
    return b"\xff\xd8" + head + segment(0xDA, scan) + data + b"\xff\xd9"


def test_twelve_bits_fill_sixteen():
    picture = deep(12)
    file = imagecodecs.jpeg8_encode(picture, level=98, bitspersample=12)
    image = decode(file, name="x")
    assert image.bits == 12
    assert image.pixels.dtype == np.uint16
    assert np.abs(image.pixels - over_sixteen(picture, 12)).mean() / 65535 < 0.002
    assert losses(image, "png") == losses(image, "tiff") == ()
    assert losses(image, "jpeg") == ("12-bit depth (saved as 8-bit)",)


def test_what_a_twelve_bit_file_says_is_kept():
    file = imagecodecs.jpeg8_encode(deep(12), level=90, bitspersample=12)
    jfif = segment(0xE0, b"JFIF\0\1\1\1" + struct.pack(">HH", 300, 150) + b"\0\0")
    icc = segment(0xE2, b"ICC_PROFILE\0\1\1" + srgb_profile())
    start = file.index(b"\xff\xdb")
    image = decode(file[:2] + jfif + icc + segment(0xFE, b"hello") + file[start:], name="x")
    assert image.icc == srgb_profile()
    assert (image.resolution.across, image.resolution.down, image.resolution.unit) == (300, 150, INCH)
    assert image.lost == ("its comment",)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [2, 5, 8, 10, 12, 16])
def test_files_without_loss_come_out_exactly(bits, channels):
    picture = deep(bits, channels)
    image = decode(imagecodecs.jpeg8_encode(picture, lossless=True, bitspersample=bits), name="x")
    expected = over_sixteen(picture, bits) if bits > 8 else np.rint(picture / ((1 << bits) - 1) * 255)
    assert np.abs(image.pixels - expected).max() <= (1 if bits not in (8, 16) else 0)
    assert image.pixels.dtype == (np.uint16 if bits > 8 else np.uint8)
    assert image.bits == (bits if 8 < bits < 16 else None)
    assert image.format == "jpeg"


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_ls_comes_out_exactly(bits):
    picture = deep(bits, 1)
    file = imagecodecs.jpegls_encode(picture)
    stored = file[file.index(b"\xff\xf7") + 4]  # charls stores no more bits than it finds
    image = decode(file, name="x")
    expected = over_sixteen(picture, stored) if stored > 8 else picture
    assert np.abs(image.pixels - expected).max() <= 1
    with pytest.raises(InputError) as caught:
        decode(file[: len(file) // 2], name="x")
    assert caught.value.damage


def test_arithmetic_coding_is_read():
    assert decode(by_hand(0xC9), name="x").size == (16, 16)


@pytest.mark.parametrize(
    ("file", "what"),
    [
        (by_hand(0xC5), "a hierarchical JPEG with 1 component of 8 bits"),
        (by_hand(0xCB), "a lossless arithmetic-coded JPEG"),
        (by_hand(0xC1, 12, components=4), "a JPEG with 4 components of 12 bits"),
        (by_hand(0xF7, 8, components=2), "a JPEG-LS with 2 components of 8 bits"),
        (by_hand(0xC3, 17), "a lossless JPEG with 1 component of 17 bits"),
    ],
)
def test_what_is_not_read_is_named_and_not_called_damaged(file, what):
    for accept in (False, True):
        with pytest.raises(InputError, match=f"is not supported: it is {what}") as caught:
            decode(file, name="x", accept_damaged=accept)
        assert "Convert it" in caught.value.hint
        assert not caught.value.damage


@pytest.mark.parametrize("options", [{"bitspersample": 12}, {"lossless": True, "bitspersample": 12}])
def test_they_are_refused_where_they_break_off(options):
    # Noise: libjpeg fills what is missing, and only warns.
    file = imagecodecs.jpeg8_encode(noise((40, 56, 3), np.uint16) >> 4, **options)
    for cut in (4, len(file) // 2):
        with pytest.raises(InputError, match="truncated"):
            decode(file[:-cut], name="x")


def test_their_bombs_are_refused_on_the_header():
    file = imagecodecs.jpeg8_encode(deep(12), bitspersample=12)
    with pytest.raises(InputError, match="megapixels"):
        decode(file, name="x", max_pixels=40 * 56 - 1)
    at = file.index(b"\xff\xc1") + 5
    with pytest.raises(InputError, match="65000×65000 pixels, more than 300 megapixels"):
        decode(file[:at] + struct.pack(">HH", 65000, 65000) + file[at + 4 :], name="x")
