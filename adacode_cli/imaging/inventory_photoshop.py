"""Photoshop's image resources as items: they lie in a segment of JPEG and in a tag of TIFF, beside IPTC records.

Resources that follow the picture, and are no items: those in `_FOLLOWING`. They are the old file's thumbnails and
digests, or say how large it was printed and shown, how strongly it was compressed, and which layer was worked on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from adacode_cli.imaging import iptc
from adacode_cli.imaging.inventory_items import IPTC, Item

RESOURCES = "Photoshop resources"
_FOLLOWING = frozenset(
    {
        *(1000, 1001, 1002, 1003, 1005, 1007, 1009),  # printing, resolution, display, border
        *range(1010, 1025),  # background, printing, halftones, transfer functions, state of layers
        *(1026, 1028, 1030),  # groups of layers, IPTC (which is an item of its own), quality of JPEG
        *(1033, 1036),  # thumbnails
        *(1037, 1041, 1042, 1043, 1044, 1046, 1047, 1049),  # light, an untagged picture, effects, numbers of layers
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
_HEAD = struct.Struct(">4sH")
_HEAD_BYTES = 16
# Photoshop writes some with nothing in them: bytes of the resource that count what is in it.
_COUNTS = {1032: slice(12, 16), 1034: slice(0, 1), 1054: slice(0, 4)}


def items(block: bytes) -> Iterator[Item]:
    """The items of a block of image resources: the IPTC records in it, and what else it says."""
    if iptc.unwrapped(block):
        yield IPTC, ""
    for kind, said in _resources(block.removeprefix(iptc.SIGNATURE)):
        is_empty = not any(said[_COUNTS.get(kind, slice(None))]) if kind in _COUNTS else not said
        if kind not in _FOLLOWING and not is_empty:
            yield RESOURCES, "paths" if kind in _PATHS else _NAMES.get(kind, f"number {kind}")


def _resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, the first bytes of what it says) of each."""
    at = 0
    while at + 12 <= len(block) and block[at : at + 4] in (b"8BIM", b"MeSa", b"PHUT", b"AgHg", b"DCSR"):
        _, kind = _HEAD.unpack_from(block, at)
        at += 6 + (block[at + 6] + 2) // 2 * 2  # its name: a length, letters, and a blank to an even number
        if at + 4 > len(block):
            return
        (length,) = struct.unpack_from(">I", block, at)
        yield kind, block[at + 4 : at + 4 + min(length, _HEAD_BYTES)]
        at += 4 + length + length % 2
