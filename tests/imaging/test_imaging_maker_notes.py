"""Maker notes whose offsets count from the beginning of the file can be read after they went into and out of TIFF."""

import struct
from io import BytesIO

import numpy as np
import pytest
from image_fixtures import saved, smooth
from nearest_image import enlarged
from other_programs import exiftool, needs_exiftool
from tifffile import TiffFile

from adacode_cli.batch.keeping import Keeping
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import Document, encode

IMAGE_TYPE = b"IMG:a camera of this test\0"
FAR = 10_000


def entry(code, dtype, count, value):
    return struct.pack("<HHII", code, dtype, count, value)


def canon_exif(note_at=200):
    """EXIF as Canon's cameras write it: the maker note is a directory whose values lie at offsets from the header."""
    make = b"Canon\0"
    main = struct.pack("<H", 2) + entry(271, 2, len(make), 38) + entry(34665, 4, 1, 44) + bytes(4)
    note = struct.pack("<H", 1) + entry(6, 2, len(IMAGE_TYPE), note_at + 18) + bytes(4) + IMAGE_TYPE
    inner = struct.pack("<H", 1) + entry(37500, 7, len(note), note_at) + bytes(4)
    block = struct.pack("<2sHI", b"II", 42, 8) + main + make + inner
    return block.ljust(note_at, b"\0") + note


def photograph(**options):
    return decode(saved(smooth(24, 32), "JPEG", exif=b"Exif\0\0" + canon_exif(**options)), name="x")


def image_type(path, data):
    path.write_bytes(data)
    found = exiftool(path)
    return found.get("Canon:CanonImageType"), found.get("ExifTool:Warning")


@needs_exiftool
def test_offsets_hold_in_tiff_and_behind_it(tmp_path):
    tiff, notes = Keeping(strict=True).encoded(enlarged(photograph(), 2), "tiff", None)
    assert notes == ()
    wanted = IMAGE_TYPE[:-1].decode(), None
    assert image_type(tmp_path / "a.tif", tiff) == wanted
    for format in ("tiff", "jpeg", "png"):
        again = encode(decode(tiff, name="x"), format=format)
        assert image_type(tmp_path / f"b.{format}", again) == wanted


@needs_exiftool
def test_pages_that_are_written_one_by_one_keep_the_note_of_the_first_in_its_place(tmp_path):
    with (tmp_path / "a.tif").open("w+b") as file:
        document = Document(file, "tiff", 10**6)
        for page in (photograph(), decode(saved(smooth(24, 32), "JPEG"), name="x")):
            document.add(page, page)
        document.finish()
    data = (tmp_path / "a.tif").read_bytes()
    assert image_type(tmp_path / "a.tif", data)[0] == IMAGE_TYPE[:-1].decode()
    assert [page.pixels.shape for page in decode(data, name="x").pages] == [(24, 32, 3)] * 2


@pytest.mark.parametrize("note_at", [200, 201, FAR])
def test_the_bytes_of_a_note_are_kept_wherever_it_lay(note_at):
    image = photograph(note_at=note_at)
    tiff = encode(image, format="tiff")
    back = decode(tiff, name="x")
    np.testing.assert_array_equal(back.pixels, image.pixels)
    with TiffFile(BytesIO(tiff)) as file:
        note = file.pages[0].tags[34665].value["MakerNote"]
    assert bytes(note) == canon_exif(note_at=note_at)[note_at:]
    assert (tiff[note_at:].startswith(bytes(note))) == (note_at != FAR)
    assert len(tiff) < FAR
    assert bytes(note) in encode(back, format="jpeg")


def test_a_block_that_a_jpeg_can_just_hold_is_held_by_it_again():
    exif = canon_exif(note_at=8000)
    large = struct.pack("<HHII", 37500, 7, 56_800, 8000)
    block = exif.replace(entry(37500, 7, len(exif) - 8000, 8000), large).ljust(64_800, b"x")
    image = decode(saved(smooth(24, 32), "JPEG", exif=b"Exif\0\0" + block), name="x")
    assert image.exif is not None
    tiff = decode(encode(image, format="tiff"), name="x")
    assert Keeping(strict=True).encoded(tiff, "jpeg", None)[1] == ()
