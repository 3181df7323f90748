"""Adobe RGB that only EXIF or a file's name tells of: a profile is attached, and the tags stay."""

from dataclasses import replace
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from image_fixtures import png_chunk, png_file, saved, smooth, srgb_profile
from nearest_image import enlarged
from other_programs import exiftool_of_all, needs_exiftool, tagged
from PIL import Image, ImageCms

from adacode_cli.imaging import exif as exif_blocks
from adacode_cli.imaging import icc_profile, tiff_codec
from adacode_cli.imaging.colours import ADOBE_RGB_NOTE
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encode, losses

PIXELS = smooth(48, 64)
NAME = "Compatible with Adobe RGB (1998)"
UNCALIBRATED = 65535


def exif_of(space=UNCALIBRATED, index="R03", endian="<"):
    exif = Image.Exif()
    exif.endian = endian
    exif[271] = "Maker"
    inner = {36867: "2021:03:04 05:06:07"}
    if space is not None:
        inner[40961] = space
    if index is not None:
        inner[40965] = {1: index, 2: b"0100"}
    exif[34665] = inner
    return exif.tobytes()


def written(tmp_path, source):
    """A file whose EXIF says Adobe RGB; Pillow does not write all of that into TIFF."""
    if source == "JPEG":
        return saved(PIXELS, source, exif=exif_of())
    path = tmp_path / "source.tif"
    path.write_bytes(saved(PIXELS, source))
    date = "-EXIF:DateTimeOriginal=2021:03:04 05:06:07"
    return tagged(
        path, "-EXIF:InteropIndex=R03", "-EXIF:InteropVersion=0100", "-EXIF:ColorSpace=65535", date
    ).read_bytes()


def is_adobe(image):
    return image.icc == icc_profile.adobe_rgb() and ADOBE_RGB_NOTE in image.notes


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_the_index_of_cameras_is_followed(source, endian):
    image = decode(saved(PIXELS, source, exif=exif_of(endian=endian)), name="x")
    assert is_adobe(image)
    assert is_adobe(decode(saved(PIXELS, source, exif=exif_of(2, None, endian)), name="x"))


@pytest.mark.parametrize(
    ("name", "space", "index", "expected"),
    [
        ("/photos/_DSC1234.JPG", UNCALIBRATED, None, True),
        ("_mg_0042.jpg", UNCALIBRATED, None, True),
        ("DSC_1234.JPG", UNCALIBRATED, None, False),
        ("_DSC1234.JPG", 1, None, False),
        ("_DSC1234.JPG", UNCALIBRATED, "R98", False),
        ("_DSC1234.JPG", None, None, False),
        ("_DSC1234-2.JPG", UNCALIBRATED, None, False),
        ("a.jpg", None, "R03", True),
        ("a.jpg", 1, "R03", False),
        ("a.jpg", UNCALIBRATED, "THM", False),
    ],
)
def test_names_and_tags_that_say_so_or_not(name, space, index, expected):
    image = decode(saved(PIXELS, "JPEG", exif=exif_of(space, index)), name=name)
    assert is_adobe(image) == expected
    assert (image.icc is not None) == expected


def test_a_description_in_the_file_itself_overrules_the_camera():
    image = decode(saved(PIXELS, "JPEG", exif=exif_of(), icc_profile=srgb_profile()), name="x")
    assert (image.icc, image.notes) == (srgb_profile(), ())
    block = exif_of().removeprefix(b"Exif\0\0")
    said = png_chunk(b"sRGB", b"\0") + png_chunk(b"eXIf", block)
    image = decode(png_file([bytes(12)], width=4, depth=8, color_type=2, extra=said), name="x")
    assert image.icc is None
    assert decode(saved(PIXELS, "AVIF", exif=block), name="x").icc is None


def test_inks_that_became_srgb_are_not_called_adobe_rgb():
    image = Image.fromarray(PIXELS).convert("CMYK")
    assert decode(saved(image, "JPEG", exif=exif_of()), name="x").icc is None
    assert decode(saved(image, "TIFF", exif=exif_of()), name="x").icc is None


def test_grey_gets_a_profile_of_grey():
    image = decode(saved(PIXELS[..., 0].copy(), "JPEG", exif=exif_of()), name="x")
    assert image.icc[16:20] == b"GRAY"


@needs_exiftool
@pytest.mark.parametrize(
    ("source", "formats"),
    [("JPEG", ("jpeg", "png", "webp", "tiff", "jp2", "avif", "heic")), ("TIFF", ("jpeg", "tiff"))],
)
def test_profile_and_tags_arrive_in_every_format(tmp_path, source, formats):
    image = enlarged(decode(written(tmp_path, source), name="x"), 2)
    paths = [tmp_path / f"a.{format}" for format in formats]
    for format, path in zip(formats, paths, strict=True):
        assert losses(image, format) == ()
        path.write_bytes(encode(image, format=format))
    for found in exiftool_of_all(paths):
        assert found["ICC_Profile:ProfileDescription"] == NAME
        assert found["InteropIFD:InteropIndex"] == "R03"
        assert found["InteropIFD:InteropVersion"] == "0100"
        assert found["ExifIFD:ColorSpace"] == UNCALIBRATED
        assert found["ExifIFD:DateTimeOriginal"] == "2021:03:04 05:06:07"


def test_a_tiff_of_offsets_of_eight_bytes_keeps_the_index(monkeypatch):
    image = decode(saved(PIXELS, "JPEG", exif=exif_of()), name="x")
    monkeypatch.setattr(tiff_codec, "_MAX_BYTES_WITHOUT_BIG", 0)
    data = encode(replace(image, more_pages=(replace(image, page=1),)), format="tiff")
    assert data[2] == 43
    for page in decode(data, name="x").pages:
        third = exif_blocks.sections(page.exif).interoperability
        assert [(entry.code, entry.data) for entry in third] == [(1, b"R03\0"), (2, b"0100")]


def test_a_pointer_into_nothing_costs_no_other_tag():
    block = bytearray(exif_of().removeprefix(b"Exif\0\0"))
    at = block.index(b"\x05\xa0\x04\0\1\0\0\0") + 8
    block[at : at + 4] = b"\xff\xff\xff\x7f"
    parts = exif_blocks.sections(bytes(block))
    assert parts.interoperability == ()
    assert {entry.code for entry in parts.exif} == {36867, 40961}
    assert decode(saved(PIXELS, "JPEG", exif=b"Exif\0\0" + bytes(block)), name="x").icc is None


def test_littlecms_sees_adobe_rgb_in_the_profile():
    profile = ImageCms.ImageCmsProfile(BytesIO(icc_profile.adobe_rgb()))
    reference = ImageCms.ImageCmsProfile(BytesIO(imagecodecs.cms_profile("adobergb")))
    image, lab = Image.fromarray(PIXELS), ImageCms.createProfile("LAB")
    ours, theirs = (
        np.asarray(ImageCms.profileToProfile(image, found, lab, 1, "LAB")).astype(np.int8).astype(int)
        for found in (profile, reference)
    )
    assert np.abs(ours - theirs).max() <= 1
