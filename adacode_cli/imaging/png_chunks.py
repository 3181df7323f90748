"""Metadata in PNG chunks, written directly after the header, where all readers expect colour and resolution.

Pillow writes 8-bit PNG files and `png_codec` deeper ones; neither supports all metadata of photographs. IPTC has no
chunk of its own: it is written as hexadecimal text, as by ImageMagick and as exiftool expects it.

Metadata are removed before a library reads a file: a few bytes can decompress to a gigabyte, Pillow and OpenCV
refuse images because of invalid texts, and OpenCV's library writes warnings on profiles to the terminal.

The inventory leaves out: the chunks in `_FOLLOWING`, which describe the storage and colours of pixels (the readers
handle these) and the time of the last change; texts in which ImageMagick stores times of the old file; and the
background of an image without alpha, which is not visible.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import imagecodecs

from adacode_cli.imaging import jpeg_segments, photoshop
from adacode_cli.imaging.cicp import LIGHT_LEVELS, Cicp
from adacode_cli.imaging.image import Item, lost_after_first
from adacode_cli.imaging.inventory import (
    COLOR_PROFILE,
    CREDENTIALS,
    EXIF,
    FRAMES,
    FURTHER_PACKET,
    IPTC,
    XMP,
    trailing_items,
)
from adacode_cli.imaging.iso_boxes import Bytes
from adacode_cli.imaging.metadata import ICC_DAMAGED, TITLES, Metadata, over_limit_text
from adacode_cli.imaging.resolution import CENTIMETRE, NO_UNIT, Resolution, resolution, whole
from adacode_cli.imaging.tiff_tags import items_of_exif
from adacode_cli.limits import MAX_METADATA_BYTES

_SIGNATURE_BYTES = 8
_HEADER_END = 33  # the signature and IHDR, which has one length
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_RAW_PROFILE = b"Raw profile type "
_IPTC_KEYWORD = _RAW_PROFILE + b"iptc"
_RAW_PROFILES = {
    **dict.fromkeys((_RAW_PROFILE + b"icc", _RAW_PROFILE + b"icm"), COLOR_PROFILE),
    **dict.fromkeys((_RAW_PROFILE + b"exif", _RAW_PROFILE + b"APP1"), EXIF),
    **dict.fromkeys((_RAW_PROFILE + b"iptc", _RAW_PROFILE + b"8bim"), IPTC),
    _RAW_PROFILE + b"xmp": XMP,
}
_MAX_KEYWORD = 79
_RGB = 0  # in cICP: the samples are RGB, not luma and chroma
LIGHT_LEVEL_CHUNKS = (b"cLLI", b"mDCV", b"cLLi", b"mDCv")
"""The kinds of chunks on the brightness of an image or of the display on which it was made."""

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# Chunks that describe the pixels; other ancillary chunks (with a small first letter) are removed.
_KEPT = frozenset({b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"pHYs"})
_ANIMATION, _FRAME = b"acTL", b"fcTL"
_FOLLOWING = frozenset(
    {
        *(b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"sBIT", b"hIST", b"pHYs", b"tIME"),
        *(b"acTL", b"fcTL", b"iDOT", b"vpAg", b"caNv", b"orNT"),
    }
)
_TIMES = frozenset({b"date:create", b"date:modify", b"date:timestamp"})
_COLOR_TYPE_AT = 25
_MAX_U31 = 2**31 - 1


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def chunks(file: Bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, begin, end) of each chunk; the last one may end after the end of the file."""
    at, size = _SIGNATURE_BYTES, len(file)
    while at + 12 <= size:
        length, kind = struct.unpack(">I4s", file[at : at + 8])
        yield kind, at, at + 12 + length
        at += 12 + length


def is_sound(file: bytes, start: int, end: int) -> bool:
    """Whether the checksum of the chunk in `file[start:end]` is correct. Takes a few milliseconds for 18 MB."""
    # The library accepts a memoryview too, although its annotations do not include it.
    covered: Any = memoryview(file)[start + 4 : end - 4]
    return bool(imagecodecs.deflate_crc32(covered) == int.from_bytes(file[end - 4 : end], "big"))


def inserted(png: bytes, metadata: Metadata) -> bytes:
    """A PNG file without metadata, with chunks for all of `metadata` added."""
    parts = [png[:_HEADER_END]]
    if metadata.cicp is not None:
        cicp = metadata.cicp
        parts.append(chunk(b"cICP", bytes([cicp.primaries, cicp.transfer, _RGB, cicp.full_range])))
    if metadata.icc is not None:
        parts.append(chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.resolution is not None:
        parts.append(chunk(b"pHYs", _physical(metadata.resolution)))
    if metadata.exif is not None:
        parts.append(chunk(b"eXIf", metadata.exif))
    if metadata.xmp is not None:
        parts.append(chunk(b"iTXt", _XMP_KEYWORD + b"\0\0\0\0\0" + metadata.xmp))
    if metadata.iptc is not None:
        parts.append(
            chunk(b"zTXt", _IPTC_KEYWORD + b"\0\0" + zlib.compress(_in_hexadecimal(photoshop.wrapped(metadata.iptc))))
        )
    return b"".join([*parts, png[_HEADER_END:]])


def resolution_in(info: dict[Any, Any]) -> Resolution | None:
    """The resolution in the pHYs chunk, from the `info` of Pillow."""
    if "dpi" in info:
        return resolution([Fraction(round(value / 0.0254), 100) for value in info["dpi"]], CENTIMETRE)
    return resolution(info["aspect"], NO_UNIT) if "aspect" in info else None


class _Text(NamedTuple):
    """The content of a text chunk, and whether it is compressed."""

    body: bytes
    is_packed: bool


def taken_apart(file: bytes) -> tuple[bytes, Metadata, tuple[str, ...]]:
    """(the file without chunks that do not affect its pixels, their metadata, the losses).

    Raises ValueError if the checksum of the pixels, or of a chunk before them, is wrong.
    """
    kept, bodies, texts, num_frames = _sorted_out(file)
    profile, block = bodies.get(b"iCCP"), bodies.get(b"eXIf")
    lost = [*lost_after_first(num_frames)]
    icc, exif, packet, records = None, block, None, None
    if profile is not None:
        icc = _unpacked(profile.partition(b"\0")[2][1:], MAX_METADATA_BYTES["icc"]) or None
        if icc is None or len(icc) > MAX_METADATA_BYTES["icc"]:
            lost.append(ICC_DAMAGED if icc is None else over_limit_text("icc"))
            icc = None
    if (text := texts.pop(_XMP_KEYWORD, None)) is not None:
        packet = _text_content(text, MAX_METADATA_BYTES["xmp"], "xmp", lost)
    profiles = {key: texts.pop(key) for key in list(texts) if key in _RAW_PROFILES}
    icc = _raw_profile(profiles, "icc", lost, "icc", "icm") if profile is None else icc
    exif = exif or _raw_profile(profiles, "exif", lost, "exif")
    packet = packet or _raw_profile(profiles, "xmp", lost, "xmp")
    if not exif or not packet:
        exif, packet = _of_app1(profiles, exif, packet, lost)
    records = _raw_profile(profiles, "iptc", lost, "iptc", "8bim")
    lost += [LIGHT_LEVELS] if not bodies.keys().isdisjoint(LIGHT_LEVEL_CHUNKS) else []
    cicp = cicp_in(bodies.get(b"cICP"))
    lost += ["an invalid cICP colour description"] if b"cICP" in bodies and cicp is None else []
    records = photoshop.unwrapped(records) if records is not None else None
    metadata = Metadata(icc or None, exif or None, packet or None, records, cicp=cicp)
    return b"".join(kept), metadata, tuple(lost)


def cicp_in(body: bytes | None) -> Cicp | None:
    """The CICP in a cICP chunk; None if there is none or it is invalid."""
    if body is None or len(body) != 4 or body[2] != _RGB or body[3] > 1:
        return None
    return Cicp(body[0], body[1], body[3] == 1)


def _sorted_out(file: bytes) -> tuple[list[bytes], dict[bytes, bytes], dict[bytes, _Text], int]:
    """(parts of the file to keep, last content of each kind of chunk, last text of each keyword, number of frames)."""
    kept, bodies = [file[:_SIGNATURE_BYTES]], dict[bytes, bytes]()
    is_animated, num_frames, beside = False, 0, 1
    texts: dict[bytes, _Text] = {}
    rest, pixels = _SIGNATURE_BYTES, False
    for kind, at, end in chunks(file):
        if end > len(file) or kind == b"IEND":
            break
        rest = end
        if not kind[0] & 0x20 or kind in _KEPT:
            kept.append(file[at:end])
            pixels = pixels or kind == b"IDAT"
            if kind == b"IDAT" and not is_sound(file, at, end):  # Pillow looks at those of the other chunks
                raise ValueError("the checksum of its chunk IDAT is wrong")
        elif kind == _ANIMATION:
            is_animated = is_animated or not pixels
        elif kind == _FRAME:
            num_frames += 1
            beside = beside if pixels else 0  # Before the pixels, it declares that they are a frame themselves.
        elif kind in (b"cICP", b"iCCP", b"eXIf", *LIGHT_LEVEL_CHUNKS, *_TEXTS):
            body = file[at + 8 : end - 4]
            if not pixels and not is_sound(file, at, end):
                raise ValueError(f"the checksum of its chunk {kind.decode()} is wrong")
            if kind not in _TEXTS:
                bodies[kind] = body
            elif (named := _text(kind, body)) is not None:
                texts[named[0]] = named[1]
    return [*kept, file[rest:]], bodies, texts, num_frames + beside if is_animated else 1


def _text(kind: bytes, body: bytes) -> tuple[bytes, _Text] | None:
    """(keyword, text); None for a damaged or empty one."""
    keyword, _, content = body.partition(b"\0")
    if not 0 < len(keyword) <= _MAX_KEYWORD:
        return None
    if kind == b"tEXt":
        return keyword, _Text(content, is_packed=False)
    if kind == b"zTXt":
        return keyword, _Text(content[1:], is_packed=True)
    parts = content[2:].split(b"\0", 2)  # language, keyword in it, text
    return (keyword, _Text(parts[2], is_packed=content[0] != 0)) if len(parts) == 3 else None


def _text_content(text: _Text, limit: int, name: str, lost: list[str]) -> bytes | None:
    """The text; None, with a loss of the field `name`, if it is damaged or longer than `limit` bytes."""
    content = _unpacked(text.body, limit) if text.is_packed else text.body
    if content is not None and len(content) <= limit:
        return content
    lost.append(f"damaged {TITLES[name]}" if content is None else over_limit_text(name))
    return None


def _unpacked(packed: bytes, limit: int) -> bytes | None:
    """The decompressed data, at most `limit` + 1 bytes; None for data that are not valid zlib or truncated."""
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(packed, limit + 1)
    except zlib.error:
        return None
    return data if unpacking.eof or len(data) > limit else None


def _raw_profile(texts: dict[bytes, _Text], name: str, lost: list[str], *kinds: str) -> bytes | None:
    """The hexadecimal data of "Raw profile type …" that other programs write, for the first of `kinds`."""
    for kind in kinds:
        text = texts.get(_RAW_PROFILE + kind.encode())
        # Two digits for each byte, at most one line end for 32 digits, and the lines before them.
        limit = 2 * MAX_METADATA_BYTES[name] + MAX_METADATA_BYTES[name] // 16 + 1024
        content = _text_content(text, limit, name, lost) if text is not None else None
        if content is not None:
            lines = content.split(b"\n", 3)  # an empty one, the kind, the length, and the digits
            try:
                block = bytes.fromhex(b"".join(lines[3:]).decode("ascii"))
            except ValueError:
                lost.append(f"damaged {TITLES[name]}")
                continue
            if len(block) <= MAX_METADATA_BYTES[name]:
                return block
            lost.append(over_limit_text(name))
    return None


def _of_app1(
    texts: dict[bytes, _Text], exif: bytes | None, packet: bytes | None, lost: list[str]
) -> tuple[bytes | None, bytes | None]:
    """(EXIF, XMP), each from the text with a JPEG's APP1 segment if there is none yet."""
    body = _raw_profile(texts, "exif", lost, "APP1")
    if body is None or not body.startswith(jpeg_segments.XMP_HEAD):
        return exif or body, packet
    xmp = body[len(jpeg_segments.XMP_HEAD) :]
    if not packet and len(xmp) > MAX_METADATA_BYTES["xmp"]:
        lost.append(over_limit_text("xmp"))
        xmp = b""
    return exif, packet or xmp


def _physical(value: Resolution) -> bytes:
    by_centimetre = value.per(CENTIMETRE)
    pair = (value.across, value.down) if by_centimetre is None else (by_centimetre[0] * 100, by_centimetre[1] * 100)
    if by_centimetre is None and pair[0] != pair[1] and max(n.denominator for n in pair) > 1:
        pair = (pair[0] * 1000, pair[1] * 1000)  # Without a unit, only the ratio is significant.
    return struct.pack(">2IB", *(whole(n, _MAX_U31) for n in pair), by_centimetre is not None)


def _in_hexadecimal(block: bytes) -> bytes:
    digits = block.hex()
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    return "\n".join(["", "iptc", f"{len(block):8}", *lines, ""]).encode()


def items(file: bytes) -> Iterator[Item]:
    """The items of a PNG file. Raises struct.error if it is truncated."""
    end, packets = _SIGNATURE_BYTES, 0
    has_alpha = bool(file[_COLOR_TYPE_AT] & 4)
    for kind, at, end in chunks(file):
        if kind == b"IEND":
            break
        has_alpha = has_alpha or kind == b"tRNS"
        if kind in _TEXTS:
            keyword = file[at + 8 : end - 4][: _MAX_KEYWORD + 1].partition(b"\0")[0]
            packets += keyword == _XMP_KEYWORD
            yield from _items_of_text(keyword)
        elif kind == b"eXIf":
            yield from items_of_exif(file[at + 8 : end - 4])
        elif kind == b"iCCP":
            yield COLOR_PROFILE, ""
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
    yield from trailing_items(file, end)


def _items_of_text(keyword: bytes) -> Iterator[Item]:
    if keyword == _XMP_KEYWORD:
        yield XMP, ""
    elif keyword in _RAW_PROFILES:
        yield _RAW_PROFILES[keyword], ""
    elif 0 < len(keyword) <= _MAX_KEYWORD and keyword not in _TIMES:
        yield "texts", keyword.decode("latin-1")
