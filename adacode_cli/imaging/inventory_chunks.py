"""What the chunks of a PNG or WebP and the header of a BMP say.

What follows the picture, and is no item: the chunks in `_FOLLOWING`, which say how the stored pixels lie, what their
colours are (the readers see to these), and when they were last changed; the texts in which ImageMagick notes times of
the old file; and the background of a picture without alpha, which nobody sees.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from adacode_cli.imaging.cicp import LIGHT_LEVELS
from adacode_cli.imaging.inventory_items import (
    COLOR_PROFILE,
    CREDENTIALS,
    EXIF,
    FRAMES,
    FURTHER_PACKET,
    IPTC,
    XMP,
    Item,
    behind,
)
from adacode_cli.imaging.inventory_tags import items_of_exif
from adacode_cli.imaging.png_chunks import LIGHT_LEVEL_CHUNKS

_SIGNATURE_BYTES, _COLOR_TYPE_AT = 8, 25
_FOLLOWING = frozenset(
    {
        *(b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"sBIT", b"hIST", b"pHYs", b"tIME"),
        *(b"acTL", b"fcTL", b"iDOT", b"vpAg", b"caNv", b"orNT"),
    }
)
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_XMP_KEYWORD, _RAW_PROFILE, _LONGEST_KEYWORD = b"XML:com.adobe.xmp", b"Raw profile type ", 79
_TIMES = frozenset({b"date:create", b"date:modify", b"date:timestamp"})
_RAW_PROFILES = {
    **dict.fromkeys((b"icc", b"icm"), COLOR_PROFILE),
    **dict.fromkeys((b"exif", b"APP1"), EXIF),
    **dict.fromkeys((b"iptc", b"8bim"), IPTC),
    b"xmp": XMP,
}
_BLOCKS = {b"iCCP": COLOR_PROFILE, b"ICCP": COLOR_PROFILE, b"XMP ": XMP}
_PIXELS_OF_WEBP = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM"})


def items_of_png(file: bytes) -> Iterator[Item]:
    """The items of a PNG file. Raises struct.error where it breaks off."""
    at, packets = _SIGNATURE_BYTES, 0
    has_alpha = bool(file[_COLOR_TYPE_AT] & 4)
    while at + 12 <= len(file):
        length, kind = struct.unpack_from(">I4s", file, at)
        body, at = at + 8, at + 12 + length
        if kind == b"IEND":
            break
        has_alpha = has_alpha or kind == b"tRNS"
        if kind in _TEXTS:
            keyword = file[body : body + length][: _LONGEST_KEYWORD + 1].partition(b"\0")[0]
            packets += keyword == _XMP_KEYWORD
            yield from _of_text(keyword)
        elif kind == b"eXIf":
            yield from items_of_exif(file[body : body + length])
        elif kind in _BLOCKS:
            yield _BLOCKS[kind], ""
        elif kind == b"caBX":
            yield CREDENTIALS, ""
        elif kind in LIGHT_LEVEL_CHUNKS:
            yield LIGHT_LEVELS, ""
        elif kind == b"fdAT":
            yield FRAMES, ""
        elif kind[0] & 0x20 and kind not in _FOLLOWING and (kind != b"bKGD" or has_alpha):
            yield "PNG chunks", kind.decode("latin-1")
    if packets > 1:
        yield FURTHER_PACKET, ""
    yield from behind(file, at)


def _of_text(keyword: bytes) -> Iterator[Item]:
    profile = _RAW_PROFILES.get(keyword.removeprefix(_RAW_PROFILE))
    if keyword == _XMP_KEYWORD:
        yield XMP, ""
    elif profile is not None and keyword.startswith(_RAW_PROFILE):
        yield profile, ""
    elif 0 < len(keyword) <= _LONGEST_KEYWORD and keyword not in _TIMES:
        yield "texts", keyword.decode("latin-1")


def items_of_webp(file: bytes) -> Iterator[Item]:
    """The items of a WebP file. Raises struct.error where it breaks off."""
    end = min(len(file), 8 + struct.unpack_from("<I", file, 4)[0])
    at, frames = 12, 0
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", file, at)
        body, at = at + 8, at + 8 + length + length % 2
        if kind == b"EXIF":
            yield from items_of_exif(file[body : body + length])
        elif kind in _BLOCKS:
            yield _BLOCKS[kind], ""
        elif kind == b"ANMF":
            frames += 1
        elif kind == b"C2PA":
            yield CREDENTIALS, ""
        elif kind not in _PIXELS_OF_WEBP:
            yield "WebP chunks", kind.decode("latin-1").rstrip()
    if frames > 1:
        yield FRAMES, ""
    yield from behind(file, end)


def items_of_bmp(file: bytes) -> Iterator[Item]:
    """The items of a BMP file, whose newest kind of header can name a profile. Raises struct.error."""
    (header_bytes,) = struct.unpack_from("<I", file, 14)
    profile_end = 0
    if header_bytes >= 124 and file[70:74] in (b"DEBM", b"KNIL"):  # "MBED" and "LINK", least significant byte first
        yield COLOR_PROFILE, ""
        profile_end = 14 + sum(struct.unpack_from("<2I", file, 126))
    file_bytes, _, pixels_at = struct.unpack_from("<3I", file, 2)
    if header_bytes >= 40:
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", file, 18)
        rows_end = pixels_at + (abs(width) * bits + 31) // 32 * 4 * abs(height)
        # What its header says of the size of the file may be wrong; of packed rows nobody else says it.
        yield from behind(file, max(profile_end, rows_end if packing in (0, 3, 6) else file_bytes))
