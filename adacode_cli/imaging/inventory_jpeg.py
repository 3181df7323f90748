"""What the segments of a JPEG say, and what lies behind its picture: gain maps, videos, further views.

What follows the picture, and is no item: JFIF, SPIFF and Adobe segments, which say how pixels are stored; thumbnails,
also the large ones in an MPF index; the quality in Photoshop's "Ducky" segment.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from adacode_cli.imaging import exif, inventory_photoshop, iptc
from adacode_cli.imaging.inventory_items import (
    COLOR_PROFILE,
    COMMENT,
    CREDENTIALS,
    FURTHER_PACKET,
    GAIN_MAP,
    PICTURES,
    XMP,
    Item,
    behind,
    map_at,
)
from adacode_cli.imaging.inventory_tags import items_of_exif
from adacode_cli.imaging.jpeg_segments import SCAN, XMP_HEAD, segments

SEGMENTS = "JPEG segments"
_EXIF, _ICC, _INDEX, _DUCKY = b"Exif\0\0", b"ICC_PROFILE\0", b"MPF\0", b"Ducky"
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_GAIN_MAP_VERSION = b"urn:iso:std:iso:ts:21496:-1\0"
_APP0, _APP1, _APP2, _APP8, _APP11, _APP12, _APP13, _APP14, _COMMENT = (
    *(0xE0, 0xE1, 0xE2, 0xE8),
    *(0xEB, 0xEC, 0xED, 0xEE, 0xFE),
)
_APPS = range(_APP0, 0xF0)
_END = b"\xff\xd9"
_BOX, _FIRST_PART = b"JP", struct.pack(">I", 1)
_LONGEST_NAME = 16
_SPIFF = (b"SPIFF\0", b"\0\0\0\1")  # its header, and the end of what may follow it
_DUCKY_TEXTS = {2: "Ducky comment", 3: "Ducky copyright"}

# Of an MPF index: 16 bytes for each picture, the kind in the low 24 bits of the first number.
_ENTRIES, _ENTRY = 0xB002, "IIIHH"
_KIND = 0xFFFFFF
_LARGE_THUMBNAIL, _GAIN_MAP = 0x01, 0x05  # its high byte
_MOST_PICTURES = 1000
_PICTURE = b"\xff\xd8\xff"


def items(file: bytes) -> Iterator[Item]:
    """The items of a JPEG file. Raises struct.error or LookupError where it breaks off."""
    found = _Found()
    index_at, scan_at = None, len(file)
    for marker, at, end in segments(file):
        if marker == SCAN:
            scan_at = at
        elif marker == _APP2 and file.startswith(_INDEX, at + 3):
            index_at = at + 3 + len(_INDEX)
        elif marker in _APPS or marker == _COMMENT:
            yield from found.items(marker, file[at + 3 : end])
    yield from items_of_exif(b"".join(found.blocks))
    if len(found.packets) > 1:
        yield FURTHER_PACKET, ""
    end = file.find(_END, scan_at)
    pictures_end = 0
    if index_at is not None:
        pictures = _indexed(file, index_at)
        yield from _further(file, pictures)
        pictures_end = max((start + length for _, start, length in pictures), default=0)
    if end >= 0:
        end = max(end + len(_END), min(pictures_end, len(file)))
        if not pictures_end and file.startswith(_PICTURE, end):
            yield map_at(file, end) or PICTURES, ""
        else:
            yield from behind(file, end)


@dataclass
class _Found:
    """What counts only when all segments are known: parts of the EXIF block, and the XMP packets that differ."""

    blocks: list[bytes] = field(default_factory=list)
    packets: set[bytes] = field(default_factory=set)

    def items(self, marker: int, body: bytes) -> Iterator[Item]:
        """The items of one segment."""
        if marker == _COMMENT and body:
            yield COMMENT, ""
        elif marker == _APP1 and body.startswith(_EXIF):
            self.blocks.append(body[len(_EXIF) :])
        elif marker == _APP1 and body.startswith((XMP_HEAD, _EXTENDED_XMP)):
            yield XMP, ""
            if body.startswith(XMP_HEAD):
                self.packets.add(body)
        elif marker == _APP2 and body.startswith(_ICC):
            yield COLOR_PROFILE, ""
        elif marker == _APP2 and body.startswith(_GAIN_MAP_VERSION):
            yield GAIN_MAP, ""
        elif marker == _APP13 and body.startswith(iptc.SIGNATURE):
            yield from inventory_photoshop.items(body)
        elif marker == _APP12 and body.startswith(_DUCKY):
            yield from _of_ducky(body)
        elif marker == _APP11 and body.startswith(_BOX):
            if body[4:8] == _FIRST_PART:
                yield (CREDENTIALS, "") if b"c2pa" in body else (SEGMENTS, "JUMBF")
        elif marker not in (_COMMENT, _APP0, _APP14) and not (marker == _APP8 and body.startswith(_SPIFF)):
            yield SEGMENTS, f"APP{marker - _APP0} {_first_word(body)}".rstrip()


def _of_ducky(body: bytes) -> Iterator[Item]:
    at = len(_DUCKY)
    while at + 4 <= len(body):
        kind, length = struct.unpack_from(">2H", body, at)
        if kind == 0:
            return
        if kind in _DUCKY_TEXTS and length > 4:  # the number of letters comes first
            yield SEGMENTS, _DUCKY_TEXTS[kind]
        at += 4 + length


def _first_word(body: bytes) -> str:
    word = bytearray()
    for byte in body[:_LONGEST_NAME]:
        if not 0x21 <= byte < 0x7F:
            break
        word.append(byte)
    return word.decode("ascii")


def _indexed(file: bytes, at: int) -> list[tuple[int, int, int]]:
    """[(kind, begin, length)] of the pictures beside the first that an MPF index, a TIFF structure at `at`, names."""
    layout, first = exif.header(file[at : at + 16])
    (count,) = struct.unpack_from(layout.count, file, at + first)
    for number in range(min(count, 64)):
        code, _, length, inline = struct.unpack_from(layout.entry, file, at + first + 2 + 12 * number)
        if code == _ENTRIES:
            (where,) = struct.unpack(layout.number, inline)
            entries = file[at + where : at + where + min(length, 16 * _MOST_PICTURES)]
            found = list(struct.iter_unpack(layout.order + _ENTRY, entries[: len(entries) // 16 * 16]))
            named = [(kind & _KIND, at + offset, size) for kind, size, offset, *_ in found[1:] if offset]
            return [picture for picture in named if file.startswith(_PICTURE, picture[1])]
    return []


def _further(file: bytes, pictures: list[tuple[int, int, int]]) -> Iterator[Item]:
    """Names for what an MPF index lists, large thumbnails left out."""
    views = 0
    for kind, at, _ in pictures:
        if kind >> 16 != _LARGE_THUMBNAIL:
            found = GAIN_MAP if kind >> 16 == _GAIN_MAP else map_at(file, at)
            views += found is None
            if found is not None:
                yield found, ""
    if views:
        yield PICTURES, str(views)
