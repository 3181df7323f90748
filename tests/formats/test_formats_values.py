"""Each row of `formats` says what its codec does: images are written and read for what it claims."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image, ImageCms

from adacode_cli import formats
from adacode_cli.errors import InputError
from adacode_cli.imaging.codec import codec_of
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encode, losses
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.resolution import INCH, Resolution

ROWS = pytest.mark.parametrize("format", formats.every(), ids=lambda format: format.name)
Y, X = np.mgrid[0:40, 0:48]
RGB = np.stack([X * 5, Y * 6, (X + Y) * 2], 2).astype(np.uint8)
GREY = RGB[..., 0].copy()
ALPHA = (Y * 6).astype(np.uint8)
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'/></x:xmpmeta>"


def deep(samples):
    return samples.astype(np.uint16) * 257


def again(image, format):
    return decode(encode(image, format=format.name, quality=100), name="x")


def exif():
    block = Image.Exif()
    block[0x013B] = "somebody"
    return block.tobytes()[6:]


@ROWS
def test_depths_and_samples_are_as_the_row_says(format):
    for samples in (RGB, deep(RGB), RGB.astype(np.float32) / 255):
        name = str(samples.dtype)
        back = again(Decoded(samples), format)
        assert str(back.pixels.dtype) == (name if name in format.depths else format.depths[0])
        is_deep = back.pixels.dtype == np.uint16
        assert back.bits == (format.deep_bits if is_deep and format.deep_bits < 16 else None)
        assert any("depth" in what for what in losses(Decoded(samples), format.name)) == (
            name not in format.depths or (name == "uint16" and format.deep_bits < 16)
        )
        if not format.lossy and name in format.depths:
            assert np.array_equal(back.pixels, samples)
    assert format.depths[-1] == "uint8"
    noise = np.random.default_rng(0).integers(0, 256, RGB.shape, np.uint8)
    files = {quality: encode(Decoded(noise), format=format.name, quality=quality) for quality in (30, 90)}
    assert (files[30] != files[90]) == format.lossy


@ROWS
def test_grey_alpha_and_pages_are_as_the_row_says(format):
    assert again(Decoded(GREY), format).colors == (1 if format.grey else 3)
    is_deep = "uint16" in format.depths
    grey, alpha = (deep(GREY), deep(ALPHA)) if is_deep else (GREY, ALPHA)
    back = again(Decoded(grey, alpha), format)
    assert back.colors == (1 if format.grey and format.grey_alpha else 3)
    assert (back.alpha is not None) == format.alpha
    pages = Decoded(RGB, more_pages=(Decoded(RGB[::-1].copy(), page=1),))
    assert len(again(pages, format).pages) == (2 if format.pages else 1)
    assert any("page" in what for what in losses(pages, format.name)) != format.pages


@ROWS
def test_metadata_are_as_the_row_says(format):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    blocks = {"icc": profile, "exif": exif(), "xmp": XMP, "iptc": b"\x1c\x02\x05\x00\x05title"}
    back = again(Decoded(RGB, **blocks, resolution=Resolution(Fraction(300), Fraction(150), INCH)), format)
    kept = {name for name in blocks if getattr(back, name) is not None}
    assert kept == format.metadata - {"resolution"}
    assert (back.resolution is not None) == ("resolution" in format.metadata)
    plain = again(Decoded(RGB, resolution=Resolution(Fraction(300), Fraction(150), INCH)), format)
    assert (plain.exif is not None) == format.resolution_in_exif


@ROWS
def test_a_file_begins_as_the_row_says(format):
    data = encode(Decoded(RGB), format=format.name)
    assert formats.of_bytes(data) is format
    assert formats.of_bytes(data[:64]) is format
    assert bool(format.signatures) != bool(format.brands)
    for signature in format.signatures:
        end = max(at + len(piece) for at, piece in signature)
        start = bytearray(end)
        for at, piece in signature:
            start[at : at + len(piece)] = piece
        assert formats.of_bytes(bytes(start)) is format
        assert formats.of_bytes(bytes(start[:-1])) is None


@ROWS
def test_a_part_of_a_damaged_file_is_read_where_the_row_says_so(format):
    data = encode(Decoded(RGB), format=format.name)
    cut = data[: len(data) * 2 // 3]
    assert (codec_of(format).complete is not None) == format.salvageable
    if format.salvageable:
        assert decode(cut, name="x", accept_damaged=True).size == (40, 48)
    else:
        with pytest.raises(InputError) as caught:
            decode(cut, name="x", accept_damaged=True)
        assert "--accept-damaged" not in caught.value.hint


def test_names_and_suffixes_lead_to_one_format():
    every = formats.every()
    suffixes = [suffix for format in formats.known() for suffix in (*format.suffixes, *format.input_suffixes)]
    assert len(set(suffixes)) == len(suffixes)
    assert formats.input_suffixes() == frozenset(suffixes)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes)
    for format in every:
        assert formats.find(format.name.upper()) is format
        assert all(formats.find(suffix) is formats.find(suffix[1:]) is format for suffix in format.suffixes)
        assert all(formats.of_suffix(suffix) is None for suffix in format.input_suffixes)
        assert all(formats.of_any_suffix(suffix.upper()) is format for suffix in format.input_suffixes)
    for format in formats.read_only():
        assert (format.suffixes, formats.named(format.name)) == ((), format)
        assert formats.find(format.name) is None
        assert all(formats.of_suffix(suffix) is None for suffix in format.input_suffixes)
        assert {formats.of_any_suffix(suffix).name for suffix in format.input_suffixes} == {format.of_outputs}
    assert formats.find("gif") is None
    assert formats.of_any_suffix(".gif") is None
    assert formats.of_bytes(b"") is None


def test_sizes_and_sentences():
    webp, bmp, png = (formats.named(name) for name in ("webp", "bmp", "png"))
    assert webp.fits((16383, 1), 3)
    assert not webp.fits((1, 16384), 1)
    assert bmp.fits((65000, 65000), 1)
    assert not bmp.fits((65000, 65000), 3)
    assert [format.is_limited for format in (webp, bmp, png)] == [True, True, False]
    assert not any(format.is_limited for format in formats.every() if format.replaces_others)
    assert formats.listed([webp]) == "WebP"
    assert formats.listed([webp, bmp], word="or", by_name=True) == "webp or bmp"
    assert formats.readable() == "JPEG, PNG, WebP, TIFF, BMP, JPEG 2000, AVIF, HEIC, JPEG XL and camera raw are read."
    assert formats.large() == "png or tiff"
