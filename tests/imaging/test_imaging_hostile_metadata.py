"""Metadata made to do harm are left out and named; the image beside them is read."""

import struct
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pytest
from image_fixtures import png_chunk, reopened, saved, smooth, srgb_profile
from PIL import UnidentifiedImageError

from adacode_cli.errors import InputError
from adacode_cli.imaging import exif, exif_editing, xmp_editing
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.decoder_pool import decoding
from adacode_cli.imaging.encode import encoded, losses
from adacode_cli.imaging.jpeg_segments import XMP_HEAD
from adacode_cli.imaging.metadata import Allowance, Metadata
from adacode_cli.limits import MAX_METADATA_BYTES, MIB

PICTURE = smooth(16, 24)
PACKET = xmp_editing.with_event(None, tool="a", parameters="b")


def png_with(kind, body, image=PICTURE):
    file = saved(image, "PNG")
    return file[:33] + png_chunk(kind, body) + file[33:]


def packed(size):
    return zlib.compress(b" " * size)


def in_digits(kind, block, packing=zlib.compress):
    """As ImageMagick writes it."""
    digits = block.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return packing(b"\n%s\n%8d\n%s\n" % (kind, len(block), lines.encode()))


@pytest.mark.parametrize(
    ("kind", "body", "lost"),
    [
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed(5 * MIB), "XMP of more than 4 MiB"),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b" " * 5 * MIB, "XMP of more than 4 MiB"),
        (b"iCCP", b"a\0\0" + packed(17 * MIB), "ICC profile of more than 16 MiB"),
        (b"iCCP", b"a\0\0nothing", "damaged ICC profile"),
        (b"zTXt", b"Raw profile type exif\0\0" + in_digits(b"exif", bytes(17 * MIB)), "EXIF of more than 16 MiB"),
        (b"zTXt", b"Raw profile type iptc\0\0" + packed(40 * MIB), "IPTC of more than 1 MiB"),
        (b"zTXt", b"Raw profile type iptc\0\0" + in_digits(b"iptc", bytes(MIB + 9)), "IPTC of more than 1 MiB"),
        (
            b"zTXt",
            b"Raw profile type APP1\0\0" + in_digits(b"APP1", XMP_HEAD + bytes(5 * MIB)),
            "XMP of more than 4 MiB",
        ),
        (b"zTXt", b"Raw profile type icc\0\0" + in_digits(b"icc", b"a" * 500)[:-5], "damaged ICC profile"),
        (b"zTXt", b"Raw profile type other\0\0" + in_digits(b"other", b"abc"), "texts (Raw profile type other)"),
        (b"iCCP", b"a\0\0" + zlib.compress(srgb_profile())[:-20], "damaged ICC profile"),
        (b"iCCP", b"a\0\0" + zlib.compress(srgb_profile())[:-1], "damaged ICC profile"),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(PACKET)[:-9], "damaged XMP"),
        (b"tEXt", b"Raw profile type iptc\0\niptc\n 2\nxy\n", "damaged IPTC"),
        (b"zTXt", b"Novel\0\0" + packed(40 * MIB), "texts (Novel)"),
        (b"eXIf", b"II", "damaged EXIF"),
    ],
)
def test_a_png_is_read_without_what_is_too_much(kind, body, lost):
    image = decode(png_with(kind, body), name="x")
    assert np.array_equal(image.pixels, PICTURE)
    assert losses(image, "png") == (lost,)
    assert image.metadata == Metadata()


@pytest.mark.parametrize(
    ("kind", "block", "name", "head"),
    [
        (b"icc", srgb_profile(), "icc", b""),
        (b"icm", srgb_profile(), "icc", b""),
        (b"APP1", PACKET, "xmp", XMP_HEAD),
        (b"xmp", PACKET, "xmp", b""),
        (b"APP1", exif_editing.with_tags(None, [exif_editing.software("a" * 3_000_000)]), "exif", b"Exif\0\0"),
        (b"exif", exif_editing.with_tags(None, [exif_editing.software("a" * 3_000_000)]), "exif", b"Exif\0\0"),
    ],
)
@pytest.mark.parametrize("chunk", [b"zTXt", b"tEXt"])
def test_what_a_png_has_in_hexadecimal_is_read(kind, block, name, head, chunk):
    text = in_digits(kind, head + block, *([bytes] if chunk == b"tEXt" else []))
    body = b"Raw profile type " + kind + (b"\0\0" if chunk == b"zTXt" else b"\0") + text
    image = decode(png_with(chunk, body), name="x")
    assert image.lost == ()
    assert (image.exif if name == "exif" else getattr(image.metadata, name)) == (
        exif.upright(block)[0] if name == "exif" else block
    )


def test_a_chunk_of_a_png_counts_for_more_than_its_text():
    profile = srgb_profile()
    file = png_with(b"zTXt", b"Raw profile type icc\0\0" + in_digits(b"icc", b"another"))
    file = file[:33] + png_chunk(b"iCCP", b"a\0\0" + zlib.compress(profile)) + file[33:]
    assert decode(file, name="x").icc == profile


def test_a_profile_that_pillow_would_refuse_is_kept():
    profile = srgb_profile() + np.random.default_rng(0).bytes(2 * MIB)
    assert decode(png_with(b"iCCP", b"a\0\0" + zlib.compress(profile)), name="x").icc == profile


def test_a_wrong_check_sum_is_damage():
    file = bytearray(png_with(b"tEXt", b"Comment\0abc"))
    file[file.index(b"abc")] ^= 1
    with pytest.raises(InputError, match="tEXt"):
        decode(bytes(file), name="x")


def jpeg_with(*segments):
    file = saved(PICTURE, "JPEG", quality=95)
    added = b"".join(b"\xff" + marker + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return file[:2] + added + file[2:]


def a_resolution_of_one_letter():
    """Pillow looks at the second letter of it when it opens a JPEG."""
    tags = struct.pack("<HHI2sHHHIHH", 282, 2, 2, b"5", 0, 296, 3, 1, 2, 0)
    return b"II*\0\x08\0\0\0\2\0" + tags + bytes(4)


def test_exif_for_which_pillow_refuses_a_jpeg_costs_its_exif_alone():
    file = jpeg_with((b"\xe1", b"Exif\0\0" + a_resolution_of_one_letter()))
    with pytest.raises(UnidentifiedImageError):
        reopened(file)
    image = decode(file, name="x")
    assert np.array_equal(image.pixels, decode(jpeg_with(), name="x").pixels)
    written, lost = encoded(image, format="jpeg")
    assert reopened(written).size == (24, 16)
    assert lost == ("EXIF",)


def test_blocks_of_a_jpeg_are_what_pillow_makes_of_them():
    block = exif_editing.with_tags(None, [exif_editing.software("a")])
    profile = srgb_profile()
    parts = [
        (b"\xe1", b"Exif\0\0" + block[:20]),
        (b"\xe1", b"Exif\0\0" + block[20:]),
        (b"\xe2", b"ICC_PROFILE\0\2\2" + profile[300:]),
        (b"\xe2", b"ICC_PROFILE\0\1\2" + profile[:300]),
        (b"\xe1", b"http://ns.adobe.com/xap/1.0/\0" + PACKET),
        (b"\xfe", b"hello"),
    ]
    file = jpeg_with(*parts)
    file = file[:2] + b"\xff\xff" + file[2:]  # filling in front of a marker
    image, by_pillow = decode(file, name="x"), reopened(file)
    assert b"Exif\0\0" + image.exif == by_pillow.info["exif"]
    assert image.icc == profile == by_pillow.info["icc_profile"]
    assert image.xmp == PACKET == by_pillow.info["xmp"]
    assert image.lost == ("its comment",)
    assert np.array_equal(image.pixels, np.asarray(by_pillow))


def test_half_a_profile_of_a_jpeg_is_lost():
    image = decode(jpeg_with((b"\xe2", b"ICC_PROFILE\0\1\2" + srgb_profile()[:300])), name="x")
    assert (image.icc, image.lost) == (None, ("damaged ICC profile",))


def test_pages_share_an_allowance():
    allowance = Allowance(limit=100)
    said, lost = allowance.granted(Metadata(exif=bytes(60), xmp=bytes(50)))
    assert (said.exif, said.xmp, len(lost)) == (bytes(60), None, 1)
    assert allowance.is_spent
    assert allowance.granted(Metadata(icc=b"a"))[0] == Metadata()


def test_every_block_has_a_limit():
    beyond = Metadata(**{name: bytes(limit + 1) for name, limit in MAX_METADATA_BYTES.items()})
    assert Allowance().granted(beyond)[0] == Metadata()
    assert len(Allowance().granted(beyond)[1]) == len(MAX_METADATA_BYTES) == 4


def with_thumbnail(start, length):
    """A block of one directory and a second one that says where its thumbnail lies."""
    first = struct.pack("<HHHIII", 1, exif.ORIENTATION, 3, 1, 6, 26)
    second = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, start, 514, 4, 1, length, 0)
    return b"II*\0\x08\0\0\0" + first + second + b"thumbnail"


def test_a_thumbnail_goes():
    block, turn = exif.upright(with_thumbnail(56, 9))
    assert turn == 6
    assert block.endswith(bytes(9))


@pytest.mark.parametrize(("start", "length"), [(8, 18), (1, 7), (0x10, 40), (2, 60), (25, 3)])
def test_a_thumbnail_over_the_first_directory_is_damage(start, length):
    with pytest.raises(exif.DamagedExif):
        exif.upright(with_thumbnail(start, length))
    image = decode(saved(PICTURE, "WEBP", exif=b"Exif\0\0" + with_thumbnail(start, length)), name="x")
    assert (image.exif, image.lost) == (None, ("damaged EXIF",))


def without_links(order, *, numerator, first=True):
    """Each directory lacks its link, and the value that lies there instead is one that is changed with the image."""
    exif_at, after = 8 + 2 + 24 + 8, 2 + 12
    link = b"" if first else bytes(4)
    exif_at += len(link)
    main = struct.pack(f"{order}HHHIIHHII", 2, 282, 5, 1, exif_at - 8, exif.EXIF_DIRECTORY, 4, 1, exif_at)
    inner = struct.pack(f"{order}HHHII", 1, 41486, 5, 1, exif_at + after)
    values = [struct.pack(f"{order}II", number, 1) for number in (numerator, 4000)]
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    return head + main + link + values[0] + inner + values[1]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("first", [True, False])
def test_exif_whose_directories_lack_their_links_is_kept(order, first):
    block = without_links(order, numerator=300, first=first)
    assert exif.upright(block) == (block, None)
    changed = exif_editing.resized(block, across=2, down=2, size=(32, 48))
    assert changed == block.replace(struct.pack(f"{order}II", 300, 1), struct.pack(f"{order}II", 600, 1)).replace(
        struct.pack(f"{order}II", 4000, 1), struct.pack(f"{order}II", 8000, 1)
    )
    image = decode(saved(PICTURE, "JPEG", exif=b"Exif\0\0" + block), name="x")
    assert (image.exif, image.lost) == (block, ())


def test_a_value_where_the_first_link_leads_into_the_block_is_damage():
    with pytest.raises(exif.DamagedExif):
        exif.upright(without_links("<", numerator=20))


def test_a_resolution_over_the_first_directory_is_damage():
    tags = struct.pack("<HHIIHHII", 282, 5, 1, 8, 283, 5, 1, 16)
    with pytest.raises(exif.DamagedExif):
        exif.upright(b"II*\0\x08\0\0\0\2\0" + tags + bytes(4))


def test_what_looks_like_an_attribute_inside_of_a_value_is_not_changed():
    packet = PACKET.replace(b"<rdf:Description", b"<rdf:Description xmlns:t='http://ns.adobe.com/tiff/1.0/' ")
    packet = packet.replace(b"tiff/1.0/' ", b"tiff/1.0/' a=' t:Orientation=\"6\"' t:Orientation='8' ")
    changed = xmp_editing.upright(packet, swaps_axes=False)
    assert changed == packet.replace(b"'8'", b"'1'")


def test_an_avif_is_read_without_exif_that_its_reader_refuses():
    block = exif_editing.with_tags(None, [exif_editing.software("a")])
    file = saved(PICTURE, "AVIF", exif=b"Exif\0\0" + block)
    assert file.count(block) == 1
    image = decode(file.replace(block[:8], b"XXXXXXXX"), name="x")
    assert (image.exif, image.lost) == (None, ("damaged EXIF",))
    assert image.size == (16, 24)


@pytest.mark.parametrize("format", ["TIFF", "PNG", "JPEG2000"])
def test_libraries_are_quiet_about_damage(format, capfd):
    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    files = [saved(deep, format)]
    files += [saved(PICTURE, format, compression="tiff_lzw")] if format == "TIFF" else []
    with decoding(isolated=False) as decoder:
        for file in files:
            for at in range(40, len(file) - 60, max(1, len(file) // 30)):
                with suppress(InputError):
                    decoder(file[:at] + b"\xff" * 20 + file[at + 20 :], name="x")
    assert capfd.readouterr() == ("", "")


def test_the_quiet_ends_with_the_run():
    with decoding(isolated=False):
        pass
    with pytest.warns(UserWarning, match="here"):
        warnings.warn("here", UserWarning, stacklevel=1)
