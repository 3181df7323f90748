"""What a picture file says of itself before its pixels: size, layout, depth, pages, and which metadata it holds.

No library is asked and no pixel decoded, so ten thousand files take a second, and bytes of unknown origin meet Python
only. What is found is a forecast: `decode` alone says what a file holds. A file that is damaged, or of a kind that says
it elsewhere, has no header here and is not refused for that. Of any file a bounded number of small pieces is read.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from adacode_cli.imaging import iptc, jp2_boxes
from adacode_cli.imaging.decode import kind_of
from adacode_cli.imaging.inventory_tags import kind_of_page
from adacode_cli.imaging.limits import HEAD_BYTES, MAX_PAGES

_MOST_PARTS = 10_000  # segments, chunks or boxes of a file
_MOST_META_BYTES = 4 << 20  # of the box that describes the pictures of an AVIF or HEIC
_MOST_ENTRIES = 200_000  # tags of all directories of a TIFF
_CHANNELS_OF_COLOR = 3


@dataclass(frozen=True, slots=True)
class Header:
    """Of one picture: `width` × `height` pixels as stored, `colors` 1 (grey) or 3, `bits` of a sample as stored.

    `pages` are those that `decode` reads. `metadata` are the names of fields of `imaging.metadata.Metadata` that are
    surely there; others may be.
    """

    width: int
    height: int
    colors: int = 3
    bits: int = 8
    is_float: bool = False
    pages: int = 1
    metadata: frozenset[str] = frozenset()


Parse = Callable[[BinaryIO], Header | None]
"""(an open file that can be sought in) → what it says; None or ValueError where it says nothing."""


def read_header(path: Path, parse: Parse | None = None) -> Header | None:
    """What the file `path` says, or None where that cannot be read from it. Pipes and devices are not waited for.

    `parse` is for files of another kind than pictures.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb", buffering=HEAD_BYTES) as file:
            return (parse or header_in)(file) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    except (OSError, ValueError):  # a name that no file can have
        return None


def header_in(file: BinaryIO) -> Header | None:
    """As `read_header` gives it, of an open file that can be sought in."""
    reader = _READERS.get(kind_of(file.read(64)) or "")
    with suppress(OSError, ValueError, ArithmeticError, LookupError, struct.error):
        found = reader(file) if reader else None
        return found if found and found.width > 0 and found.height > 0 else None
    return None


def _at(file: BinaryIO, offset: int, num_bytes: int) -> bytes:
    """Raises ValueError where the file ends before."""
    file.seek(offset)
    piece = file.read(num_bytes)
    if len(piece) < num_bytes:
        raise ValueError("the file ends too early")
    return piece


_EXIF, _XMP, _PROFILE = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # 0xF7 is that of JPEG-LS


def _jpeg(file: BinaryIO) -> Header | None:
    said: set[str] = set()
    at = 2
    for _ in range(_MOST_PARTS):
        head = _at(file, at, 4)
        if head[0] != 0xFF:
            return None
        if head[1] == 0xFF:  # padding
            at += 1
            continue
        marker, length = head[1], int.from_bytes(head[2:])
        if marker in _FRAMES:
            bits, height, width, components = struct.unpack(">BHHB", _at(file, at + 4, 6))
            return Header(width, height, 1 if components == 1 else 3, bits, metadata=frozenset(said))
        if marker in (0xD8, 0xD9, 0xDA) or length < 2:
            return None
        if marker in (0xE1, 0xE2, 0xED):
            said |= _said_in_segment(_at(file, at + 4, length - 2 if marker == 0xED else min(length - 2, 64)))
        at += 2 + length
    return None


def _said_in_segment(body: bytes) -> set[str]:
    begins = {_EXIF: "exif", _XMP: "xmp", _PROFILE: "icc"}
    found = {name for beginning, name in begins.items() if body.startswith(beginning) and len(body) > len(beginning)}
    return found | ({"iptc"} if body.startswith(iptc.SIGNATURE) and iptc.unwrapped(body) else set())


_PNG_GREY = (0, 4)
_PNG_CHUNKS = {b"iCCP": "icc", b"eXIf": "exif"}
_PNG_XMP = b"XML:com.adobe.xmp\0"


def _png(file: BinaryIO) -> Header | None:
    width, height, bits, kind = struct.unpack(">IIBB", _at(file, 16, 10))
    said: set[str] = set()
    at = 8
    for _ in range(_MOST_PARTS):
        length, name = struct.unpack(">I4s", _at(file, at, 8))
        if name in (b"IDAT", b"IEND"):
            break
        if name in _PNG_CHUNKS:
            said.add(_PNG_CHUNKS[name])
        elif name == b"iTXt" and file.read(len(_PNG_XMP)) == _PNG_XMP:
            said.add("xmp")
        at += 12 + length
    return Header(width, height, 1 if kind in _PNG_GREY else 3, max(bits, 8), metadata=frozenset(said))


_WEBP_FLAGS = {0x20: "icc", 0x08: "exif", 0x04: "xmp"}


def _webp(file: BinaryIO) -> Header | None:
    head = _at(file, 12, 18)
    kind, body = head[:4], head[8:]
    if kind == b"VP8X":
        said = frozenset(name for flag, name in _WEBP_FLAGS.items() if body[0] & flag)
        width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
        return Header(width, height, metadata=said)
    if kind == b"VP8L" and body[0] == 0x2F:
        packed = int.from_bytes(body[1:5], "little")
        return Header((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", body[6:10])
        return Header(width & 0x3FFF, height & 0x3FFF)
    return None


def _bmp(file: BinaryIO) -> Header | None:
    (size,) = struct.unpack("<I", _at(file, 14, 4))
    width, height, _, bits = struct.unpack("<HHHH" if size == 12 else "<iiHH", file.read(8 if size == 12 else 12))
    return Header(width, abs(height), 3 if bits > 8 else 1)


def _jp2(file: BinaryIO) -> Header | None:
    at = 0
    if _at(file, 0, 4) != jp2_boxes.CODESTREAM:
        at, _ = _box(file, b"jp2c")
    stream = _at(file, at, 43)
    right, bottom, left, top = struct.unpack(">4I", stream[8:24])
    bits = (stream[42] & 0x7F) + 1
    return Header(right - left, bottom - top, 1 if int.from_bytes(stream[40:42]) < _CHANNELS_OF_COLOR else 3, bits)


def _boxes(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the body, its end) of each box between two places."""
    for _ in range(_MOST_PARTS):
        if at + 8 > end:
            return
        length, kind = struct.unpack(">I4s", _at(file, at, 8))
        head = 8
        if length == 1:
            (length,), head = struct.unpack(">Q", file.read(8)), 16
        last = end if length == 0 else at + length
        if last < at + head or last > end:
            return
        yield kind, at + head, last
        at = last


def _box(file: BinaryIO, wanted: bytes) -> tuple[int, int]:
    """Where the body of a box of the file begins and ends. Raises ValueError where there is none."""
    for kind, start, end in _boxes(file, 0, file.seek(0, os.SEEK_END)):
        if kind == wanted:
            return start, end
    raise ValueError("no such box")


def _heif(file: BinaryIO) -> Header | None:
    """Of the primary picture, by the properties that it is given."""
    start, stop = _box(file, b"meta")
    meta = BytesIO(_at(file, start, min(stop - start, _MOST_META_BYTES)))
    inside = {kind: (at, to) for kind, at, to in _boxes(meta, 4, len(meta.getvalue()))}
    number_at, number_to = inside[b"pitm"]
    primary = int.from_bytes(_at(meta, number_at + 4, number_to - number_at - 4))
    parts = {kind: (at, to) for kind, at, to in _boxes(meta, *inside[b"iprp"])}
    properties = [(kind, _at(meta, at, min(to - at, 64))) for kind, at, to in _boxes(meta, *parts[b"ipco"])]
    of_primary = _associated(_at(meta, parts[b"ipma"][0], parts[b"ipma"][1] - parts[b"ipma"][0]), primary)
    own = dict(properties[index - 1] for index in of_primary if index > 0)
    width, height = struct.unpack_from(">II", own[b"ispe"], 4)
    if b"clap" in own:
        across, across_under, down, down_under = struct.unpack_from(">4I", own[b"clap"])
        width, height = across // across_under, down // down_under
    count, *bits = own.get(b"pixi", bytes([0, 0, 0, 0, 3, 8]))[4:]
    said = frozenset({"icc"} if own.get(b"colr", b"")[:4] in (b"prof", b"rICC") else ())
    return Header(width, height, 1 if count < _CHANNELS_OF_COLOR else 3, bits[0], metadata=said)


def _associated(body: bytes, item: int) -> list[int]:
    """The numbers, from 1, of the properties of an item, by the box `ipma`."""
    version, wide = body[0], body[3] & 1
    (count,), at = struct.unpack_from(">I", body, 4), 8
    for _ in range(min(count, _MOST_PARTS)):
        (number,) = struct.unpack_from(">I" if version else ">H", body, at)
        at += 4 if version else 2
        length, at = body[at], at + 1
        if number == item:
            step, mask = (2, 0x7FFF) if wide else (1, 0x7F)
            return [int.from_bytes(body[at + i * step : at + (i + 1) * step]) & mask for i in range(length)]
        at += length * (2 if wide else 1)
    return []


_KIND_OF_PAGE, _OLD_KIND, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 254, 255, 256, 257, 258, 262, 339
_TIFF_METADATA = {34675: "icc", 34665: "exif", 700: "xmp", 33723: "iptc"}
_TAGS = {*_TIFF_METADATA, _KIND_OF_PAGE, _OLD_KIND, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT}
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # types of tags whose values are whole numbers
_SMALL_OR_MASK = 1 | 4
_FLOAT = 3
_TIFF_GREY = (0, 1)


def _tiff(file: BinaryIO) -> Header | None:
    order = "<" if _at(file, 0, 2) == b"II" else ">"
    is_big = struct.unpack(order + "H", file.read(2))[0] == 43
    at, number = (8, order + "Q") if is_big else (4, order + "I")
    seen: set[int] = set()
    first: Header | None = None
    pages, entries_left = 0, _MOST_ENTRIES
    for _ in range(MAX_PAGES):
        (start,) = struct.unpack(number, _at(file, at, struct.calcsize(number)))
        if start == 0 or start in seen:
            break
        seen.add(start)
        entries, at = _directory(file, start, order, entries_left, is_big=is_big)
        tags = _tags(file, entries, order, is_big=is_big)
        entries_left -= len(entries) // 12
        first = first or _page(tags)
        kind = kind_of_page(tags.get(_KIND_OF_PAGE, 0), tags.get(_OLD_KIND, 0))
        pages += pages == 0 or not kind & _SMALL_OR_MASK
    return first and replace(first, pages=pages)


def _directory(file: BinaryIO, start: int, order: str, most: int, *, is_big: bool) -> tuple[bytes, int]:
    """The entries of a directory, and where the next one is named. Raises ValueError for more than `most`."""
    count_of, entry_bytes = (order + "Q", 20) if is_big else (order + "H", 12)
    (count,) = struct.unpack(count_of, _at(file, start, struct.calcsize(count_of)))
    if count > most:
        raise ValueError("too many tags")
    at = start + struct.calcsize(count_of)
    entries = _at(file, at, count * entry_bytes)
    return entries, at + len(entries)


def _tags(file: BinaryIO, entries: bytes, order: str, *, is_big: bool) -> dict[int, int]:
    """Of the tags that matter here the first value if that is a whole number, else 0."""
    tags: dict[int, int] = {}
    for tag, kind, count, field in struct.iter_unpack(order + ("HHQ8s" if is_big else "HHI4s"), entries):
        if tag not in _TAGS or tag in tags:
            continue
        one = order + _NUMBERS.get(kind, "B")
        lies_elsewhere = struct.calcsize(one) * count > len(field)
        if tag in _TIFF_METADATA or kind not in _NUMBERS:
            tags[tag] = 0
        elif lies_elsewhere:
            place = int.from_bytes(field, "little" if order == "<" else "big")
            (tags[tag],) = struct.unpack(one, _at(file, place, struct.calcsize(one)))
        else:
            (tags[tag],) = struct.unpack_from(one, field)
    return tags


def _page(tags: dict[int, int]) -> Header:
    colors = 1 if tags.get(_PHOTOMETRIC) in _TIFF_GREY else 3
    said = frozenset(name for tag, name in _TIFF_METADATA.items() if tag in tags)
    is_float = tags.get(_SAMPLE_FORMAT) == _FLOAT
    return Header(tags[_WIDTH], tags[_HEIGHT], colors, max(tags.get(_BITS, 1), 8), is_float, metadata=said)


_READERS: dict[str, Parse] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "bmp": _bmp,
    "jp2": _jp2,
    "avif": _heif,
    "heic": _heif,
    "tiff": _tiff,
}
