"""Metadata in a JPEG 2000 file: libraries read and write its codestream, and this module the boxes around it.

Profile and resolution are in the header box; EXIF, XMP and IPTC are in boxes of their own, with identifiers that
exiftool and other programs know.

The inventory leaves out: boxes on the storage of pixels (sizes, depth, colours, palettes), on the size of prints and on
requirements for readers; and comments with the name of the program that wrote them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction

from adacode_cli.imaging import photoshop
from adacode_cli.imaging.image import Item
from adacode_cli.imaging.inventory import (
    COLOR_PROFILE,
    COMMENT,
    CREDENTIALS,
    FURTHER_PACKET,
    GEOGRAPHY,
    IMAGES,
    IPTC,
    XMP,
    trailing_items,
)
from adacode_cli.imaging.iso_boxes import box, boxes, placed
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.resolution import CENTIMETRE, Resolution, resolution
from adacode_cli.imaging.tiff_tags import items_of_exif

SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
CODESTREAM = b"\xff\x4f\xff\x51"
_IDENTIFIERS = {
    "exif": b"JpgTiffExif->JP2",
    "xmp": bytes.fromhex("be7acfcb97a942e89c71999491e3afac"),
    "iptc": bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"),
}
_RESTRICTED_PROFILE, _ANY_PROFILE = 2, 3
_BOXES_OF_JP2 = "JPEG 2000 boxes"
_UUIDS = {
    _IDENTIFIERS["iptc"]: IPTC,
    bytes.fromhex("09a14e97c0b442e0bebf36df6f0ce36f"): IPTC,
    bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03"): GEOGRAPHY,
    bytes.fromhex("d8fec3d61b0e483c92975828877ec481"): CREDENTIALS,
    _IDENTIFIERS["xmp"]: XMP,
}
_EXIF_UUIDS = (_IDENTIFIERS["exif"], bytes.fromhex("0537cdab9d0c4431a72afa561f2a113e"))
_PHOTOSHOP_UUID = bytes.fromhex("2c4c0100850440b9a03e562148d6dfeb")
_STORAGE_OF_JP2 = frozenset({b"jP  ", b"ftyp", b"rreq", b"free", b"skip", b"mdat", b"void"})
_STORAGE_IN_HEADER = frozenset({b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef", b"res ", b"lbl "})
_END = b"\xff\xd9"
_COMMENT_MARKER, _TILE = 0xFF64, 0xFF90
_PROGRAMS = (b"Created by", b"Creator", b"Kakadu", b"Kdu-", b"LEAD", b"ER Mapper", b"JasPer", b"Aware")


def metadata_in(file: bytes) -> Metadata:
    """The metadata in the boxes of a file; empty for a bare codestream or damaged boxes."""
    blocks: dict[str, bytes] = {}
    icc: bytes | None = None
    value: Resolution | None = None
    for kind, body in boxes(file):
        if kind == b"uuid":
            for name, identifier in _IDENTIFIERS.items():
                if body.startswith(identifier) and len(body) > len(identifier):
                    blocks.setdefault(name, body[len(identifier) :])
        elif kind == b"jp2h":
            for inner, content in boxes(body):
                if inner == b"colr" and content[:1] in (b"\2", b"\3") and icc is None:
                    icc = content[3:] or None
                elif inner == b"res ":
                    value = _resolution(content)
    return Metadata(icc, blocks.get("exif"), blocks.get("xmp"), blocks.get("iptc"), value)


def with_metadata(file: bytes, metadata: Metadata, *, channels: int) -> bytes:
    """A JP2 file without metadata, with `metadata` added. With an even number of channels, the last one is alpha."""
    parts = []
    for kind, body in boxes(file):
        if kind == b"jp2c":
            parts += [
                box(b"uuid", _IDENTIFIERS[name] + data) for name in _IDENTIFIERS if (data := getattr(metadata, name))
            ]
        parts.append(box(kind, _header(body, metadata, channels) if kind == b"jp2h" else body))
    return b"".join(parts)


def _header(body: bytes, metadata: Metadata, channels: int) -> bytes:
    parts = [(kind, content) for kind, content in boxes(body) if kind not in (b"res ", b"cdef")]
    if metadata.icc is not None:
        parts = [(kind, content) for kind, content in parts if kind != b"colr"]
        # Baseline readers support matrix and curve profiles; others are only allowed in the extended format.
        method = _ANY_PROFILE if b"A2B0" in metadata.icc[:1024] else _RESTRICTED_PROFILE
        parts.append((b"colr", bytes([method, 0, 0]) + metadata.icc))
    if channels % 2 == 0:
        # (channel, 0 for colour or 1 for alpha, number of the colour or 0 for all)
        kinds = [(channel, 0, channel + 1) for channel in range(channels - 1)] + [(channels - 1, 1, 0)]
        parts.append((b"cdef", struct.pack(f">{3 * channels + 1}H", channels, *(n for kind in kinds for n in kind))))
    if metadata.resolution is not None and (by_centimetre := metadata.resolution.per(CENTIMETRE)) is not None:
        across, down = (_sixteen_bits(value * 100) for value in by_centimetre)
        parts.append((b"res ", box(b"resc", struct.pack(">4H2b", *down[:2], *across[:2], down[2], across[2]))))
    return b"".join(box(kind, content) for kind, content in parts)


def _resolution(content: bytes) -> Resolution | None:
    for kind, body in boxes(content):
        if kind == b"resc" and len(body) >= 10:
            down, down_under, across, across_under, down_ten, across_ten = struct.unpack_from(">4H2b", body)
            if down_under and across_under and max(abs(down_ten), abs(across_ten)) < 20:
                pair = (
                    Fraction(across, across_under) * Fraction(10) ** across_ten / 100,
                    Fraction(down, down_under) * Fraction(10) ** down_ten / 100,
                )
                return resolution(pair, CENTIMETRE)
    return None


def _sixteen_bits(value: Fraction) -> tuple[int, int, int]:
    """(numerator, denominator, power of ten) nearest to a value, in 16 bits each."""
    power = 0
    while value > 65535:
        value, power = value / 10, power + 1
    near = value.limit_denominator(max(1, min(65535, int(65535 / value)))) if value else Fraction(1)
    return max(1, near.numerator), near.denominator, power


def items(file: bytes) -> Iterator[Item]:
    """The items of a JPEG 2000 file or bare codestream. Raises struct.error if it is truncated."""
    if file.startswith(CODESTREAM):
        yield from _of_codestream(file, 0, len(file))
        end = file.rfind(_END)
        yield from trailing_items(file, end + len(_END)) if end >= 0 else ()
        return
    packets, images, end = 0, 0, 0
    for kind, start, end in placed(file, 0, len(file)):
        if kind == b"uuid":
            packets += file.startswith(_IDENTIFIERS["xmp"], start)
            yield from _of_uuid(file, start, end)
        elif kind == b"jp2h":
            for inner, begin, _ in placed(file, start, end):
                if inner == b"colr" and file[begin : begin + 1] in (b"\2", b"\3"):
                    yield COLOR_PROFILE, ""
                elif inner not in _STORAGE_IN_HEADER:
                    yield _BOXES_OF_JP2, _name(inner)
        elif kind == b"jp2c":
            images += 1
            yield from _of_codestream(file, start, end)
        elif kind not in _STORAGE_OF_JP2:
            yield _BOXES_OF_JP2, _name(kind)
    if packets > 1:
        yield FURTHER_PACKET, ""
    if images > 1:
        yield IMAGES, str(images - 1)
    yield from trailing_items(file, end)


def _of_uuid(file: bytes, start: int, end: int) -> Iterator[Item]:
    identifier = file[start : start + 16]
    if identifier in _EXIF_UUIDS:
        yield from items_of_exif(file[start + 16 : end])
    elif identifier == _PHOTOSHOP_UUID:
        yield from photoshop.items(file[start + 16 : end])
    elif identifier in _UUIDS:
        yield _UUIDS[identifier], ""
    else:
        yield _BOXES_OF_JP2, f"uuid {identifier.hex()[:8]}"


def _of_codestream(file: bytes, at: int, end: int) -> Iterator[Item]:
    """The comments in the main header, except names of programs."""
    at += 2
    while at + 6 <= end:
        marker, length, kind = struct.unpack_from(">3H", file, at)
        if marker == _TILE or marker < 0xFF00 or length < 2:
            return
        text = file[at + 6 : at + 2 + length]
        if marker == _COMMENT_MARKER and (kind != 1 or not text.startswith(_PROGRAMS)) and text.strip(b"\0 "):
            yield COMMENT, ""
        at += 2 + length


def _name(kind: bytes) -> str:
    return kind.decode("latin-1").strip()
