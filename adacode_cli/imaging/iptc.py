"""IPTC records in the wrapping that JPEG and PNG keep them in: one resource of a Photoshop image resource block.

The other resources of such a block describe the old picture (its thumbnail, its resolution, a digest of the records)
or how Photoshop showed it; they are not carried.
"""

from __future__ import annotations

import struct

SIGNATURE = b"Photoshop 3.0\0"
RESOURCE = 0x0404
_HEAD = struct.Struct(">4sH")


def wrapped(records: bytes) -> bytes:
    """An image resource block that holds the records alone."""
    return _HEAD.pack(b"8BIM", RESOURCE) + b"\0\0" + struct.pack(">I", len(records)) + records + bytes(len(records) % 2)


def unwrapped(block: bytes) -> bytes | None:
    """The records in an image resource block, or bytes that are records already; None where there are none."""
    block = block.removeprefix(SIGNATURE)
    if block.startswith(b"\x1c"):
        return block
    at = 0
    while block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
        _, kind = _HEAD.unpack_from(block, at)
        name_bytes = (block[at + 6] + 2) // 2 * 2  # its length, its letters, and a blank to an even number
        at += 6 + name_bytes
        if at + 4 > len(block):
            break
        (length,) = struct.unpack_from(">I", block, at)
        if kind == RESOURCE:
            return block[at + 4 : at + 4 + length] or None
        at += 4 + length + length % 2
    return None


def in_whole_words(records: bytes) -> bytes:
    """Padded for TIFF, which counts them in words of four bytes."""
    return records + bytes(-len(records) % 4)


def without_padding(records: bytes) -> bytes | None:
    """As far as records follow one another; None where there is none. All of it where a length is a long one."""
    at = 0
    while records[at : at + 1] == b"\x1c" and at + 5 <= len(records):
        (length,) = struct.unpack_from(">H", records, at + 3)
        if length >= 0x8000:
            return records
        at += 5 + length
    return records[:at] or None
