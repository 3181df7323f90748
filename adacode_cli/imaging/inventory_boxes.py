"""What the boxes of a JPEG 2000 file say; those of AVIF and HEIC are alike and are read in `inventory_heif`.

What follows the picture, and is no item: boxes that say how the pixels are stored (sizes, depth, colours, palettes),
how large they are printed, or what a reader must be able to do; and comments that name the program which wrote them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from adacode_cli.imaging import inventory_photoshop
from adacode_cli.imaging.inventory_items import (
    COLOR_PROFILE,
    COMMENT,
    CREDENTIALS,
    FURTHER_PACKET,
    GEOGRAPHY,
    IPTC,
    PICTURES,
    XMP,
    Item,
    behind,
)
from adacode_cli.imaging.inventory_tags import items_of_exif
from adacode_cli.imaging.iso_boxes import placed

_BOXES_OF_JP2 = "JPEG 2000 boxes"
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_UUIDS = {
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): IPTC,
    bytes.fromhex("09a14e97c0b442e0bebf36df6f0ce36f"): IPTC,
    bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03"): GEOGRAPHY,
    bytes.fromhex("d8fec3d61b0e483c92975828877ec481"): CREDENTIALS,
    _XMP_UUID: XMP,
}
_EXIF_UUIDS = (b"JpgTiffExif->JP2", bytes.fromhex("0537cdab9d0c4431a72afa561f2a113e"))
_PHOTOSHOP_UUID = bytes.fromhex("2c4c0100850440b9a03e562148d6dfeb")
_STORAGE_OF_JP2 = frozenset({b"jP  ", b"ftyp", b"rreq", b"free", b"skip", b"mdat", b"void"})
_STORAGE_IN_HEADER = frozenset({b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef", b"res ", b"lbl "})
_END = b"\xff\xd9"
_CODESTREAM, _COMMENT_MARKER, _TILE = b"\xff\x4f\xff\x51", 0xFF64, 0xFF90
_PROGRAMS = (b"Created by", b"Creator", b"Kakadu", b"Kdu-", b"LEAD", b"ER Mapper", b"JasPer", b"Aware")


def items(file: bytes) -> Iterator[Item]:
    """The items of a JPEG 2000 file or bare codestream. Raises struct.error where it breaks off."""
    if file.startswith(_CODESTREAM):
        yield from _of_codestream(file, 0, len(file))
        end = file.rfind(_END)
        yield from behind(file, end + len(_END)) if end >= 0 else ()
        return
    packets, pictures, end = 0, 0, 0
    for kind, start, end in placed(file, 0, len(file)):
        if kind == b"uuid":
            packets += file.startswith(_XMP_UUID, start)
            yield from _of_uuid(file, start, end)
        elif kind == b"jp2h":
            for inner, begin, _ in placed(file, start, end):
                if inner == b"colr" and file[begin : begin + 1] in (b"\2", b"\3"):
                    yield COLOR_PROFILE, ""
                elif inner not in _STORAGE_IN_HEADER:
                    yield _BOXES_OF_JP2, _name(inner)
        elif kind == b"jp2c":
            pictures += 1
            yield from _of_codestream(file, start, end)
        elif kind not in _STORAGE_OF_JP2:
            yield _BOXES_OF_JP2, _name(kind)
    if packets > 1:
        yield FURTHER_PACKET, ""
    if pictures > 1:
        yield PICTURES, str(pictures - 1)
    yield from behind(file, end)


def _of_uuid(file: bytes, start: int, end: int) -> Iterator[Item]:
    identifier = file[start : start + 16]
    if identifier in _EXIF_UUIDS:
        yield from items_of_exif(file[start + 16 : end])
    elif identifier == _PHOTOSHOP_UUID:
        yield from inventory_photoshop.items(file[start + 16 : end])
    elif identifier in _UUIDS:
        yield _UUIDS[identifier], ""
    else:
        yield _BOXES_OF_JP2, f"uuid {identifier.hex()[:8]}"


def _of_codestream(file: bytes, at: int, end: int) -> Iterator[Item]:
    """Comments in its main header, except for names of programs."""
    at += 2
    while at + 6 <= end:
        marker, length, kind = struct.unpack_from(">3H", file, at)
        if marker == _TILE or marker < 0xFF00 or length < 2:
            return
        said = file[at + 6 : at + 2 + length]
        if marker == _COMMENT_MARKER and (kind != 1 or not said.startswith(_PROGRAMS)) and said.strip(b"\0 "):
            yield COMMENT, ""
        at += 2 + length


def _name(kind: bytes) -> str:
    return kind.decode("latin-1").strip()
