"""AVIF of other writers (depths, ranges, alpha, turns, animations), compared with what libavif or libheif reads."""

import struct

import numpy as np
import pytest
from image_fixtures import saved, smooth
from other_programs import avifdec, avifenc, heif_convert, needs_libavif, needs_libheif

from adacode_cli.errors import InputError
from adacode_cli.imaging import av1_header, heif_boxes, png_codec
from adacode_cli.imaging.cicp import Cicp
from adacode_cli.imaging.decode import decode, read_image
from adacode_cli.imaging.iso_boxes import box

pytestmark = needs_libavif

H, W = 24, 32
COLOUR = smooth(H, W).astype(np.uint16) * 257
GREY = COLOUR[..., :1].repeat(3, 2)
ALPHA = np.linspace(20000, 65535, H).astype(np.uint16)[:, None, None].repeat(W, 1)


def png(path, samples):
    path.write_bytes(png_codec.encoded(samples))
    return path


def whole(image):
    """Samples with alpha as 16 bits, grey as RGB."""
    planes = image.pixels if image.pixels.ndim == 3 else image.pixels[..., None].repeat(3, 2)
    found = planes if image.alpha is None else np.dstack([planes, image.alpha])
    return found if found.dtype == np.uint16 else found.astype(np.uint16) * 257


def assert_as_libavif_reads_it(path, levels):
    """Within 1.5 of the `levels` that are stored; colour that was stored in fewer samples is enlarged in other ways."""
    image, reference = read_image(path), avifdec(path)
    found = whole(image)
    reference = reference if reference.ndim == 3 else reference[..., None].repeat(3, 2)
    assert found.shape == reference.shape
    assert np.abs(found.astype(int) - reference).mean() < 1.5 * 65535 / levels
    return image


@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("limits", ["limited", "full"])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_grey_fills_the_whole_range(tmp_path, bits, limits, clear):
    source = png(tmp_path / "a.png", np.dstack([GREY, ALPHA]) if clear else GREY)
    path = avifenc(tmp_path / "a.avif", source, "-d", bits, "-y", "400", "-r", limits)
    image = assert_as_libavif_reads_it(path, 2**bits)
    assert (image.pixels.ndim == 2) == (bits > 8 or not clear)
    assert np.abs(whole(image)[..., 0].astype(int) - GREY[..., 0]).max() < 3 * 65536 / 2**bits
    assert (image.alpha is not None) == clear


@pytest.mark.parametrize(
    ("bits", "sampling", "limits", "matrix"),
    [
        (8, "444", "limited", 6),
        (10, "420", "limited", 1),
        (10, "444", "full", 0),
        (10, "444", "limited", 9),
        (12, "422", "limited", 6),
        (12, "444", "full", 8),
        (12, "444", "limited", 1),
    ],
)
def test_colour_of_each_matrix_and_range(tmp_path, bits, sampling, limits, matrix):
    source = png(tmp_path / "a.png", np.dstack([COLOUR, ALPHA]))
    options = ("-d", bits, "-y", sampling, "-r", limits, "--cicp", f"1/13/{matrix}")
    assert_as_libavif_reads_it(avifenc(tmp_path / "a.avif", source, *options), 2**bits if sampling == "444" else 2**7)


@pytest.mark.parametrize("bits", [8, 10])
def test_premultiplied_colours_are_divided(tmp_path, bits):
    source = png(tmp_path / "a.png", np.dstack([COLOUR, ALPHA]))
    image = read_image(avifenc(tmp_path / "a.avif", source, "-d", bits, "-y", "444", "--premultiply"))
    assert np.abs(whole(image)[..., :3].astype(int) - COLOUR).mean() < 2 * 65536 / 2**bits


@needs_libheif
@pytest.mark.parametrize("turn", [(), ("--irot", 1)])
def test_the_part_that_is_to_be_seen_is_cut_out(tmp_path, turn):
    source = png(tmp_path / "a.png", np.dstack([COLOUR, ALPHA]))
    for bits in (8, 10):
        options = ("-d", bits, "-y", "444", "--crop", "6,4,20,10", *turn)
        image = read_image(avifenc(tmp_path / f"{bits}.avif", source, *options))
        expected = np.rot90(COLOUR[4:14, 6:26], len(turn) // 2)
        assert image.pixels.shape == expected.shape
        assert np.abs(whole(image)[..., :3].astype(int) - expected).mean() < 2 * 65536 / 2**bits
        assert image.alpha.shape == expected.shape[:2]
    reference = heif_convert(tmp_path / "8.avif")
    assert reference.shape == expected.shape
    assert np.abs(reference.astype(int) * 257 - expected).mean() < 800


@pytest.mark.parametrize(
    "clap",
    [
        (20, 1, 10, 1, 0, 1, 0, 0),
        (20, 0, 10, 1, 0, 1, 0, 1),
        (33, 1, 10, 1, 0, 1, 0, 1),
        (20, 1, 10, 1, -7, 1, 0, 1),
        (21, 1, 10, 1, 0, 1, 0, 1),
        (0, 1, 10, 1, 0, 1, 0, 1),
        (41, 2, 10, 1, 1, 4, 0, 1),
    ],
)
def test_of_an_impossible_part_all_is_kept(clap):
    found = [(b"clap", struct.pack(">IIIIiIiI", *clap))]
    assert heif_boxes.crop_of(found, 32, 24) == (slice(0, 24), slice(0, 32))
    assert heif_boxes.crop_of([(b"clap", b"1234")], 32, 24) == (slice(0, 24), slice(0, 32))
    assert heif_boxes.crop_of([(b"clap", struct.pack(">IIIIiIiI", 20, 1, 10, 1, 1, 1, -2, 1))], 32, 24) == (
        slice(5, 15),
        slice(7, 27),
    )


@needs_libheif
@pytest.mark.parametrize("turn", [("--irot", 1), ("--irot", 3), ("--imir", 0), ("--irot", 1, "--imir", 1)])
def test_the_containers_turns_are_applied(tmp_path, turn):
    source = png(tmp_path / "a.png", COLOUR)
    path = avifenc(tmp_path / "a.avif", source, "-d", 8, "-y", "444", *turn)
    found, reference = read_image(path).pixels, heif_convert(path)
    assert found.shape == reference.shape
    assert np.abs(found.astype(int) - reference).mean() < 1
    deep = read_image(avifenc(tmp_path / "b.avif", source, "-d", 10, "-y", "444", *turn))
    assert np.abs(deep.pixels / 257 - found).mean() < 2


@pytest.mark.parametrize("bits", [8, 10])
def test_the_first_image_of_an_animation_is_read(tmp_path, bits):
    first, second = png(tmp_path / "a.png", COLOUR), png(tmp_path / "b.png", COLOUR[::-1].copy())
    image = read_image(avifenc(tmp_path / "a.avif", first, second, "-d", bits, "-y", "444"))
    assert np.abs(whole(image)[..., :3].astype(int) - COLOUR).mean() < 2 * 65536 / 2**bits
    assert "1 of 2 frames" in image.lost


def test_an_animation_without_an_image_beside_it_is_refused(tmp_path):
    first, second = png(tmp_path / "a.png", COLOUR), png(tmp_path / "b.png", COLOUR[::-1].copy())
    data = avifenc(tmp_path / "a.avif", first, second, "-d", 10, "-y", "444").read_bytes()
    with pytest.raises(InputError, match="AVIF"):
        decode(data.replace(b"pitm", b"free", 1), name="x")


def test_a_damaged_list_of_properties_is_none(tmp_path):
    data = avifenc(tmp_path / "a.avif", png(tmp_path / "a.png", COLOUR), "-d", 10).read_bytes()
    assert heif_boxes.avif_bits(data, heif_boxes.properties(data)) == 10
    assert heif_boxes.properties(data.replace(b"ipma", b"free", 1)) == []
    many = data.replace(b"ipma\0\0\0\0\0\0\0\1", b"ipma\0\0\0\0\xff\xff\xff\xff", 1)
    assert many != data
    assert heif_boxes.properties(many) == []
    assert heif_boxes.properties(data[:200]) == []
    assert heif_boxes.avif_bits(data, []) == 10


def test_eight_bits_of_pillow_are_read_as_before():
    picture = smooth(H, W)
    image = decode(saved(picture, "AVIF", quality=100, subsampling="4:4:4"), name="x")
    assert image.pixels.dtype == np.uint8
    assert np.abs(image.pixels.astype(int) - picture).mean() < 2


@pytest.mark.parametrize("options", [(), ("-y", "400"), ("-c", "rav1e"), ("-g", "2x1"), ("animated",)])
def test_colours_that_only_the_codec_describes_are_found(tmp_path, options):
    large = np.tile(COLOUR, (3, 4, 1))
    source = png(tmp_path / "a.png", large)
    options = (source,) if options == ("animated",) else options
    data = avifenc(tmp_path / "a.avif", *options, "-d", 10, "--cicp", "9/16/9", source).read_bytes()
    bare = data.replace(b"colrnclx", b"freenclx")
    assert bare != data
    for file in (data, bare):
        image = decode(file, name="x")
        assert image.cicp == Cicp(9, 16)
        assert image.bits == 10
        assert image.size == large.shape[:2]


def test_a_header_that_breaks_off_says_nothing():
    whole = bytes.fromhex("12000a0938157fbd8c2440264030")
    assert av1_header.cicp_of(whole) == Cicp(9, 16)
    assert all(av1_header.cicp_of(whole[:end]) is None for end in range(11))
    assert all(av1_header.cicp_of(bytes([first]) * 64) is None for first in (0x00, 0x02, 0xFA, 0xFF))
    assert av1_header.cicp_of(b"\x0a\x80" + b"\x80" * 60) is None
    for places in (b"", b"\0" * 6, b"\1\0\0\0\x44\x40\xff\xff" + b"\0\2" * 40):
        meta = b"\0" * 4 + box(b"pitm", b"\0" * 4 + b"\0\1") + box(b"iloc", places)
        assert heif_boxes.beginning_of_primary(box(b"meta", meta)) == b""
    assert heif_boxes.beginning_of_primary(b"") == b""
