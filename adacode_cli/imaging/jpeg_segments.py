"""The segments of a JPEG: metadata, which are removed before Pillow reads the file, scans, and items of the inventory.

Pillow joins EXIF segments in quadratic time, reads overlapping EXIF values, and refuses an image because of a block
that it cannot read. Here each segment is read once.

The inventory leaves out: JFIF, SPIFF and Adobe segments, which describe the storage of pixels; thumbnails, also the
large ones in an MPF index; the quality in Photoshop's "Ducky" segment. Gain maps, videos and further views may follow
the image.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from adacode_cli.imaging import exif, photoshop
from adacode_cli.imaging.image import Item
from adacode_cli.imaging.inventory import (
    COLOR_PROFILE,
    COMMENT,
    CREDENTIALS,
    FURTHER_PACKET,
    GAIN_MAP,
    IMAGES,
    XMP,
    map_at,
    trailing_items,
)
from adacode_cli.imaging.iso_boxes import Bytes
from adacode_cli.imaging.metadata import ICC_DAMAGED, Metadata
from adacode_cli.imaging.refusals import too_many_scans
from adacode_cli.imaging.tiff_tags import items_of_exif
from adacode_cli.limits import MAX_SCANS

XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
"""The beginning of an APP1 segment with XMP."""

SCAN, END = 0xDA, 0xD9
"""The markers of the begin of a scan and of the end of the image."""

SEGMENTS = "JPEG segments"
_EXIF, _ICC, _INDEX, _DUCKY = b"Exif\0\0", b"ICC_PROFILE\0", b"MPF\0", b"Ducky"
_HEADS = {_EXIF: "exif", XMP_HEAD: "xmp", _ICC: "icc"}
_ICC_HEAD = len(_ICC) + 2
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_GAIN_MAP_VERSION = b"urn:iso:std:iso:ts:21496:-1\0"
_APP0, _APP1, _APP2, _APP8, _APP11, _APP12, _APP13, _APP14, _COMMENT = (
    *(0xE0, 0xE1, 0xE2, 0xE8),
    *(0xEB, 0xEC, 0xED, 0xEE, 0xFE),
)
_APPS = range(_APP0, 0xF0)
_KEPT_APPS = (_APP0, _APP14)  # JFIF: resolution; Adobe: what the colours are
_WITHOUT_BODY = frozenset({0, *range(0xD0, 0xDA), 0xC8, *range(0xF0, 0xFE)})
_ALONE = frozenset({0x01, *range(0xD0, 0xDA)})  # markers without a length
# In the data of a scan, 0xFF is followed by 0, and restart markers separate its parts.
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)
_PIECE_BYTES = 256
_HEAD_BYTES = 64  # of a segment, enough to identify it
_END_OF_IMAGE = b"\xff\xd9"
_BOX, _FIRST_PART = b"JP", struct.pack(">I", 1)
_MAX_NAME = 16
_TIFF_HEADS = (b"II*\0", b"MM\0*")
# Segments that describe the stored pixels: of JFIF and MJPEG, of SPIFF (header and end of its directory), of Adobe.
_OF_PIXELS = {_APP0: (b"JFIF\0", b"JFXX\0", b"AVI1"), _APP8: (b"SPIFF\0", b"\0\0\0\1"), _APP14: (b"Adobe",)}
_DUCKY_TEXTS = {2: "Ducky comment", 3: "Ducky copyright"}

# Of an MPF index: 16 bytes for each image, the kind in the low 24 bits of the first number.
_ENTRIES, _ENTRY = 0xB002, "IIIHH"
_KIND = 0xFFFFFF
_LARGE_THUMBNAIL, _GAIN_MAP = 0x01, 0x05  # its high byte
_MAX_IMAGES = 1000
_IMAGE = b"\xff\xd8\xff"


def taken_apart(file: bytes) -> tuple[bytes, Metadata, tuple[str, ...]]:
    """(the file without segments that do not affect its pixels, their metadata, losses)."""
    kept, found, scan_at = _sorted_out(file)
    profile = _profile(found[_APP2])
    lost = [ICC_DAMAGED] if profile is None and found[_APP2] else []
    if any(found[_COMMENT]):
        lost.append("its comment")
    block = _first_block(body[len(_EXIF) :] for body in found[_APP1] if body.startswith(_EXIF))
    packets = [body for body in found[_APP1] if body.startswith(XMP_HEAD)]
    packet = bytes(packets[-1][len(XMP_HEAD) :]) if packets else None
    records = [said for body in photoshop.joined(found[_APP13]) if (said := photoshop.unwrapped(body))]
    lost += ["further IPTC records"] if len(set(records)) > 1 else []
    bare = b"".join([file[:2], *kept, file[scan_at:]]) if any(found.values()) or scan_at > 2 else file
    return bare, Metadata(profile, block or None, packet or None, records[-1] if records else None), tuple(lost)


def segments(file: Bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, its offset, the end of the segment) of each segment, also of markers without data.

    The last one has the marker SCAN and the offset at which the pixels begin.
    """
    at, size = 2, len(file)
    while (found := _next_marker(file, at)) is not None:
        at, place, marker = found
        if marker in _WITHOUT_BODY:
            yield marker, place, place + 1
            at = place + 1
            continue
        if marker == SCAN or marker < 0xC0 or place + 3 > size:
            break
        end = place + 1 + max(2, int.from_bytes(file[place + 1 : place + 3], "big"))
        if end > size:
            break
        yield marker, place, end
        at = end
    else:
        last = bytes(file[max(at, size - _PIECE_BYTES) : size])
        at = size - len(last) + len(last.rstrip(b"\xff"))
    yield SCAN, at, size


def _next_marker(file: Bytes, at: int) -> tuple[int, int, int] | None:
    """(begin of the padding before it, its offset, the marker) of the next marker, read piece by piece."""
    while piece := bytes(file[at : at + _PIECE_BYTES]):
        begin = piece.find(b"\xff")
        rest = piece[begin:].lstrip(b"\xff") if begin >= 0 else b""
        if rest:
            return at + begin, at + len(piece) - len(rest), rest[0]
        # A piece that ends with padding is read again from its last byte on.
        at += len(piece) - (begin >= 0 and len(piece) > 1)
    return None


def markers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(kind, begin, end of its segment) of each marker of the first image, including the end marker.

    Markers in and after the data of scans are found too. Data of segments that look like a marker are skipped. A
    segment may end after the end of the file.
    """
    at = 2
    while (marker := _MARKER.search(data, at)) is not None:
        kind, at = data[marker.end() - 1], marker.end()
        if kind not in _ALONE:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
        yield kind, marker.start(), at
        if kind == END:
            return


def is_whole(data: bytes) -> bool:
    """Whether the first image has an end marker."""
    return any(kind == END for kind, _, _ in markers(data))


def check_scans(data: bytes, *, name: str) -> None:
    """Raises InputError for a JPEG with more than MAX_SCANS scans; damage is left to the decoder.

    Each scan may need the time of the whole image, and takes a few bytes in the file.
    """
    if data.count(b"\xff\xda") <= MAX_SCANS:
        return
    num_scans = sum(kind == SCAN for kind, _, _ in markers(data))
    if num_scans > MAX_SCANS:
        raise too_many_scans(num_scans, name)


def metadata_field(file: Bytes, marker: int, at: int, end: int) -> str | None:
    """The name of the field of `Metadata` that a segment fills, or None."""
    begin, is_photoshop = at + 3, marker == _APP13
    body = bytes(file[begin : end if is_photoshop else min(end, begin + _HEAD_BYTES)])
    if is_photoshop:
        return "iptc" if body.startswith(photoshop.SIGNATURE) and photoshop.unwrapped(body) else None
    if marker not in (_APP1, _APP2):
        return None
    return next((name for head, name in _HEADS.items() if body.startswith(head) and len(body) > len(head)), None)


def _sorted_out(file: bytes) -> tuple[list[bytes], dict[int, list[bytes]], int]:
    """(segments to keep, data of the others by marker, the offset of the pixels)."""
    kept: list[bytes] = []
    found: dict[int, list[bytes]] = {_APP1: [], _APP2: [], _APP13: [], _COMMENT: []}
    scan_at = len(file)
    for marker, at, end in segments(file):
        if marker == SCAN:
            scan_at = at
        elif marker in found:
            body = file[at + 3 : end]
            if marker not in (_APP2, _APP13) or body.startswith((_ICC, photoshop.SIGNATURE)):
                found[marker].append(body)
        elif marker and (not 0xE0 <= marker <= 0xEF or marker in _KEPT_APPS):
            kept.append(b"\xff" + file[at:end])
    return kept, found, scan_at


def _first_block(parts: Iterable[bytes]) -> bytes:
    """The EXIF block in the parts of segments, which may be several of them, without further blocks after it."""
    block = bytearray()
    for part in parts:
        if block and part.startswith(_TIFF_HEADS):
            break
        block += part
    return bytes(block)


def _profile(parts: list[bytes]) -> bytes | None:
    """The parts in the order of their numbers, if their number is as stated; otherwise None."""
    ordered = sorted(part for part in parts if len(part) > _ICC_HEAD)
    if not ordered or ordered[0][_ICC_HEAD - 1] != len(ordered):
        return None
    return b"".join(part[_ICC_HEAD:] for part in ordered)


def items(file: bytes) -> Iterator[Item]:
    """The items of a JPEG file. Raises struct.error or LookupError if it is truncated."""
    collected = _Collected()
    index_at, scan_at = None, len(file)
    for marker, at, end in segments(file):
        if marker == SCAN:
            scan_at = at
        elif marker == _APP2 and file.startswith(_INDEX, at + 3):
            index_at = at + 3 + len(_INDEX)
        elif marker in _APPS or marker == _COMMENT:
            yield from collected.items(marker, file[at + 3 : end])
    yield from items_of_exif(_first_block(collected.blocks))
    for resources in photoshop.joined(collected.resources):
        yield from photoshop.items(resources)
    if len(collected.packets) > 1:
        yield FURTHER_PACKET, ""
    end = file.find(_END_OF_IMAGE, scan_at)
    images_end = 0
    if index_at is not None:
        images = _indexed(file, index_at)
        yield from _further(file, images)
        images_end = max((start + length for _, start, length in images), default=0)
    if end >= 0:
        end = max(end + len(_END_OF_IMAGE), min(images_end, len(file)))
        if not images_end and file.startswith(_IMAGE, end):
            yield map_at(file, end) or IMAGES, ""
        else:
            yield from trailing_items(file, end)


@dataclass
class _Collected:
    """Data that are evaluated after all segments: parts of EXIF and of Photoshop blocks, different XMP packets."""

    blocks: list[bytes] = field(default_factory=list)
    resources: list[bytes] = field(default_factory=list)
    packets: set[bytes] = field(default_factory=set)

    def items(self, marker: int, body: bytes) -> Iterator[Item]:
        """The items of one segment."""
        if marker == _COMMENT and body:
            yield COMMENT, ""
        elif marker == _APP1 and body.startswith(_EXIF):
            block = body[len(_EXIF) :]
            # Only the first one is compared, because a comparison with each would take quadratic time.
            if self.blocks and block.startswith(_TIFF_HEADS) and block != self.blocks[0]:
                yield SEGMENTS, "further EXIF"
            self.blocks += [block] if block else []
        elif marker == _APP1 and body.startswith((XMP_HEAD, _EXTENDED_XMP)):
            yield XMP, ""
            if body.startswith(XMP_HEAD):
                self.packets.add(body)
        elif marker == _APP2 and body.startswith(_ICC):
            yield COLOR_PROFILE, ""
        elif marker == _APP2 and body.startswith(_GAIN_MAP_VERSION):
            yield GAIN_MAP, ""
        elif marker == _APP13 and body.startswith(photoshop.SIGNATURE):
            self.resources.append(body)
        elif marker == _APP12 and body.startswith(_DUCKY):
            yield from _of_ducky(body)
        elif marker == _APP11 and body.startswith(_BOX):
            if body[4:8] == _FIRST_PART:
                yield (CREDENTIALS, "") if b"c2pa" in body else (SEGMENTS, "JUMBF")
        elif marker != _COMMENT and not body.startswith(_OF_PIXELS.get(marker, ())):
            yield SEGMENTS, f"APP{marker - _APP0} {_first_word(body)}".rstrip()


def _of_ducky(body: bytes) -> Iterator[Item]:
    at = len(_DUCKY)
    while at + 4 <= len(body):
        kind, length = struct.unpack_from(">2H", body, at)
        if kind == 0:
            return
        if kind in _DUCKY_TEXTS and length > 4:  # The number of letters comes first.
            yield SEGMENTS, _DUCKY_TEXTS[kind]
        at += 4 + length


def _first_word(body: bytes) -> str:
    word = bytearray()
    for byte in body[:_MAX_NAME]:
        if not 0x21 <= byte < 0x7F:
            break
        word.append(byte)
    return word.decode("ascii")


def _indexed(file: bytes, at: int) -> list[tuple[int, int, int]]:
    """[(kind, begin, length)] of the images after the first in an MPF index, a TIFF structure at `at`."""
    layout, first = exif.header(file[at : at + 16])
    (count,) = struct.unpack_from(layout.count, file, at + first)
    for number in range(min(count, 64)):
        code, _, length, inline = struct.unpack_from(layout.entry, file, at + first + 2 + 12 * number)
        if code == _ENTRIES:
            (where,) = struct.unpack(layout.number, inline)
            entries = file[at + where : at + where + min(length, 16 * _MAX_IMAGES)]
            records = list(struct.iter_unpack(layout.order + _ENTRY, entries[: len(entries) // 16 * 16]))
            named = [(kind & _KIND, at + offset, size) for kind, size, offset, *_ in records[1:] if offset]
            return [image for image in named if file.startswith(_IMAGE, image[1])]
    return []


def _further(file: bytes, images: list[tuple[int, int, int]]) -> Iterator[Item]:
    """The items of an MPF index, without large thumbnails."""
    views = 0
    for kind, at, _ in images:
        if kind >> 16 != _LARGE_THUMBNAIL:
            map_kind = GAIN_MAP if kind >> 16 == _GAIN_MAP else map_at(file, at)
            views += map_kind is None
            if map_kind is not None:
                yield map_kind, ""
    if views:
        yield IMAGES, str(views)
