"""Damaged files are refused, with a hint; who accepts them gets what is whole, with a note of what is not."""

import re
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from image_fixtures import noise, png_chunk, png_file, reopened, saved, smooth

from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import decode, read_image
from adacode_cli.imaging.decoder_pool import decoding
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded
from adacode_cli.imaging.resolution import INCH, Resolution

PICTURE = noise((40, 33, 3), np.uint8)
DEEP = noise((40, 33, 3), np.uint16)
PNGS = {
    "rgb": (saved(PICTURE, "PNG"), PICTURE),
    "grey": (saved(np.ascontiguousarray(PICTURE[..., 0]), "PNG"), PICTURE[..., 0]),
    "alpha": (saved(np.dstack([PICTURE, PICTURE[..., :1]]), "PNG"), PICTURE),
    "deep": (encode(Decoded(DEEP), format="png"), DEEP),
    "deep grey": (encode(Decoded(DEEP[..., 0].copy()), format="png"), DEEP[..., 0]),
    "one bit": (
        png_file([bytes([0b10110010]) * 5] * 40, width=40, depth=1, color_type=0),
        np.tile(np.array([1, 0, 1, 1, 0, 0, 1, 0], np.uint8) * 255, (40, 5)),
    ),
}


def refused(data, **options):
    with pytest.raises(InputError) as caught:
        decode(data, name="x", **options)
    assert caught.value.damage
    return caught.value


def with_wrong_sum(png, kind=b"IDAT"):
    """The file with another checksum of the first chunk of a kind."""
    at = png.index(kind)
    end = at + 4 + struct.unpack_from(">I", png, at - 4)[0]
    return png[:end] + bytes([png[end] ^ 1]) + png[end + 1 :]


@pytest.mark.parametrize("kind", PNGS)
def test_a_wrong_check_sum_of_the_pixels_is_damage_in_every_depth(kind):
    file, pixels = PNGS[kind]
    np.testing.assert_array_equal(decode(file, name="x").pixels, pixels)
    error = refused(with_wrong_sum(file))
    assert "checksum of its chunk IDAT is wrong" in error.message
    assert "--accept-damaged" in error.hint
    image = decode(with_wrong_sum(file), name="x", accept_damaged=True)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.notes == (
        "is damaged (the checksum of its chunk IDAT is wrong): all of its rows were read, but some may be wrong",
    )


@pytest.mark.parametrize("kind", PNGS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_rows_of_a_png_in_front_of_its_end_are_read(kind, share):
    file, pixels = PNGS[kind]
    start = file.index(b"IDAT") + 4
    cut = file[: start + int((len(file) - start - 16) * share)]
    assert "truncated" in refused(cut).message
    image = decode(cut, name="x", accept_damaged=True)
    found = re.search(r": (\d+|all) of", image.notes[0])[1]
    whole = 40 if found == "all" else int(found)
    assert 0 < whole <= 40
    np.testing.assert_array_equal(image.pixels[:whole], pixels[:whole])
    assert not image.pixels[whole:].any()
    assert ("the missing part is black" in image.notes[0]) == (whole < 40)
    assert image.pixels.dtype == pixels.dtype


def test_an_interlaced_png_is_read_as_far_as_it_goes():
    grey = np.kron(noise((5, 5), np.uint8), np.ones((8, 8), np.uint8))
    rows = []
    for left, top, across, down in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)):
        rows += [b"\0" + row.tobytes() for row in grey[top::down, left::across]]
    header = struct.pack(">IIBBBBB", 40, 40, 8, 0, 0, 0, 1)
    body = png_chunk(b"IDAT", zlib.compress(b"".join(rows)))  # without its last pass, of every second row
    file = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + body + png_chunk(b"IEND", b"")
    refused(file)
    image = decode(file, name="x", accept_damaged=True)
    np.testing.assert_array_equal(image.pixels[::2], grey[::2])
    assert not image.pixels[1::2].any()
    assert "% of it were read" in image.notes[0]


def test_a_png_whose_stream_is_broken_in_the_middle_keeps_what_is_in_front():
    rows = b"".join(b"\0" + row.tobytes() for row in PICTURE)
    stream = zlib.compress(rows)
    broken = stream[: len(stream) // 2] + bytes(200) + stream[len(stream) // 2 + 200 :]
    file = PNGS["rgb"][0]
    at = file.index(b"IDAT") - 4
    image = decode(file[:at] + png_chunk(b"IDAT", broken) + png_chunk(b"IEND", b""), name="x", accept_damaged=True)
    np.testing.assert_array_equal(image.pixels[:10], PICTURE[:10])


def test_what_a_damaged_png_says_is_kept():
    dense = Resolution(300, 150, INCH)
    file = encode(Decoded(PICTURE, resolution=dense, xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"), format="png")
    image = decode(with_wrong_sum(file), name="x", accept_damaged=True)
    assert image.xmp == b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    assert round(image.resolution.across) == 118  # by centimetre


@pytest.mark.parametrize("progressive", [False, True])
def test_what_is_there_of_a_cut_jpeg_is_read(progressive):
    full = np.kron(noise((20, 15, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    file = saved(full, "JPEG", progressive=progressive, quality=90)
    cut = file[: len(file) // 2]
    assert "--accept-damaged" in refused(cut).hint
    image = decode(cut, name="x", accept_damaged=True)
    assert image.size == (160, 120)
    assert image.notes == ("is truncated: the missing part is grey or coarse",)
    whole = np.asarray(reopened(file))
    if progressive:
        assert np.abs(image.pixels.astype(int) - whole).mean() < 45 < np.abs(128 - whole.astype(int)).mean()
    else:
        np.testing.assert_array_equal(image.pixels[:56], whole[:56])
        np.testing.assert_array_equal(image.pixels[-8:], 128)


def test_a_cut_jpeg_of_twelve_bits_is_read():
    file = imagecodecs.jpeg8_encode(noise((40, 56, 3), np.uint16) >> 4, bitspersample=12)
    refused(file[: len(file) // 2])
    image = decode(file[: len(file) // 2], name="x", accept_damaged=True)
    np.testing.assert_array_equal(image.pixels[:8], decode(file, name="x").pixels[:8])


def test_a_cut_bmp_is_read():
    file = saved(PICTURE, "BMP")
    refused(file[:2000])
    image = decode(file[:2000], name="x", accept_damaged=True)
    np.testing.assert_array_equal(image.pixels[-18:], PICTURE[-18:])  # it is stored from the bottom
    assert image.notes == ("is truncated: 48 % of it were read, the missing part is black",)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP"])
def test_of_which_nothing_is_left_is_refused(format):
    file = saved(PICTURE, format)
    for end in (12, 30, file.find(b"IDAT") + 6 if format == "PNG" else 54):
        refused(file[:end], accept_damaged=True)


def test_a_damaged_image_of_one_colour_is_refused_with_the_reason():
    """Nothing tells it from an image of which all is missing."""
    error = refused(with_wrong_sum(saved(np.full((40, 33), 255, np.uint8), "PNG")), accept_damaged=True)
    assert "checksum of its chunk IDAT is wrong" in error.message
    assert "single colour" in error.hint
    # Where nothing at all can be read, that is not the reason.
    assert "single colour" not in refused(saved(PICTURE, "PNG")[:12], accept_damaged=True).hint


@pytest.mark.parametrize("format", ["TIFF", "WEBP", "JPEG2000"])
def test_other_formats_are_refused_without_naming_the_option(format):
    file = saved(smooth(40, 33), format)
    assert "--accept-damaged" not in refused(file[: len(file) // 2]).hint
    refused(file[: len(file) // 2], accept_damaged=True)


def test_limits_hold_for_damaged_files_too():
    file = with_wrong_sum(PNGS["rgb"][0])
    with pytest.raises(InputError, match="megapixels"):
        decode(file, name="x", max_pixels=40 * 33 - 1, accept_damaged=True)
    # A stream that unpacks to more than the image takes is not unpacked further.
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 33, 40, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(range(5)) * 1_000_000))
    image = decode(with_wrong_sum(bomb), name="x", accept_damaged=True)
    assert image.size == (40, 33)


def test_whole_files_are_read_as_ever(tmp_path):
    for format in ("JPEG", "PNG", "BMP", "TIFF", "WEBP"):
        file = saved(PICTURE, format)
        plain, accepting = decode(file, name="x"), decode(file, name="x", accept_damaged=True)
        np.testing.assert_array_equal(plain.pixels, accepting.pixels)
        assert plain.notes == accepting.notes == ()
    (tmp_path / "a.png").write_bytes(with_wrong_sum(PNGS["rgb"][0]))
    assert read_image(tmp_path / "a.png", accept_damaged=True).notes


def test_a_process_of_its_own_is_told_and_writes_nothing_to_the_terminal(capfd):
    file = with_wrong_sum(PNGS["deep"][0])
    with decoding(isolated=True) as decoder:
        with pytest.raises(InputError, match="checksum") as caught:
            decoder(file, name="x")
        assert caught.value.damage
        image = decoder(file, name="x", accept_damaged=True)
        for at in range(60, len(file), 900):
            with pytest.raises(InputError):
                decoder(file[:at] + b"\xff" * 20 + file[at + 20 :], name="x")
    np.testing.assert_array_equal(image.pixels, DEEP)
    assert "checksum" in image.notes[0]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("at", "value"), [(19, 41), (23, 33), (24, 16), (25, 6)])
def test_a_png_with_a_damaged_header_is_refused_all_the_same(at, value):
    file = PNGS["rgb"][0]
    damaged = file[:at] + bytes([value]) + file[at + 1 :]
    assert refused(damaged, accept_damaged=True).hint


def test_what_has_next_to_nothing_left_is_refused_all_the_same():
    jpeg, bmp = saved(PICTURE, "JPEG"), saved(PICTURE, "BMP")
    start = jpeg.index(b"\xff\xda")
    header_end = start + 2 + struct.unpack_from(">H", jpeg, start + 2)[0]
    for left in (jpeg[:header_end], jpeg[: header_end + 20], bmp[:60]):
        refused(left, accept_damaged=True)


def bmp_with_masks(bits, masks, pixels):
    head = struct.pack("<IiiHHIIiiII", 56, 2, 1, 1, bits, 3, len(pixels), 0, 0, 0, 0) + struct.pack("<4I", *masks)
    return b"BM" + struct.pack("<IHHI", 70 + len(pixels), 0, 0, 70) + head + pixels


def test_layouts_of_bmp_that_are_not_read_are_not_called_damaged():
    with_alpha = bmp_with_masks(16, (0x7C00, 0x3E0, 0x1F, 0x8000), struct.pack("<2H", 0xFC00, 0x7FFF))
    image = decode(with_alpha, name="x")
    assert image.pixels.tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert (image.alpha, image.lost) == (None, ("alpha (its layout is not supported)",))
    with pytest.raises(InputError, match="not supported: it is a BMP of another bitfields layout") as caught:
        decode(bmp_with_masks(16, (0xF00, 0xF0, 0xF, 0xF000), bytes(4)), name="x", accept_damaged=True)
    assert not caught.value.damage
