"""Metadata as PNG chunks, put right behind the header, where every reader still expects colour and resolution.

Pillow writes 8-bit PNG files and `png16` deeper ones; neither takes all that a photograph may bring. IPTC has no chunk
of its own: it goes where ImageMagick puts it and exiftool looks for it, into text in hexadecimal.
"""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from typing import Any

from adacode_cli.imaging import iptc
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.resolution import CENTIMETRE, NO_UNIT, Resolution, resolution, whole

_HEADER_END = 33  # the signature and IHDR, which has one length
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_IPTC_KEYWORD = b"Raw profile type iptc"
_MAX_U31 = 2**31 - 1


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk with its length and check sum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def inserted(png: bytes, metadata: Metadata) -> bytes:
    """The PNG file with chunks for all of `metadata`; it has none of them yet."""
    parts = [png[:_HEADER_END]]
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
            chunk(b"zTXt", _IPTC_KEYWORD + b"\0\0" + zlib.compress(_in_hexadecimal(iptc.wrapped(metadata.iptc))))
        )
    return b"".join([*parts, png[_HEADER_END:]])


def resolution_in(info: dict[Any, Any]) -> Resolution | None:
    """From what Pillow says of a PNG file's pHYs."""
    if "dpi" in info:
        return resolution([Fraction(round(value / 0.0254), 100) for value in info["dpi"]], CENTIMETRE)
    return resolution(info["aspect"], NO_UNIT) if "aspect" in info else None


def raw_profile(info: dict[Any, Any], *kinds: str) -> bytes | None:
    """What other programs have written in hexadecimal under "Raw profile type …", for the first of `kinds` there."""
    for kind in kinds:
        text = info.get(f"Raw profile type {kind}")
        if isinstance(text, str | bytes):
            lines = (text if isinstance(text, str) else text.decode("latin-1")).split("\n")
            try:
                return bytes.fromhex("".join(lines[3:]))
            except ValueError:
                continue
    return None


def _physical(value: Resolution) -> bytes:
    by_centimetre = value.per(CENTIMETRE)
    pair = (value.across, value.down) if by_centimetre is None else (by_centimetre[0] * 100, by_centimetre[1] * 100)
    if by_centimetre is None and max(n.denominator for n in pair) > 1:
        pair = (pair[0] * 1000, pair[1] * 1000)  # Of a shape only the ratio counts.
    return struct.pack(">2IB", *(whole(n, _MAX_U31) for n in pair), by_centimetre is not None)


def _in_hexadecimal(block: bytes) -> bytes:
    digits = block.hex()
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    return "\n".join(["", "iptc", f"{len(block):8}", *lines, ""]).encode()
