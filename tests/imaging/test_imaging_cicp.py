"""Colours in numbers (CICP) are carried where there is a place; elsewhere a profile says the same, or it is lost."""

import struct
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from image_fixtures import png_chunk, png_file, reopened, saved, smooth, srgb_profile
from nearest_image import enlarged
from other_programs import avifenc, converted, exiftool_of_all, needs_exiftool, needs_imagemagick, needs_libavif
from PIL import Image, ImageCms

from adacode_cli.imaging import icc_profile, png_codec
from adacode_cli.imaging.cicp import SRGB, Cicp
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.decoder_message import Blobs, packed, unpacked
from adacode_cli.imaging.encode import encode, losses
from adacode_cli.imaging.image import Decoded

DISPLAY_P3, BT2020, PQ, HLG = Cicp(12, 13), Cicp(9, 14), Cicp(9, 16), Cicp(9, 18)
HOLDING, BY_PROFILE = ("png", "avif", "heic"), ("jpeg", "webp", "tiff", "jp2")
PIXELS = smooth(48, 64)
D65 = [0.3127, 0.329, 1.0]
P3_PRIMARIES = [0.68, 0.32, 1.0, 0.265, 0.69, 1.0, 0.15, 0.06, 1.0]
BT2020_PRIMARIES = [0.708, 0.292, 1.0, 0.17, 0.797, 1.0, 0.131, 0.046, 1.0]
TOLD = {"png": "PNG-cICP", "avif": "QuickTime", "heic": "QuickTime"}


def png_saying(*numbers, extra=b"", color_type=2):
    """A PNG of 4×1 pixels with a cICP chunk, or with other chunks alone."""
    chunks = (png_chunk(b"cICP", bytes(numbers)) if numbers else b"") + extra
    rows = [bytes(range(4)) if color_type == 0 else bytes(range(12))]
    return png_file(rows, width=4, depth=8, color_type=color_type, extra=chunks)


def in_lab(pixel, profile):
    """L*, a*, b* of an RGB pixel by a profile, as LittleCMS says."""
    image = Image.fromarray(np.uint8([[pixel]]))
    lab = ImageCms.profileToProfile(
        image, ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("LAB"), 1, "LAB"
    )
    return np.asarray(lab)[0, 0].astype(np.int8).astype(float)


@needs_exiftool
def test_numbers_are_written_where_the_format_has_them(tmp_path):
    written = [(format, said) for format in HOLDING for said in (DISPLAY_P3, HLG, BT2020)]
    paths = [tmp_path / f"{said.transfer}.{format}" for format, said in written]
    for path, (format, said) in zip(paths, written, strict=True):
        image = Decoded(PIXELS, cicp=said)
        assert losses(image, format) == ()
        path.write_bytes(encode(image, format=format))
        assert decode(path.read_bytes(), name="x").cicp == said
    for (format, said), found in zip(written, exiftool_of_all(paths), strict=True):
        assert found[f"{TOLD[format]}:ColorPrimaries"] == said.primaries
        assert found[f"{TOLD[format]}:TransferCharacteristics"] == said.transfer


@pytest.mark.parametrize("format", HOLDING)
@pytest.mark.parametrize("pixels", [PIXELS[..., 0].copy(), PIXELS.astype(np.uint16) * 257], ids=["grey", "deep"])
def test_grey_and_deep_images_have_numbers_too(format, pixels):
    again = decode(encode(Decoded(pixels, cicp=PQ), format=format), name="x")
    assert again.cicp == PQ
    assert again.pixels.shape == pixels.shape


@needs_libavif
def test_what_libavif_wrote_goes_through_a_restoration(tmp_path):
    (tmp_path / "a.png").write_bytes(png_codec.encoded(PIXELS.astype(np.uint16) * 257))
    for numbers, expected in (("9/16/9", PQ), ("12/13/6", DISPLAY_P3), ("1/13/6", None), ("2/2/2", None)):
        path = avifenc(tmp_path / "a.avif", tmp_path / "a.png", "-d", 10, "--cicp", numbers)
        image = enlarged(decode(path.read_bytes(), name="x"), 2)
        assert image.cicp == expected
        assert decode(encode(image, format="png"), name="x").cicp == expected


@pytest.mark.parametrize("format", BY_PROFILE)
def test_a_profile_says_it_elsewhere(format):
    image = Decoded(PIXELS, cicp=DISPLAY_P3)
    assert losses(image, format) == ()
    again = decode(encode(image, format=format), name="x")
    assert again.cicp is None
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(again.icc))).strip() == "Display P3"
    red = in_lab((255, 0, 0), imagecodecs.cms_profile("rgb", whitepoint=D65, primaries=P3_PRIMARIES, gamma=2.2))
    np.testing.assert_allclose(in_lab((255, 0, 0), again.icc), red, atol=1)


@pytest.mark.parametrize("format", ["jpeg", "tiff", "jp2"])
def test_grey_gets_a_profile_of_grey(format):
    again = decode(encode(Decoded(PIXELS[..., 0].copy(), cicp=BT2020), format=format), name="x")
    assert again.pixels.ndim == 2
    assert again.icc[16:20] == b"GRAY"
    assert decode(encode(Decoded(PIXELS[..., 0].copy(), cicp=BT2020), format="webp"), name="x").icc[16:20] == b"RGB "


@pytest.mark.parametrize("said", [PQ, HLG], ids=str)
@pytest.mark.parametrize("format", [*BY_PROFILE, "bmp"])
def test_hdr_is_lost_with_a_word_where_it_has_no_place(format, said):
    assert losses(Decoded(PIXELS, cicp=said), format) == (f"HDR colour description ({said})",)
    image = Decoded(PIXELS, icc=srgb_profile(), cicp=said)
    assert f"HDR colour description ({said})" in losses(image, format)
    assert decode(encode(image, format=format), name="x").icc == (None if format == "bmp" else image.icc)


@pytest.mark.parametrize("said", [Cicp(12, 9), Cicp(200, 13), Cicp(12, 13, full_range=False)], ids=str)
def test_what_no_profile_says_is_lost_with_a_word(said):
    assert losses(Decoded(PIXELS, cicp=said), "jpeg") == (f"CICP colour description ({said})",)
    assert losses(Decoded(PIXELS, cicp=said), "png") == ()
    assert decode(encode(Decoded(PIXELS, cicp=said), format="png"), name="x").cicp == said


def test_hdr_keeps_its_numbers_and_its_profile_where_both_have_a_place():
    image = Decoded(PIXELS, icc=srgb_profile(), cicp=PQ)
    for format in HOLDING:
        again = decode(encode(image, format=format), name="x")
        assert (again.cicp, again.icc) == (PQ, None if format == "heic" else image.icc)


def test_in_png_numbers_overrule_a_profile_and_elsewhere_it_overrules_them():
    profile = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(srgb_profile()))
    image = decode(png_saying(12, 13, 0, 1, extra=profile), name="x")
    assert image.cicp == DISPLAY_P3
    assert b"D\0i\0s\0p\0l\0a\0y" in decode(encode(image, format="jpeg"), name="x").icc
    assert decode(encode(image, format="avif"), name="x").icc is None
    srgb = decode(encode(decode(png_saying(1, 13, 0, 1, extra=profile), name="x"), format="jpeg"), name="x").icc
    np.testing.assert_allclose(in_lab((10, 200, 90), srgb), in_lab((10, 200, 90), srgb_profile()), atol=1)
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(srgb))).strip() == "sRGB"
    both = encode(Decoded(PIXELS, icc=srgb_profile()), format="avif")
    both = both.replace(b"colrnclx\0\2\0\2", b"colrnclx\0\x0c\0\x0d")
    assert b"colrnclx\0\x0c" in both
    again = decode(both, name="x")
    assert (again.cicp, again.icc) == (None, srgb_profile())


@pytest.mark.parametrize("numbers", [(1, 13, 0, 1), (2, 2, 0, 1)])
def test_numbers_for_srgb_say_nothing(numbers):
    image = decode(png_saying(*numbers), name="x")
    assert (image.cicp, image.icc) == (None, None)
    assert losses(image, "jpeg") == ()


def test_numbers_go_from_process_to_process():
    image = Decoded(PIXELS, cicp=Cicp(9, 16, full_range=False))
    blobs = Blobs()
    form = packed(image, blobs)
    assert unpacked(form, [memoryview(bytearray(blob)) for blob in blobs]).cicp == image.cicp


def chromaticities(*values):
    return png_chunk(b"cHRM", struct.pack(">8I", *(round(value * 100000) for value in values)))


def gamma(value):
    return png_chunk(b"gAMA", struct.pack(">I", round(value * 100000)))


@pytest.mark.parametrize("exponent", [1.0, 1.8, 2.5])
def test_gamma_and_primaries_of_png_become_a_profile(exponent):
    primaries = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
    image = decode(png_saying(extra=gamma(1 / exponent) + chromaticities(*primaries)), name="x")
    assert image.lost == ()
    reference = imagecodecs.cms_profile("rgb", whitepoint=D65, primaries=P3_PRIMARIES, gamma=exponent)
    for pixel in ((255, 0, 0), (40, 200, 90), (128, 128, 128)):
        np.testing.assert_allclose(in_lab(pixel, image.icc), in_lab(pixel, reference), atol=1)
    grey = decode(png_saying(extra=gamma(1 / exponent), color_type=0), name="x")
    assert grey.icc[16:20] == b"GRAY"


def test_gamma_and_primaries_that_say_srgb_need_no_profile():
    for extra in (gamma(0.45455), gamma(0.45455) + chromaticities(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)):
        image = decode(png_saying(extra=extra), name="x")
        assert (image.icc, image.cicp, image.lost) == (None, None, ())
    assert decode(png_saying(1, 13, 0, 1, extra=gamma(1.0)), name="x").icc is None
    assert decode(png_saying(extra=png_chunk(b"sRGB", b"\0") + gamma(1.0)), name="x").icc is None


@pytest.mark.parametrize(
    "extra", [gamma(0.00001), chromaticities(*[0.3] * 8), chromaticities(0, 0, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)]
)
def test_gamma_and_primaries_that_make_no_sense_are_lost(extra):
    image = decode(png_saying(extra=extra), name="x")
    assert image.icc is None
    assert image.lost == ("gamma and primaries (invalid values)",)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("transfer", [4, 8, 1, 13])
def test_our_profiles_are_those_of_littlecms(grey, transfer):
    made = Cicp(12, transfer).profile(grey=grey)
    steps = np.linspace(0, 1, 1024)
    light = {
        1: np.where(steps < 0.0812429, steps / 4.5, ((steps + 0.0992968) / 1.0992968) ** (1 / 0.45)),
        4: steps**2.2,
        8: steps,
        13: np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4),
    }[transfer]
    kind, ends = ("gray", {}) if grey else ("rgb", {"primaries": P3_PRIMARIES})
    curve = np.rint(light * 65535).astype(np.uint16)
    reference = imagecodecs.cms_profile(kind, whitepoint=D65, transferfunction=curve, **ends)
    wide = imagecodecs.cms_profile("rgb", whitepoint=D65, primaries=BT2020_PRIMARIES, gamma=1.0)
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 65536, (16, 16) if grey else (16, 16, 3)).astype(np.uint16)
    ours, theirs = (
        imagecodecs.cms_transform(
            samples, profile, wide, colorspace=kind, outcolorspace="rgb", outdtype="uint16"
        ).astype(int)
        for profile in (made, reference)
    )
    assert theirs.max() > 20000
    assert np.abs(ours - theirs).max() <= 8


@needs_exiftool
def test_other_programs_have_nothing_against_our_profiles(tmp_path):
    paths = [tmp_path / "rgb.icc", tmp_path / "grey.icc"]
    for path, grey in zip(paths, (False, True), strict=True):
        path.write_bytes(icc_profile.adobe_rgb(grey=grey))
    for found, grey in zip(exiftool_of_all(paths), (False, True), strict=True):
        assert found["ICC_Profile:ProfileDescription"] == "Compatible with Adobe RGB (1998)"
        assert "ExifTool:Warning" not in found
        assert found["ICC-header:ColorSpaceData"].strip() == ("GRAY" if grey else "RGB")
    assert reopened(saved(PIXELS, "JPEG", icc_profile=icc_profile.adobe_rgb())).info["icc_profile"]


def test_srgb_is_what_is_assumed():
    assert SRGB.is_srgb
    assert not Cicp(1, 13, full_range=False).is_srgb
    assert not any(said.is_srgb for said in (DISPLAY_P3, PQ, Cicp(1, 1), Cicp(2, 16)))
    assert [str(said) for said in (Cicp(2, 16), Cicp(99, 98))] == [
        "unspecified primaries, PQ",
        "primaries 99, transfer 98",
    ]


@needs_imagemagick
def test_the_profile_of_a_bmp_of_imagemagick_is_read(tmp_path):
    (tmp_path / "a.png").write_bytes(saved(PIXELS, "PNG"))
    (tmp_path / "a.icc").write_bytes(icc_profile.adobe_rgb())
    converted(tmp_path / "a.png", "-profile", tmp_path / "a.icc", tmp_path / "a.bmp")
    data = (tmp_path / "a.bmp").read_bytes()
    image = decode(data, name="x")
    assert image.icc == icc_profile.adobe_rgb()
    assert losses(image, "bmp") == ("ICC profile",)
    np.testing.assert_array_equal(image.pixels, PIXELS)
    assert decode(data[:-100], name="x").icc is None


@pytest.mark.parametrize("format", ["avif", "heic"])
def test_light_levels_of_hdr_are_lost_with_a_word(format):
    data = encode(Decoded(PIXELS, cicp=PQ), format=format)
    assert decode(data, name="x").lost == ()
    # What a reader does not know in the list of properties it passes by.
    assert decode(data.replace(b"pixi", b"mdcv", 1), name="x").lost == ("its HDR light levels",)
    levels = png_chunk(b"cLLI", struct.pack(">2I", 10_000_000, 4_000_000))
    assert decode(png_saying(9, 16, 0, 1, extra=levels), name="x").lost == ("its HDR light levels",)
