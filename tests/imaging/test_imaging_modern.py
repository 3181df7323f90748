"""JPEG 2000, AVIF and HEIC: depth, grey, alpha and metadata; what other programs write is read, and the reverse."""

import subprocess
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest
from image_fixtures import saved, smooth, srgb_profile
from nearest_image import enlarged
from other_programs import exiftool, identify, needs_exiftool, needs_imagemagick, tagged
from PIL import Image

from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode, read_image
from adacode_cli.imaging.encode import encode, losses
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.resolution import INCH, Resolution

MODERN = ("jp2", "avif", "heic")
DEEP = smooth(48, 64).astype(np.uint16) * 257


def alpha_of(pixels):
    """Clear on the left, opaque on the right."""
    top = np.iinfo(pixels.dtype).max
    return np.where(np.arange(pixels.shape[1]) < 20, 0, top).astype(pixels.dtype)[None].repeat(pixels.shape[0], 0)


@pytest.mark.parametrize("format", MODERN)
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("clear", [False, True])
def test_pixels_come_back(format, deep, grey, clear):
    pixels = DEEP if deep else smooth(48, 64)
    pixels = np.ascontiguousarray(pixels[..., 0]) if grey else pixels
    image = Decoded(pixels, alpha_of(pixels) if clear else None, icc=srgb_profile())
    again = decode(encode(image, format=format), name="x")
    assert again.format == format
    assert again.pixels.dtype == pixels.dtype
    assert (again.alpha is not None) == clear
    found = again.pixels if again.pixels.ndim == pixels.ndim else again.pixels[..., 1]
    opaque = np.ones(pixels.shape[:2], bool) if not clear else image.alpha > 0
    error = np.abs(found.astype(float) - pixels)[opaque] / np.iinfo(pixels.dtype).max
    assert error.max() == 0 if format == "jp2" else error.mean() < 0.006
    if clear:
        assert np.abs(again.alpha.astype(float) - image.alpha).mean() / np.iinfo(pixels.dtype).max < 0.01
    assert again.icc == image.icc or (again.pixels.ndim != pixels.ndim)


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_avif_of_another_writer_fills_sixteen_bits(bits):
    top = (1 << bits) - 1
    ramp = np.linspace(0, top, 64).round().astype(np.uint16)[None].repeat(48, 0)
    options = [cv2.IMWRITE_AVIF_QUALITY, 100, cv2.IMWRITE_AVIF_DEPTH, bits]
    image = decode(cv2.imencode(".avif", np.dstack([ramp] * 3), options)[1].tobytes(), name="x")
    assert image.bits == bits
    assert image.pixels.dtype == np.uint16
    assert (image.pixels.min(), image.pixels.max()) == (0, 65535)
    np.testing.assert_allclose(image.pixels[..., 1] / 65535, ramp / top, atol=2 / top)
    assert losses(image, "png") == losses(image, "tiff") == losses(image, "avif") == ()
    assert losses(image, "heic") == (() if bits == 10 else ("12-bit depth (saved as 10-bit)",))
    assert losses(image, "jpeg") == (f"{bits}-bit depth (saved as 8-bit)",)


@needs_exiftool
@pytest.mark.parametrize("format", MODERN)
def test_what_exiftool_wrote_it_finds_again(tmp_path, format):
    path = tmp_path / f"a.{format}"
    dense = Resolution(Fraction(300), Fraction(150), INCH)
    path.write_bytes(encode(Decoded(smooth(24, 32), resolution=dense, icc=srgb_profile()), format=format))
    tags = ["-XMP-dc:Title=Zoë", "-EXIF:GPSLatitude=48.5", "-EXIF:GPSLatitudeRef=N", "-EXIF:Artist=Somebody"]
    tagged(path, *tags, *(["-IPTC:Keywords=über"] if format == "jp2" else []))
    out = tmp_path / f"b.{format}"
    out.write_bytes(encode(enlarged(read_image(path), 2), format=format))
    found = exiftool(out)
    assert found["XMP-dc:Title"] == "Zoë"
    assert found["GPS:GPSLatitude"] == 48.5
    assert found["IFD0:Artist"] == "Somebody"
    assert found["ICC_Profile:ProfileDescription"].startswith("sRGB")
    if format == "jp2":
        assert found["IPTC:Keywords"] == "über"
        assert [round(found[f"Jpeg2000:Capture{axis}Resolution"] * 0.0254) for axis in "XY"] == [600, 300]
    else:
        assert (found["IFD0:XResolution"], found["IFD0:YResolution"]) == (600, 300)


@needs_imagemagick
def test_imagemagick_reads_our_jpeg_2000(tmp_path):
    (tmp_path / "a.jp2").write_bytes(encode(Decoded(DEEP, alpha_of(DEEP)), format="jp2"))
    try:
        assert identify(tmp_path / "a.jp2", "%w %h %z %A") in (["64 48 16 True"], ["64 48 16 Blend"])
    except subprocess.CalledProcessError as error:
        if b"no decode delegate" in error.stderr:
            pytest.skip("this ImageMagick does not read JPEG 2000")
        raise


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pillows_jpeg_2000_is_read_in_and_out_of_its_box(mode):
    picture = Image.fromarray(np.dstack([smooth(20, 30), alpha_of(smooth(20, 30))])).convert(mode)
    for bare in (False, True):
        image = decode(saved(picture, "JPEG2000", no_jp2=bare), name="x")
        planes = [image.pixels] if image.alpha is None else [image.pixels, image.alpha]
        np.testing.assert_array_equal(np.dstack(planes).squeeze(), np.asarray(picture))


@pytest.mark.parametrize("format", MODERN)
def test_their_bombs_are_refused_on_the_header(format):
    data = encode(Decoded(smooth(48, 64)), format=format)
    with pytest.raises(InputError, match="megapixels"):
        decode(data, name="x", max_pixels=48 * 64 - 1)
    assert decode(data, name="x", max_pixels=48 * 64).size == (48, 64)


def test_avif_leaves_maker_notes_where_they_are():
    exif = Image.Exif()
    exif[271], exif[274] = "Maker", 1
    exif[34665] = {37500: b"maker note \0\1\2\3 bytes"}
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    again = decode(encode(Decoded(smooth(24, 32), exif=block), format="avif"), name="x")
    assert again.exif.index(b"maker note") == block.index(b"maker note")


def test_without_its_package_heic_is_refused_with_the_command_that_installs_it(tmp_path):
    path = tmp_path / "a.heic"
    path.write_bytes(encode(Decoded(smooth(24, 32)), format="heic"))
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from pathlib import Path; from adacode_cli.errors import AdaCodeError\n"
        "from adacode_cli.imaging.decode import decode; from adacode_cli.imaging.encode import encode\n"
        "from adacode_cli.imaging.image import Decoded; import numpy as np\n"
        "for work in (lambda: decode(Path(sys.argv[1]).read_bytes(), name='a'),"
        " lambda: encode(Decoded(np.zeros((2, 2), np.uint8)), format='heic')):\n"
        "    try: work()\n"
        "    except AdaCodeError as error: print(error.exit_code, error.message, error.hint)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    first, second = run.stdout.splitlines()
    assert (first[0], second[0]) == ("3", "6")
    assert "pip install 'adacode-cli[heic]'" in first
    assert "pip install 'adacode-cli[heic]'" in second


@pytest.mark.parametrize("bits", [8, 10])
def test_grey_heic_of_limited_range_fills_the_whole(bits):
    ramp = np.linspace(0, 1, 64)[None].repeat(48, 0)
    black, white = 16 << (bits - 8), 235 << (bits - 8)
    stored = np.rint(black + ramp * (white - black))
    samples = stored.astype(np.uint8) if bits == 8 else np.rint(stored / 1023 * 65535).astype(np.uint16)
    data = encode(Decoded(samples), format="heic", quality=100)
    at = data.index(b"colrnclx") + 14
    image = decode(data[:at] + b"\0" + data[at + 1 :], name="x")
    expected = ramp * np.iinfo(samples.dtype).max
    assert np.abs(image.pixels - expected).mean() / np.iinfo(samples.dtype).max < 0.01
    # What goes beyond that range is none of it.
    full = encode(Decoded(np.rint(ramp * 255).astype(np.uint8)), format="heic", quality=100)
    at = full.index(b"colrnclx") + 14
    image = decode(full[:at] + b"\0" + full[at + 1 :], name="x")
    assert np.abs(image.pixels - ramp * 255).mean() < 2


@pytest.mark.parametrize(
    ("format", "major", "others", "expected"),
    [
        ("heic", b"mif2", b"mif2mif1", "heic"),
        ("heic", b"mif1", b"mif1miaf", "heic"),
        ("heic", b"miaf", b"mif1heic", "heic"),
        ("avif", b"mif2", b"mif1avif", "avif"),
        ("avif", b"MA1B", b"miafavif", "avif"),
        ("heic", b"isom", b"mif1mp42", None),
        ("avif", b"crx ", b"isommif1", None),
    ],
)
def test_the_kind_of_a_media_file_stands_among_all_its_brands(format, major, others, expected):
    file = encode(Decoded(smooth(48, 64)), format=format)
    length = int.from_bytes(file[:4], "big")
    brands = (others + b"mif1" * 16)[: length - 16]
    data = file[:8] + major + file[12:16] + brands + file[length:]
    if expected is None:
        with pytest.raises(InputError):
            decode(data, name="x")
        return
    image = decode(data, name="x")
    assert image.format == expected
    np.testing.assert_array_equal(image.pixels, decode(file, name="x").pixels)
