"""Metadata made to do harm cost time in proportion to their size: eight times as many, about eight times as long.

What is quadratic takes sixty-four times as long. Processor time of this process is compared, of the fastest of a few
runs, so that a machine that is busy with other work does not matter.
"""

import struct
import time
import warnings
import zlib
from fractions import Fraction
from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image

from adacode_cli import formats
from adacode_cli.errors import InputError
from adacode_cli.imaging import exif, exif_editing, inventory, jpeg_segments, xmp_editing
from adacode_cli.imaging.decode import decode
from adacode_cli.imaging.encode import encoded
from adacode_cli.imaging.exif import DamagedExif
from adacode_cli.imaging.jp2_boxes import SIGNATURE
from adacode_cli.imaging.png_chunks import chunk
from adacode_cli.imaging.provenance import HistoryEntry, attributed
from adacode_cli.imaging.xmp_editing import DamagedXmp

TIMES = 8
MAX_TIMES = 3 * TIMES
NO_LESS_S = 0.01  # what is faster says nothing of how it grows

HEAD = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
NAMES = b' xmlns:t="http://ns.adobe.com/tiff/1.0/" xmlns:m="http://ns.adobe.com/xap/1.0/mm/"'
TAIL = b"</rdf:RDF></x:xmpmeta>"
BLANKS = b" " * 16


def described(content, attributes=b""):
    return HEAD + b"<rdf:Description" + NAMES + attributes + b">" + content + b"</rdf:Description>" + TAIL


PACKETS = {
    "blanks behind it": lambda n: described(b"") + BLANKS * n,
    "blanks between two trailers": lambda n: described(b"") + (BLANKS + b"<?xpacket en") * n,
    "text between elements": lambda n: described(b"text<a/>" * n),
    "text in a property": lambda n: described(b"<t:Orientation>" + b"1<!-- -->&#32;" * n + b"</t:Orientation>"),
    "properties": lambda n: described(b"<t:Orientation>1</t:Orientation>" * min(n, 9000)),
    "descriptions": lambda n: HEAD + (b"<rdf:Description" + NAMES + b" t:Orientation='3'/>") * min(n, 9000) + TAIL,
    "attributes": lambda n: described(b"", b"".join(b" a%d=' t:Orientation = '" % i for i in range(n))),
    "one long tag": lambda n: described(b"", b" a='" + b'" ' * 8 * n + b"'"),
    "namespaces": lambda n: described(b"".join(b"<a xmlns:b%d='c'/>" % i for i in range(n))),
    "a long namespace": lambda n: described(b"<b xmlns='" + BLANKS * n + b"'>" + b"<c/>" * 4 * n + b"</b>"),
    "a long namespace of attributes": lambda n: described(
        b"<b xmlns:d='" + BLANKS * n + b"'>" + b"<c d:e=''/>" * 2 * n + b"</b>"
    ),
    "a long resolution": lambda n: described(
        b"<t:XResolution>" + BLANKS * n + b"1</t:XResolution><t:YResolution>2</t:YResolution>" * 2
    ),
    "events": lambda n: described(b"<m:History><rdf:Seq>" + b"<rdf:li>a</rdf:li>" * n + b"</rdf:Seq></m:History>"),
    "open tags": lambda n: HEAD + b"<a " * n,
    "quotes that stay open": lambda n: described(b"<a b='\">" * n),
}


def picture(format, **options):
    buffer = BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(buffer, format, **options)
    return buffer.getvalue()


def segments(marker, body, count):
    file = picture("JPEG")
    return file[:2] + (b"\xff" + marker + struct.pack(">H", len(body) + 2) + body) * count + file[2:]


def png_with(chunks):
    file = picture("PNG")
    return file[:33] + chunks + file[33:]


def exif_block(count, *, length=8):
    """`count` values that all lie in the same place."""
    entries = b"".join(struct.pack("<HHII", i, 7, length, 8) for i in range(count))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4)


def webp_with(kind, body):
    file = picture("WEBP", exif=b"Exif\0\0" + exif_block(1))
    head, rest = file[:30], file[30:].partition(b"EXIF")[0]
    body += bytes(len(body) % 2)
    content = head[8:] + rest + kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(content)) + content


def tiff_with(code, dtype, body):
    buffer = BytesIO()
    extra = [(code, dtype, len(body), body, True)]
    tifffile.imwrite(buffer, np.zeros((16, 16, 3), np.uint8), photometric="rgb", metadata=None, extratags=extra)
    return buffer.getvalue()


def jp2_with(boxes):
    file = picture("JPEG2000")
    assert file.startswith(SIGNATURE)
    return file[: len(SIGNATURE)] + boxes + file[len(SIGNATURE) :]


def text_chunk(number):
    return chunk(b"tEXt", b"Comment%d\0x" % number)


FILES = {
    "EXIF segments of a JPEG": lambda n: segments(b"\xe1", b"Exif\0\0" + b"II*\0", n),
    "XMP segments of a JPEG": lambda n: segments(b"\xe1", b"http://ns.adobe.com/xap/1.0/\0" + HEAD, n),
    "ICC segments of a JPEG": lambda n: segments(b"\xe2", b"ICC_PROFILE\0\1\1abc", n),
    "image resources of a JPEG": lambda n: segments(b"\xed", b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 9, n),
    "comments of a JPEG": lambda n: segments(b"\xfe", b"hello", n),
    "filling of a JPEG": lambda n: b"\xff\xd8" + b"\xff\0 \xff\xff" * 4 * n + picture("JPEG")[2:],
    "texts of a PNG": lambda n: png_with(b"".join(map(text_chunk, range(n)))),
    "unknown chunks of a PNG": lambda n: png_with(chunk(b"abCd", b"") * n),
    "packed texts of a PNG": lambda n: png_with(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(40 * n)))),
    "digits in a PNG": lambda n: png_with(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\n" * 40 * n))),
    "EXIF prefixes in a PNG": lambda n: png_with(chunk(b"eXIf", b"Exif\0\0" * n + exif_block(1))),
    "profiles of a PNG": lambda n: png_with(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(40))) * n),
    "EXIF of a WebP": lambda n: webp_with(b"EXIF", exif_block(min(n, 4000), length=n)),
    "IPTC of a TIFF": lambda n: tiff_with(33723, 7, b"\x1c\2\0\0\0" * n),
    "boxes of a JPEG 2000": lambda n: jp2_with(b"\0\0\0\x08free" * n),
    "boxes of an AVIF": lambda n: picture("AVIF") + b"\0\0\0\x08abcd" * n,
    "segments of a JPEG": lambda n: segments(b"\xe5", b"abc", n),
    "bytes behind a JPEG": lambda n: picture("JPEG") + b"\0 \xff" * 20 * n + b"ftyp" * n,
}


def edited(packet):
    """All that is done to an XMP packet between reading and writing."""
    try:
        packet = xmp_editing.upright(packet, swaps_axes=True)
        packet = xmp_editing.resized(packet, across=Fraction(2), down=Fraction(2), size=(2, 2))
        packet = xmp_editing.with_event(packet, tool="a", parameters="b")
    except DamagedXmp:
        pass
    xmp_editing.compacted(packet)


def restored(file):
    """All that is done to the metadata of a file, and to its few pixels."""
    try:
        image = decode(file, name="x")
    except InputError:
        return
    image = image.restored(np.repeat(np.repeat(image.pixels, 2, 0), 2, 1), None, ())
    encoded(attributed(image, HistoryEntry("sr x2", "a", "0" * 64)), format="jpeg")


def tagged(block):
    """All that is done to an EXIF block."""
    try:
        block = exif.upright(block)[0]
        block = exif_editing.resized(exif_editing.turned(block), across=Fraction(2), down=Fraction(2), size=(2, 2))
        exif_editing.with_tags(block, [exif_editing.software(exif_editing.software_of(block) or "")])
        exif.block_of(exif.sections(block))
    except DamagedExif:
        pass


def seconds(work, data):
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        work(data)
        best = min(best, time.process_time() - began)
        if best < NO_LESS_S:
            break
    return best


def check(work, make, n):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        few, many = seconds(work, make(n)), seconds(work, make(n * TIMES))
    assert many < MAX_TIMES * max(few, NO_LESS_S), f"{few:.4f} s, of {TIMES} times as much {many:.4f} s"


@pytest.mark.parametrize("kind", PACKETS)
def test_xmp_packets(kind):
    check(edited, PACKETS[kind], 300)


@pytest.mark.parametrize("kind", FILES)
def test_files(kind):
    check(restored, FILES[kind], 500)


def interwoven(count):
    """A TIFF of `count` pages that have as many tags each, most of which each page shares with the next."""
    # The last two bytes of each entry are the next page's number of tags; behind as many entries stands where it is.
    tags = [struct.pack("<HHIHH", 65000, 3, 1, number % 65536, count) for number in range(count)]
    links = [struct.pack("<IIHH", 20 + 12 * number, 0, 0, count) for number in range(count)]
    return struct.pack("<2sHIH", b"II", 42, 8, count) + b"".join(tags + links)


def test_pages_that_share_their_tags():
    assert inventory.stated(interwoven(20), formats.named("tiff"))[0] == (("TIFF tags", "tag 65000"),)
    check(lambda file: inventory.stated(file, formats.named("tiff")), interwoven, 500)


def sharing(count, code, block, values):
    """A TIFF of `count` pages of one tag, which is the same `block` for all of them; `values`: how many it has."""
    first = 8 + len(block) + len(block) % 2
    page = struct.pack("<HHHII", 1, code, 7 if values > 1 else 4, values, 8)
    places = [first + (len(page) + 4) * number for number in range(1, count)]
    pages = b"".join(page + struct.pack("<I", place) for place in (*places, 0))
    return struct.pack("<2sHI", b"II", 42, first) + block + bytes(len(block) % 2) + pages


def sharing_resources(count):
    block = b"8BIM\x03\xf0\0\0\0\0\0\2ab" * count * 4
    return sharing(count, 34377, block, len(block))


def sharing_tags(count):
    return sharing(count, 34665, exif_block(min(count * 8, 4000), length=1)[8:], 1)


@pytest.mark.parametrize("make", [sharing_resources, sharing_tags])
def test_pages_that_share_what_lies_behind_a_tag(make):
    few = inventory.stated(make(2), formats.named("tiff"))
    assert len(few) == 2
    assert few[0] == few[1] != ()
    assert ("tags of further pages", "") in inventory.stated(make(400), formats.named("tiff"))[-1]
    check(lambda file: inventory.stated(file, formats.named("tiff")), make, 60)


def test_filling_is_passed_at_once():
    """It is no more than a search; a step for each byte takes a hundred times as long."""
    file = b"\xff\xd8" + b"\xff" * 8_000_000 + picture("JPEG", comment=b"x")[3:]
    assert seconds(lambda file: inventory.stated(file, formats.named("jpeg")), file) < 1
    assert inventory.stated(file, formats.named("jpeg")) == ((("its comment", ""),),)


def jpeg_with(marker, bodies):
    parts = (b"\xff" + marker + struct.pack(">H", len(body) + 2) + body for body in bodies)
    file = picture("JPEG")
    return file[:2] + b"".join(parts) + file[2:]


def different_exif_segments(count):
    return jpeg_with(b"\xe1", (b"Exif\0\0II*\0" + struct.pack(">I", number) for number in range(count)))


def resource_in_segments(count):
    """An image resource that each segment continues."""
    head = b"8BIM\x04\x3a\0\0" + struct.pack(">I", 40 * count)
    return jpeg_with(b"\xed", (b"Photoshop 3.0\0" + part for part in (head, *[b"\x1c" * 40] * count)))


@pytest.mark.parametrize("make", [different_exif_segments, resource_in_segments])
def test_segments_of_one_kind(make):
    check(lambda file: inventory.stated(file, formats.named("jpeg")), make, 2500)
    check(jpeg_segments.taken_apart, make, 2500)


BLOCKS = {
    "values": exif_block,
    "values that overlap": lambda n: exif_block(n, length=12 * n),
    "a long name": lambda n: b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 305, 2, 99 * n, 26, 0) + b"a" * 99 * n,
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_exif_blocks(kind):
    check(tagged, BLOCKS[kind], 500)
