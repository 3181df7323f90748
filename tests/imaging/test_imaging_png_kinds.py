"""PNG of unusual kinds: animations, large texts, pixels that end too early, transparent colours of 16 bits."""

import struct
import subprocess
import zlib

import numpy as np
import pytest
from image_fixtures import noise, png_chunk, png_file, saved, smooth
from other_programs import needs_imagemagick
from PIL import Image

from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encode, losses
from adacode_cli.imaging.image import Decoded

DEEP = noise((20, 30, 3), np.uint16)
FIRST = noise((20, 30, 3), np.uint16, seed=1)


def frame_header(number, height=20, width=30):
    return png_chunk(b"fcTL", struct.pack(">5I2H2B", number, width, height, 0, 0, 1, 10, 0, 0))


def animated(default, frames, *, is_frame):
    """An animated PNG of 16 bits: the `default` image, which is a frame itself or is not, and more frames."""
    file = encode(Decoded(default), format="png")
    start = file.index(b"IDAT") - 4
    count = len(frames) + is_frame
    more = [png_chunk(b"acTL", struct.pack(">II", count, 0)), frame_header(0) if is_frame else b"", file[start:-12]]
    number = int(is_frame)
    for frame in frames:
        packed = encode(Decoded(frame), format="png")
        at = packed.index(b"IDAT")
        body = packed[at + 4 : at + 4 + struct.unpack_from(">I", packed, at - 4)[0]]
        more += [frame_header(number), png_chunk(b"fdAT", struct.pack(">I", number + 1) + body)]
        number += 2
    return b"".join([file[:start], *more, file[-12:]])


@needs_imagemagick
@pytest.mark.parametrize("is_frame", [False, True])
def test_of_a_deep_animation_the_default_image_is_taken(tmp_path, is_frame):
    file = animated(DEEP, [FIRST, FIRST], is_frame=is_frame)
    image = decode(file, name="x")
    np.testing.assert_array_equal(image.pixels, DEEP)
    assert image.lost == ("2 of 3 frames",)
    (tmp_path / "a.png").write_bytes(file)
    command = ["convert", "-depth", "16", tmp_path / "a.png", "-endian", "LSB", "rgb:-"]
    raw = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    np.testing.assert_array_equal(np.frombuffer(raw, "<u2").reshape(DEEP.shape), image.pixels)


@pytest.mark.parametrize("first_is_frame", [False, True])
def test_of_an_animation_of_eight_bits_too(first_is_frame):
    images = [Image.fromarray(noise((20, 30, 3), np.uint8, seed=seed)) for seed in range(3)]
    file = saved(
        images[0], "PNG", save_all=True, append_images=images[1:], default_image=not first_is_frame, duration=10
    )
    image = decode(file, name="x")
    np.testing.assert_array_equal(image.pixels, np.asarray(images[0]))
    assert image.lost == ("2 of 3 frames",)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_texts_and_profiles_that_unpack_to_more_than_a_megabyte_are_read(deep, behind):
    pixels = DEEP if deep else smooth(20, 30)
    file = encode(Decoded(pixels), format="png")
    profile = bytes(3 << 20)
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + b" " * (2 << 20) + b"</x:xmpmeta>"
    chunks = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3 << 20)))
    chunks += png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet))
    chunks += png_chunk(b"iCCP", b"large\0\0" + zlib.compress(profile))
    at = len(file) - 12 if behind else 33
    image = decode(file[:at] + chunks + file[at:], name="x")
    np.testing.assert_array_equal(image.pixels, pixels)
    assert (image.icc, image.xmp, losses(image, "tiff")) == (profile, packet, ("texts (Comment)",))


@pytest.mark.parametrize("interlaced", [False, True])
def test_pixels_that_end_before_the_image_does_are_missing(interlaced):
    """The stream is whole as a stream, so that no checksum is wrong."""
    header = struct.pack(">IIBBBBB", 30, 20, 8, 2, 0, 0, int(interlaced))
    rows = bytes(91 * 10)
    start = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
    file = start + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    with pytest.raises(InputError, match="is truncated"):
        decode(file, name="x")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_sixteen_bits_is_alpha(channels):
    pixels = DEEP if channels == 3 else DEEP[..., 0].copy()
    pixels[3:5] = pixels[0, 0]
    file = encode(Decoded(pixels), format="png")
    key = png_chunk(b"tRNS", struct.pack(f">{channels}H", *np.atleast_1d(pixels[0, 0])))
    image = decode(file[:33] + key + file[33:], name="x")
    np.testing.assert_array_equal(image.pixels, pixels)
    same = pixels == pixels[0, 0] if channels == 1 else (pixels == pixels[0, 0]).all(axis=2)
    np.testing.assert_array_equal(image.alpha, np.where(same, 0, 65535))


def test_more_pixels_a_side_than_libpng_reads_are_read():
    wide = (np.arange(1_000_100) % 251).astype(np.uint8)[None]
    file = saved(wide, "PNG")
    np.testing.assert_array_equal(decode(file, name="x").pixels, wide)
    wrong = bytearray(file)
    wrong[file.index(b"IEND") - 8] ^= 1
    with pytest.raises(InputError, match="checksum"):
        decode(bytes(wrong), name="x")


@pytest.mark.parametrize("body", [bytes([9, 16, 1, 1]), bytes([12, 13, 0, 2]), bytes([9, 16, 0])])
def test_colours_in_numbers_that_make_no_sense_are_named_as_lost(body):
    file = saved(noise((9, 12, 3), np.uint8), "PNG")
    image = decode(file[:33] + png_chunk(b"cICP", body) + file[33:], name="x")
    assert (image.cicp, image.lost) == (None, ("an invalid cICP colour description",))


def test_deep_pixels_that_the_library_cannot_hold_are_refused_and_not_narrowed():
    wide = png_file([bytes(2 * 1_000_001)], width=1_000_001, depth=16, color_type=0)
    with pytest.raises(InputError, match="not supported: it is a PNG of 16 bits"):
        decode(wide, name="x")
