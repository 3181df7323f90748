"""Metadata in a JPEG file are taken out of it before Pillow sees it.

Pillow puts EXIF segments together by copying all the former ones for each, reads EXIF values that overlap, and refuses
a picture for a block that it cannot read. Here each segment is looked at once.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from adacode_cli.imaging import iptc
from adacode_cli.imaging.metadata import ICC_DAMAGED, Metadata

_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"
XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
"""With which an APP1 segment begins that holds XMP."""

_ICC_HEAD = len(_ICC) + 2
_APP1, _APP2, _APP13, _COMMENT = 0xE1, 0xE2, 0xED, 0xFE
SCAN = 0xDA
"""The marker with which pixels begin."""

_KEPT_APPS = (0xE0, 0xEE)  # JFIF: resolution; Adobe: what the colours are
_WITHOUT_BODY = frozenset({0, *range(0xD0, 0xDA), 0xC8, *range(0xF0, 0xFE)})
_FILLING = re.compile(rb"\xff+")


def taken_apart(file: bytes) -> tuple[bytes, Metadata, tuple[str, ...]]:
    """(the file without segments that do not matter to its pixels, what they said, what is lost)."""
    kept, found, scan_at = _segments(file)
    profile = _profile(found[_APP2])
    lost = [ICC_DAMAGED] if profile is None and found[_APP2] else []
    if any(found[_COMMENT]):
        lost.append("its comment")
    block = b"".join(body[len(_EXIF) :] for body in found[_APP1] if body.startswith(_EXIF))
    packets = [body for body in found[_APP1] if body.startswith(XMP_HEAD)]
    packet = bytes(packets[-1][len(XMP_HEAD) :]) if packets else None
    records = next((said for body in reversed(found[_APP13]) if (said := iptc.unwrapped(bytes(body)))), None)
    bare = b"".join([file[:2], *kept, file[scan_at:]]) if any(found.values()) or scan_at > 2 else file
    return bare, Metadata(profile, block or None, packet or None, records), tuple(lost)


def segments(file: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, its place, the end of what it begins) of each segment, also of those that are a marker alone.

    The last one has the marker SCAN, and for its place where the pixels begin, whatever is there.
    """
    at = 2
    while (at := file.find(b"\xff", at)) >= 0:
        filling = _FILLING.match(file, at)
        place = filling.end() if filling is not None else at + 1
        marker = file[place] if place < len(file) else SCAN
        if marker in _WITHOUT_BODY:
            yield marker, place, place + 1
            at = place + 1
            continue
        if marker == SCAN or marker < 0xC0 or place + 3 > len(file):
            break
        end = place + 1 + max(2, struct.unpack_from(">H", file, place + 1)[0])
        if end > len(file):
            break
        yield marker, place, end
        at = end
    yield SCAN, at if at >= 0 else len(file), len(file)


def _segments(file: bytes) -> tuple[list[bytes], dict[int, list[bytes]], int]:
    """(segments to keep, bodies of the others by marker, where the pixels begin), as far as there are segments."""
    kept: list[bytes] = []
    found: dict[int, list[bytes]] = {_APP1: [], _APP2: [], _APP13: [], _COMMENT: []}
    scan_at = len(file)
    for marker, at, end in segments(file):
        if marker == SCAN:
            scan_at = at
        elif marker in found:
            body = file[at + 3 : end]
            if marker not in (_APP2, _APP13) or body.startswith((_ICC, iptc.SIGNATURE)):
                found[marker].append(body)
        elif marker and (not 0xE0 <= marker <= 0xEF or marker in _KEPT_APPS):
            kept.append(b"\xff" + file[at:end])
    return kept, found, scan_at


def _profile(parts: list[bytes]) -> bytes | None:
    """The parts in the order of their numbers, if as many are there as each of them says."""
    ordered = sorted(part for part in parts if len(part) > _ICC_HEAD)
    if not ordered or ordered[0][_ICC_HEAD - 1] != len(ordered):
        return None
    return b"".join(part[_ICC_HEAD:] for part in ordered)
