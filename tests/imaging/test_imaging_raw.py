"""Camera raw: colours, depth, orientation and metadata of a DNG whose mosaic is known."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from other_programs import tagged
from PIL import Image
from raw_files import light, write_dng

from adacode_cli import formats
from adacode_cli.errors import InputError
from adacode_cli.imaging import exif, raw_codec
from adacode_cli.imaging.decode import decode, read_image
from adacode_cli.imaging.encode import encode

LIGHT = light(120, 180)


def linear(pixels: np.ndarray) -> np.ndarray:
    values = pixels / 65535
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def test_it_is_developed_to_16_bits_in_srgb(tmp_path):
    image = read_image(write_dng(tmp_path / "a.dng", LIGHT))
    assert (image.size, image.colors, image.pixels.dtype, image.icc) == ((120, 180), 3, np.uint16, None)
    assert image.notes == ("developed from camera raw by LibRaw, with the white balance of the camera",)
    inside = (slice(8, -8), slice(8, 140))  # Further to the right, red is brightened to white.
    brightened = linear(image.pixels)[inside] / LIGHT[inside]
    factor = np.median(brightened)
    assert 1 < factor < 1.5
    assert abs(brightened / factor - 1).mean() < 0.02


def test_the_mosaic_below_a_preview_is_developed(tmp_path):
    image = read_image(write_dng(tmp_path / "a.dng", LIGHT))
    other = read_image(write_dng(tmp_path / "b.dng", LIGHT, preview=True))
    np.testing.assert_array_equal(other.pixels, image.pixels)
    assert (other.format, other.exif, other.stated) == ("raw", image.exif, image.stated)


def test_the_exif_of_a_preview_stands_for_that_of_other_structures():
    """No camera's file is at hand: the preview is a JPEG by Pillow, as LibRaw would hand it on."""
    tags, buffer = Image.Exif(), BytesIO()
    tags[271], tags[274] = "Somebody", 6
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", exif=tags)
    jpeg = SimpleNamespace(format=SimpleNamespace(name="JPEG"), data=buffer.getvalue())
    metadata, lost = raw_codec._metadata(b"FUJIFILMCCD-RAW", SimpleNamespace(extract_thumb=lambda: jpeg))
    assert ([entry.code for entry in exif.sections(metadata.exif).main], lost) == ([271], ())
    bitmap = SimpleNamespace(format=SimpleNamespace(name="BITMAP"), data=np.zeros((2, 2, 3)))
    metadata, lost = raw_codec._metadata(b"FUJIFILMCCD-RAW", SimpleNamespace(extract_thumb=lambda: bitmap))
    assert (metadata.exif, lost) == (None, ("EXIF (of this kind of camera raw)",))


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1), (8, 1)])
def test_it_is_upright(tmp_path, orientation, turns):
    upright = read_image(write_dng(tmp_path / "a.dng", LIGHT)).pixels
    image = read_image(write_dng(tmp_path / "b.dng", LIGHT, orientation=orientation))
    np.testing.assert_array_equal(image.pixels, np.rot90(upright, turns))
    sections = exif.sections(image.exif)
    assert not any(entry.code == exif.ORIENTATION and entry.number("<") != 1 for entry in sections.main)


def test_exif_and_xmp_are_kept_and_what_describes_the_sensor_is_not(tmp_path):
    path = write_dng(tmp_path / "a.dng", LIGHT)
    tagged(path, "-ExifIFD:ISO=200", "-GPSLatitude=48.5", "-XMP-dc:Title=Zoë")
    image = read_image(path)
    assert image.lost == ()
    assert "Zoë".encode() in image.xmp
    codes = {entry.code for entry in exif.sections(image.exif).main}
    assert {271, 272} <= codes
    assert all(code < 50700 for code in codes)
    again = decode(encode(image, format="tiff"), name="a.tif")
    assert again.format == "tiff"
    assert {code for group, code in again.stated if group == "EXIF"} >= {"Make", "Model"}
    np.testing.assert_array_equal(again.pixels, image.pixels)


def test_the_limit_of_pixels(tmp_path):
    path = write_dng(tmp_path / "a.dng", LIGHT)
    with pytest.raises(InputError, match="claims 180×120 pixels"):
        read_image(path, max_pixels=20_000)


def test_damaged_and_unknown_files_are_refused(tmp_path):
    data = write_dng(tmp_path / "a.dng", LIGHT).read_bytes()
    for cut in (200, 1000, len(data) // 2):
        with pytest.raises(InputError):
            decode(data[:cut], name="a.dng")
    for start in (b"\0\0\0\x18ftypcrx ", b"FUJIFILMCCD-RAW 0201", b"IIU\0"):
        assert formats.of_bytes(start + bytes(200)) is formats.named("raw")
        with pytest.raises(InputError, match="camera raw"):
            decode(start + bytes(2000), name="a.raw")


def test_without_rawpy_files_are_left_out_of_folders_and_named_with_the_package(tmp_path):
    path = write_dng(tmp_path / "a.dng", LIGHT)
    script = (
        "import sys; sys.modules['rawpy'] = None\n"
        "from adacode_cli import formats\n"
        "from adacode_cli.imaging.decode import read_image\n"
        "from pathlib import Path\n"
        "print('.dng' in formats.input_suffixes(), formats.unread('.dng').command('.dng'))\n"
        "try: read_image(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error.message, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    listed, refused = done.stdout.splitlines()
    install = "pip install 'adacode-cli[raw]'"
    assert listed == f"False darktable (darktable-cli a.dng a.tif), or install what reads it ({install})"
    assert refused.startswith("InputError camera raw needs the package rawpy, which is not installed")
    assert "pip install 'adacode-cli[raw]'" in refused
