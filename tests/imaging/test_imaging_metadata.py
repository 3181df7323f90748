"""ICC profiles and EXIF come out of every format that can hold them as they went in."""

import struct
from io import BytesIO

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from image_fixtures import noise, reopened, saved, smooth, srgb_profile
from PIL import Image

from adacode_cli.imaging import exif as exif_blocks
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encode, losses
from adacode_cli.imaging.image import Decoded

KEEPING = ["jpeg", "png", "webp", "tiff"]
PIXELS = smooth(24, 32)


def camera_exif(endian="<"):
    exif = Image.Exif()
    exif.endian = endian
    exif[271], exif[272], exif[274] = "Maker", "Model 5", 6
    exif[282], exif[283], exif[296] = 300.0, 300.0, 2
    exif[34665] = {36867: "2021:03:04 05:06:07", 33434: 0.004, 34855: 200, 37500: b"maker note \0\1\2\3 bytes"}
    exif[34853] = {1: "N", 2: (48.0, 51.0, 30.5), 3: "E", 4: (2.0, 17.0, 40.0)}
    return exif


def told(data):
    """The tags that a person would miss, as Pillow reads them."""
    exif = reopened(data).getexif()
    inner, gps = exif.get_ifd(34665), exif.get_ifd(34853)
    return {
        "make": exif.get(271),
        "model": exif.get(272),
        "resolution": float(exif.get(282, 0)),
        "taken": inner.get(36867),
        "time": round(float(inner.get(33434, 0)), 6),
        "iso": inner.get(34855),
        "note": inner.get(37500),
        "latitude": tuple(float(v) for v in gps.get(2, ())),
        "east": gps.get(3),
    }


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("target", KEEPING)
@pytest.mark.parametrize("endian", ["<", ">"])
def test_exif_survives(source, target, endian):
    data = saved(PIXELS, source, exif=camera_exif(endian).tobytes())
    before = told(data)
    assert before["iso"] == 200
    image = decode(data, name="x")
    assert losses(image, target) == ()
    out = encode(image, format=target)
    assert told(out) == before
    assert told(encode(decode(out, name="x"), format="jpeg")) == before


@pytest.mark.parametrize("target", KEEPING)
def test_the_description_of_a_person_comes_before_that_of_a_program(target):
    """tifffile adds a second ImageDescription with the shape of the pixels, which may not be that of the result."""
    buffer = BytesIO()
    tifffile.imwrite(buffer, PIXELS, photometric="rgb", description="The harbour, about 1931")
    assert buffer.getvalue().count(b'{"shape"') == 1
    out = encode(decode(buffer.getvalue(), name="x"), format=target)
    assert reopened(out).getexif()[270] == "The harbour, about 1931"
    assert b'{"shape"' not in out


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("format", ["png", "tiff"])
def test_exif_and_profile_survive_at_full_depth(dtype, format):
    block = camera_exif().tobytes().removeprefix(b"Exif\0\0")
    image = Decoded(noise((9, 7, 3), dtype), noise((9, 7), dtype), exif=block, icc=srgb_profile())
    again = decode(encode(image, format=format), name="x")
    assert again.icc == image.icc
    as_jpeg = encode(Decoded(smooth(9, 7), exif=again.exif), format="jpeg")
    assert told(as_jpeg)["latitude"] == (48.0, 51.0, 30.5)
    assert told(as_jpeg)["note"] == b"maker note \0\1\2\3 bytes"


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("target", KEEPING)
def test_profile_survives(source, target):
    profile = srgb_profile()
    image = decode(saved(PIXELS, source, icc_profile=profile), name="x")
    assert image.icc == profile
    assert reopened(encode(image, format=target)).info["icc_profile"] == profile


def test_nothing_is_invented():
    for format in (*KEEPING, "bmp"):
        image = decode(encode(Decoded(PIXELS), format=format), name="x")
        assert image.icc is None
        if format != "tiff":
            assert image.exif is None
        assert "icc_profile" not in reopened(encode(image, format="png")).info


def test_bmp_says_that_it_drops_both():
    image = Decoded(PIXELS, icc=srgb_profile(), exif=camera_exif().tobytes()[6:])
    assert losses(image, "bmp") == ("ICC profile", "EXIF")


def test_exif_too_long_for_jpeg_is_reported_and_the_image_still_written():
    exif = camera_exif()
    exif[34665] = {37500: bytes(70_000)}
    image = decode(saved(PIXELS, "PNG", exif=exif), name="x")
    assert losses(image, "png") == ()
    assert losses(image, "jpeg") == ("EXIF",)
    assert "exif" not in reopened(encode(image, format="jpeg")).info
    assert len(reopened(encode(image, format="tiff")).getexif().get_ifd(34665)[37500]) == 70_000


def test_grey_profile_is_not_put_on_the_rgb_samples_of_a_webp():
    profile = bytearray(srgb_profile())
    profile[16:20] = b"GRAY"
    image = Decoded(PIXELS[..., 0].copy(), icc=bytes(profile))
    assert losses(image, "webp") == ("ICC profile",)
    assert "icc_profile" not in reopened(encode(image, format="webp")).info
    assert losses(image, "png") == ()


def test_a_name_in_utf8_survives_the_way_through_tiff():
    name = "Zoë Ångström".encode() + b"\0"
    body = struct.pack("<H", 1) + struct.pack("<HHII", 315, 2, len(name), 26) + struct.pack("<I", 0) + name
    block = struct.pack("<2sHI", b"II", 42, 8) + body
    tiff = encode(Decoded(PIXELS, exif=block), format="tiff")
    with tifffile.TiffFile(BytesIO(tiff)) as file:
        assert name.rstrip(b"\0") in tiff
        assert 315 in file.pages[0].tags
    assert name in decode(tiff, name="x").exif


def test_maker_notes_do_not_move_within_a_block():
    data = saved(PIXELS, "JPEG", exif=camera_exif(">"))
    before = reopened(data).info["exif"].removeprefix(b"Exif\0\0")
    after = decode(data, name="x").exif
    assert len(after) == len(before)
    assert after.index(b"maker note") == before.index(b"maker note")
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1  # the orientation, 6 → 1


def test_the_old_thumbnail_goes():
    thumbnail = saved(PIXELS[::4, ::4].copy(), "JPEG")
    head = struct.pack("<2sHI", b"II", 42, 8)
    first = struct.pack("<H", 1) + struct.pack("<HHIHH", 274, 3, 1, 8, 0) + struct.pack("<I", 26)
    second = (
        struct.pack("<H", 2) + struct.pack("<HHII", 513, 4, 1, 56) + struct.pack("<HHII", 514, 4, 1, len(thumbnail))
    )
    block = head + first + second + struct.pack("<I", 0) + thumbnail
    assert block.index(thumbnail) == 56
    data = saved(PIXELS, "JPEG", exif=b"Exif\0\0" + block)
    image = decode(data, name="x")
    assert image.size == (32, 24)
    assert thumbnail[:100] not in image.exif
    opened = reopened(encode(image, format="jpeg")).getexif()
    assert opened[274] == 1
    assert opened.get_ifd(0x1) == {}


def test_damaged_exif_is_dropped_with_a_note():
    image = decode(saved(PIXELS, "JPEG", exif=b"Exif\0\0not a tiff header"), name="x")
    assert image.exif is None
    assert image.lost == ("damaged EXIF",)


def test_orientation_is_found_in_a_block_that_breaks_off_behind_it():
    block = camera_exif().tobytes().removeprefix(b"Exif\0\0")
    image = decode(saved(PIXELS, "JPEG", exif=b"Exif\0\0" + block[:60]), name="x")
    assert image.size == (32, 24)


def test_resolution_is_kept_in_tiff():
    image = decode(saved(PIXELS, "JPEG", exif=camera_exif()), name="x")
    assert reopened(encode(image, format="tiff")).info["dpi"] == (300.0, 300.0)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0"]))
def test_any_block_either_parses_or_is_called_damaged(tail, head):
    block = head + tail
    for read in (exif_blocks.upright, exif_blocks.sections):
        try:
            result = read(block)
        except exif_blocks.DamagedExif:
            continue
        if read is exif_blocks.upright:
            assert len(result[0]) == len(block)
            # Patching is idempotent: what comes out is upright, or says nothing.
            assert exif_blocks.upright(result[0])[1] == (None if result[1] is None else 1)
        else:
            rebuilt = exif_blocks.block_of(result)
            if rebuilt is not None:
                again = exif_blocks.sections(rebuilt)
                assert contents(again.main) == contents(result.main)
                assert contents(again.exif) == contents(result.exif)
                assert contents(again.gps) == contents(result.gps)


def contents(entries):
    return sorted((entry.code, entry.dtype, entry.data) for entry in entries)
