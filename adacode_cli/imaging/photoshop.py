"""Photoshop's image resources in JPEG and PNG: one of them has the IPTC records; others are items of the inventory.

Only the records are kept. The other resources describe the old image (its thumbnail, its resolution, a digest of
the records), its display in Photoshop, or data that no output holds (paths, guides, layers), which are reported lost.
The inventory leaves out the resources in `_FOLLOWING`: thumbnails and digests of the old file, sizes of prints and
displays, compression settings, and the state of layers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from adacode_cli.imaging.image import Item
from adacode_cli.imaging.inventory import IPTC

SIGNATURE = b"Photoshop 3.0\0"
RECORDS = 0x0404
_RECORD = b"\x1c"  # with which each IPTC record begins
_HEAD = struct.Struct(">4sH")
_PHOTOSHOP = b"8BIM"
_PROGRAMS = (_PHOTOSHOP, b"MeSa", b"PHUT", b"AgHg", b"DCSR")  # whose resources may be mixed
RESOURCES = "Photoshop resources"
_FOLLOWING = frozenset(
    {
        *(1000, 1001, 1002, 1003, 1005, 1007, 1009),  # printing, resolution, display, border
        *range(1010, 1025),  # background, printing, halftones, transfer functions, state of layers
        *(1026, 1028, 1030),  # groups of layers, IPTC (which is an item of its own), quality of JPEG
        *(1033, 1036),  # thumbnails
        *(1037, 1041, 1042, 1043, 1044, 1046, 1047, 1049),  # light, an untagged image, effects, numbers of layers
        *(1050, 1053, 1057, 1058, 1059, 1060, 1061),  # slices, numbers of channels, version, EXIF, XMP, a digest
        *(1062, 1064, 1066, 1069, 1071, 1072, 1076, 1077),  # printing, shape of pixels, duotone, layers, display
        *(1082, 1083, 1084, 1085, 1086, 1087, 1088, 3000, 10000),  # printing, places of saving, paths chosen
    }
)
_NAMES = {
    1006: "names of channels",
    1008: "caption",
    1025: "paths",
    1032: "guides",
    1034: "copyright flag",
    1035: "URL",
    1039: "ICC profile",
    1040: "watermark",
    1045: "names of channels",
    1054: "URLs",
    1065: "layer comps",
    1067: "spot colours",
    1073: "colour samplers",
    1074: "measurements",
    1075: "timeline",
    2999: "clipping path",
}
_PATHS = range(2000, 2999)
_HEAD_BYTES = 16
# Photoshop writes some empty resources: the bytes that count their entries.
_COUNTS = {1032: slice(12, 16), 1034: slice(0, 1), 1054: slice(0, 4)}


def wrapped(records: bytes) -> bytes:
    """An image resource block with only the IPTC records."""
    return (
        _HEAD.pack(_PHOTOSHOP, RECORDS) + b"\0\0" + struct.pack(">I", len(records)) + records + bytes(len(records) % 2)
    )


def joined(segments: Iterable[bytes]) -> list[bytes]:
    """Blocks of image resources: a JPEG has one in each segment, and those that are too large for it in several."""
    parts = [segment.removeprefix(SIGNATURE) for segment in segments]
    left = sum(map(len, parts))
    blocks: list[bytearray] = []
    last = (0, 0)  # where the data of the last resource of the last block begin and end
    for part in parts:
        if not blocks or part.startswith(_beginnings(blocks[-1], *last, left)):
            blocks.append(bytearray())
            last = (0, 0)
        blocks[-1] += part
        left -= len(part)
        for *_, begin, end in _resources(blocks[-1], _next_at(*last)):
            last = begin, end
    return [bytes(block) for block in blocks]


def _beginnings(block: bytearray, begin: int, end: int, left: int) -> tuple[bytes, ...]:
    """The first bytes with which the next segment does not continue a block, whose last resource is given.

    left: the bytes of the segments that follow.
    """
    if end > len(block) + left:  # The length is damaged, or a segment is missing.
        return _PROGRAMS
    at = _next_at(begin, end)
    has_part_of_head = at < len(block) and any(name.startswith(block[at : at + 4]) for name in _PROGRAMS)
    return () if end > len(block) or has_part_of_head else (*_PROGRAMS, _RECORD)


def unwrapped(block: bytes) -> bytes | None:
    """The IPTC records in an image resource block, or the bytes if they are records; None if there are none."""
    block = block.removeprefix(SIGNATURE)
    if block.startswith(_RECORD):
        return block
    for program, kind, begin, end in _resources(block):
        if program != _PHOTOSHOP:
            break
        if kind == RECORDS:
            return block[begin:end] or None
    return None


def padded_to_words(records: bytes) -> bytes:
    """IPTC records padded to words of four bytes, as TIFF requires."""
    return records + bytes(-len(records) % 4)


def without_padding(records: bytes) -> bytes | None:
    """The IPTC records without padding; None if there are none. With an extended length, all bytes are kept."""
    at = 0
    while records[at : at + 1] == _RECORD and at + 5 <= len(records):
        (length,) = struct.unpack_from(">H", records, at + 3)
        if length >= 0x8000:
            return records
        at += 5 + length
    return records[:at] or None


def items(block: bytes) -> Iterator[Item]:
    """The items of a block of image resources: the IPTC records and other resources."""
    if unwrapped(block):
        yield IPTC, ""
    block = block.removeprefix(SIGNATURE)
    for _, kind, begin, end in _resources(block):
        content = block[begin : min(end, begin + _HEAD_BYTES)]
        is_empty = not any(content[_COUNTS.get(kind, slice(None))]) if kind in _COUNTS else not content
        if kind not in _FOLLOWING and not is_empty:
            yield RESOURCES, "paths" if kind in _PATHS else _NAMES.get(kind, f"number {kind}")


def _resources(block: bytes | bytearray, at: int = 0) -> Iterator[tuple[bytes, int, int, int]]:
    """(program that defines it, number, begin, end) of each resource, from the one at `at` on."""
    while at + 12 <= len(block) and block[at : at + 4] in _PROGRAMS:
        program, kind = _HEAD.unpack_from(block, at)
        at += 6 + (block[at + 6] + 2) // 2 * 2  # its name: a length, letters, and padding to an even number of bytes
        if at + 4 > len(block):
            return
        (length,) = struct.unpack_from(">I", block, at)
        begin, end = at + 4, at + 4 + length
        yield program, kind, begin, end
        at = _next_at(begin, end)


def _next_at(begin: int, end: int) -> int:
    """Where the resource after one with these data begins: data are padded to an even number of bytes."""
    return end + (end - begin) % 2
