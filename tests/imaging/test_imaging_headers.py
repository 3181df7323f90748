"""What a header says is what decoding gives; whatever else the bytes are, nothing is raised and nothing waited for."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
import tifffile
from image_fixtures import noise, png_chunk, png_file, saved, srgb_profile
from other_programs import identify, needs_imagemagick
from PIL import Image

from adacode_cli import formats
from adacode_cli.imaging import headers, photoshop
from adacode_cli.imaging.cicp import Cicp
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.headers import header_in, read_header
from adacode_cli.imaging.image import Decoded


def depth(header):
    """The dtype that `decode` gives for a header."""
    return "float32" if header.is_float or header.bits > 16 else "uint16" if header.bits > 8 else "uint8"


def check(data):
    """Compares the header of a file with what is decoded of it, and returns the header."""
    header, decoded = header_in(BytesIO(data)), decode(data, name="x")
    assert header is not None
    assert (header.height, header.width, header.pages) == (*decoded.size, len(decoded.pages))
    assert (header.colors, depth(header)) == (decoded.colors, str(decoded.pixels.dtype))
    assert all(getattr(decoded.metadata, kind) is not None for kind in header.metadata)
    assert header.cicp in (None, decoded.cicp) or header.cicp.is_srgb
    return header


@pytest.mark.parametrize("format", formats.names())
def test_of_what_this_program_writes(format):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    said = {"icc": srgb_profile(), "exif": exif.tobytes()[6:], "xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"}
    said |= {"iptc": b"\x1c\x02\x05\x00\x05title"}
    for dtype, shape in ((np.uint8, (35, 50, 3)), (np.uint16, (40, 33, 3)), (np.float32, (33, 41)), (np.uint8, (5, 4))):
        check(encode(Decoded(noise(shape, dtype)), format=format))
    header = check(encode(Decoded(noise((35, 50, 3), np.uint8), noise((35, 50), np.uint8), **said), format=format))
    told = {  # of the other formats a header tells less
        "jpeg": {"icc", "exif", "xmp", "iptc"},
        "png": {"icc", "exif", "xmp"},
        "webp": {"icc", "exif", "xmp"},
        "tiff": {"icc", "xmp", "iptc"},
    }
    assert header.metadata >= told.get(format, set())


@pytest.mark.parametrize("format", ["png", "avif", "heic"])
@pytest.mark.parametrize("icc", [None, srgb_profile()])
def test_of_colours_in_numbers(format, icc):
    for numbers, counts in ((Cicp(9, 16), True), (Cicp(12, 13), icc is None or format == "png")):
        header = check(encode(Decoded(noise((35, 50, 3), np.uint16), icc=icc, cicp=numbers), format=format))
        assert header.cicp in ((numbers,) if counts else (None, numbers))


@needs_imagemagick
@pytest.mark.parametrize(
    "name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp", "a.jp2", "a.avif", "a.heic", "t.tif", "l.webp", "p.tif"]
)
def test_of_what_another_program_writes_and_reads(tmp_path, name):
    path = tmp_path / name
    more = {"t.tif": ["-define", "tiff:tile-geometry=64x64"], "l.webp": ["-define", "webp:lossless=true"]}
    more["p.tif"] = ["-colors", "16", "-type", "palette", "-endian", "MSB"]
    command = ["convert", "-size", "71x45", "plasma:red-blue", *more.get(name, []), str(path)]
    if subprocess.run(command, check=False, capture_output=True, timeout=60).returncode or not path.exists():
        pytest.skip("this ImageMagick does not write it")
    header = read_header(path)
    assert header is not None
    assert [f"{header.width} {header.height}"] == identify(path, "%w %h")
    check(path.read_bytes())


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_of_tiffs_with_pages_small_copies_and_masks(byteorder, bigtiff):
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=byteorder, bigtiff=bigtiff) as writer:
        for shape, kind in (((9, 7, 3), 0), ((3, 2, 3), 1), ((5, 6, 3), 2), ((9, 7), 4)):
            samples = noise(shape, np.uint16) if kind != 4 else np.ones(shape, bool)
            writer.write(samples, subfiletype=kind, photometric="rgb" if len(shape) == 3 else "minisblack")
        writer.write(noise((3, 2, 3), np.uint16), photometric="rgb", extratags=[(255, 3, 1, 2, True)])  # a small copy
    header = check(buffer.getvalue())
    assert (header.width, header.height, header.pages, header.bits) == (7, 9, 2, 16)


def test_of_a_tiff_whose_pages_lead_around_in_a_circle():
    data = bytearray(saved(noise((6, 5, 3), np.uint8), "TIFF"))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, first)
    assert header_in(BytesIO(data)).pages == 1


def test_a_tiff_of_more_tags_than_images_have_has_no_header():
    directory = struct.pack("<H", 60_000) + bytes(12 * 60_000)
    at, pieces = 8, [b"II*\0\x08\0\0\0"]
    for _ in range(6):
        at += len(directory) + 4
        pieces.append(directory + struct.pack("<I", at))
    assert header_in(BytesIO(b"".join(pieces))) is None


def test_a_jpeg_says_its_size_behind_segments_of_any_number():
    data = saved(noise((6, 5, 3), np.uint8), "JPEG")
    comment = b"\xff\xfe" + struct.pack(">H", 65_000) + bytes(64_998)
    header = check(data[:2] + comment * 3 + b"\xff\xff" + data[2:][1:])
    assert (header.width, header.height) == (5, 6)
    assert header_in(BytesIO(data[:2] + b"\xff\xfe\0\x02" * 20_000 + data[2:])) is None


@pytest.mark.parametrize(("shape", "dtype"), [((5, 7), np.uint8), ((6, 5, 3), np.uint8), ((5, 6), np.uint16)])
def test_of_jpeg_ls(shape, dtype):
    header = check(imagecodecs.jpegls_encode(noise(shape, dtype)))
    assert (header.height, header.width, header.bits) == (*shape[:2], 8 * np.dtype(dtype).itemsize)


@pytest.mark.parametrize(("records", "found"), [(b"", set()), (b"\x1c\x02\x05\x00\x01t", {"iptc"})])
def test_an_empty_resource_of_iptc_is_none(records, found):
    data = saved(noise((6, 5, 3), np.uint8), "JPEG")
    body = b"Photoshop 3.0\0" + photoshop.wrapped(records)
    header = check(data[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + data[2:])
    assert header.metadata == found


def test_texts_of_other_kinds_in_a_png_are_passed_by():
    extra = png_chunk(b"iTXt", b"Title\0\0\0\0\0x") + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>")
    header = check(png_file([b"\x10\x20\x30"] * 2, width=3, depth=8, color_type=0, extra=extra))
    assert (header.width, header.height, header.colors, header.metadata) == (3, 2, 1, {"xmp"})


def test_bytes_of_any_kind_give_a_header_or_nothing():
    """All beginnings of files, and files with wrong bytes in their first part."""
    rng = random.Random(5)
    for format in formats.names():
        data = encode(Decoded(noise((33, 34, 3), np.uint8), exif=None, icc=srgb_profile()), format=format)
        for length in range(0, min(len(data), 700), 7):
            header_in(BytesIO(data[:length]))
        for _ in range(300):
            wrong = bytearray(data)
            for _ in range(rng.randint(1, 4)):
                wrong[rng.randrange(min(len(wrong), 600))] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
            found = header_in(BytesIO(wrong))
            assert found is None or found.width > 0 < found.height


def test_what_is_no_file_is_not_waited_for(tmp_path):
    assert read_header(tmp_path / "gone.png") is None
    assert read_header(tmp_path) is None
    assert read_header(tmp_path / "a\0b.png") is None
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        assert read_header(tmp_path / "pipe.png") is None


def test_little_of_a_large_file_is_read(tmp_path, monkeypatch):
    data = saved(noise((6, 5, 3), np.uint8), "BMP")
    path = tmp_path / "large.bmp"
    path.write_bytes(data)
    os.truncate(path, 1 << 30)  # a hole
    read = []
    part_of = headers.Opened.__getitem__
    monkeypatch.setattr(
        headers.Opened, "__getitem__", lambda file, where: read.append(part_of(file, where)) or read[-1]
    )
    assert read_header(path) is not None
    assert 0 < sum(map(len, read)) < 100


def test_a_tiff_of_very_many_tags_has_no_header(tmp_path):
    """A plan reads headers of files that nobody has looked at; each of 60 directories has 4,000 tags."""
    tags, directories = 4000, 60
    tag = struct.pack("<HHII", 65000, 3, 1, 0)
    size = 2 + tags * 12 + 4
    file = struct.pack("<2sHI", b"II", 42, 8)
    for number in range(directories):
        following = 8 + (number + 1) * size if number + 1 < directories else 0
        file += struct.pack("<H", tags) + tag * tags + struct.pack("<I", following)
    (tmp_path / "a.tif").write_bytes(file)
    assert read_header(tmp_path / "a.tif") is None
    Image.new("L", (5, 4)).save(tmp_path / "b.tif")
    assert read_header(tmp_path / "b.tif").width == 5
