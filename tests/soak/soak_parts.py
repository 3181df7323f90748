"""Where the parts of a file lie: segments, chunks, boxes, entries; and how to make lengths and sums right again.

A mutation that knows the parts gets further into a reader than one that flips bits. Nothing here checks a file; what
cannot be followed is left out.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

MAX_PARTS = 400
_CONTAINERS = frozenset((b"meta", b"iprp", b"ipco", b"jp2h", b"iinf", b"dinf", b"moov", b"trak", b"res ", b"asoc"))
_FULL = {b"meta": 4, b"iinf": 6}  # what stands before the boxes inside
_TIFF_STARTS = (b"II*\0", b"MM\0*")
_TIFF_ENTRY = 12


@dataclass(frozen=True)
class Part:
    """Bytes from `start` to `stop`; its length stands in `length_bytes` bytes at `length_at` (0 bytes: nowhere)."""

    start: int
    stop: int
    length_at: int = 0
    length_bytes: int = 0
    order: str = ">"


def parts_of(data: bytes, format: str) -> list[Part]:
    """The parts of a file of this format, entries of TIFF blocks inside it too."""
    found = _READERS[format](data) if format in _READERS else []
    return [*found, *_tiff_entries(data)][:MAX_PARTS]


def repaired(data: bytes, format: str) -> bytes:
    """The same file with sums and outer lengths that agree with its content, where the format has such."""
    if format == "png":
        return _with_png_sums(data)
    if format == "webp" and len(data) >= 12:
        return data[:4] + struct.pack("<I", (len(data) - 8) & 0xFFFFFFFF) + data[8:]
    if format == "bmp" and len(data) >= 6:
        return data[:2] + struct.pack("<I", len(data) & 0xFFFFFFFF) + data[6:]
    if format == "codes" and len(data) >= 18:
        body = data[:10] + struct.pack("<I", len(data) & 0xFFFFFFFF) + data[14:-4]
        return body + struct.pack("<I", zlib.crc32(body))
    return data


def _jpeg(data: bytes) -> list[Part]:
    found, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        length = struct.unpack_from(">H", data, at + 2)[0]
        stop = min(len(data), at + 2 + max(2, length))
        found.append(Part(at, stop, at + 2, 2))
        if data[at + 1] == 0xDA:  # what follows is a scan
            end = data.find(b"\xff\xd9", stop)
            end = len(data) if end < 0 else end
            found.append(Part(stop, end))
            at = end
            continue
        at = stop
    return found


def _png(data: bytes) -> list[Part]:
    found, at = [], 8
    while at + 12 <= len(data):
        stop = min(len(data), at + 12 + struct.unpack_from(">I", data, at)[0])
        found.append(Part(at, stop, at, 4))
        at = stop
    return found


def _with_png_sums(data: bytes) -> bytes:
    pieces, at = [data[:8]], 8
    while at + 12 <= len(data):
        stop = at + 8 + struct.unpack_from(">I", data, at)[0]
        if stop + 4 > len(data):
            break
        pieces += [data[at:stop], struct.pack(">I", zlib.crc32(data[at + 4 : stop]))]
        at = stop + 4
    return b"".join([*pieces, data[at:]])


def _webp(data: bytes) -> list[Part]:
    found, at = [], 12
    while at + 8 <= len(data):
        length = struct.unpack_from("<I", data, at + 4)[0]
        stop = min(len(data), at + 8 + length + length % 2)
        found.append(Part(at, stop, at + 4, 4, "<"))
        at = stop
    return found


def _boxes(data: bytes, at: int = 0, end: int | None = None, depth: int = 0) -> list[Part]:
    found: list[Part] = []
    end = len(data) if end is None else end
    while at + 8 <= end and len(found) < MAX_PARTS:
        length = struct.unpack_from(">I", data, at)[0]
        stop = end if length == 0 else min(end, at + max(8, length))
        found.append(Part(at, stop, at, 4))
        kind = data[at + 4 : at + 8]
        if kind in _CONTAINERS and depth < 6:
            found += _boxes(data, at + 8 + _FULL.get(kind, 0), stop, depth + 1)
        at = stop
    return found


def _jp2(data: bytes) -> list[Part]:
    found = _boxes(data) if data[:4] == b"\0\0\0\x0c" else []
    at = data.find(b"\xff\x4f\xff\x51") + 2
    while at >= 2 and at + 4 <= len(data) and data[at] == 0xFF and len(found) < MAX_PARTS:
        stop = min(len(data), at + 2 + struct.unpack_from(">H", data, at + 2)[0])
        if stop <= at + 2:
            break
        found.append(Part(at, stop, at + 2, 2))
        at = stop
    return found


def _bmp(data: bytes) -> list[Part]:
    return [Part(at, at + 4) for at in range(2, min(len(data) - 4, 122), 4)]


def _codes(data: bytes) -> list[Part]:
    """Sections: a length of four bytes and as many bytes; they follow a header whose end its fields tell."""
    if len(data) < 56:
        return []
    num, name = data[33], data[52]
    found, at = [Part(14 + i, 15 + i) for i in range(39)], 53 + name + 4 * num
    while at + 4 <= len(data) - 4:
        stop = min(len(data) - 4, at + 4 + struct.unpack_from("<I", data, at)[0])
        found.append(Part(at, stop, at, 4, "<"))
        at = stop
    return found


def _tiff_entries(data: bytes) -> list[Part]:
    """Entries of the directories of every classic TIFF block: of the file itself, or of its EXIF."""
    found: list[Part] = []
    for start in _TIFF_STARTS:
        order = "<" if start[:1] == b"I" else ">"
        at = data.find(start)
        while at >= 0 and len(found) < MAX_PARTS:
            found += _directories(data, at, order)
            at = data.find(start, at + 1)
    return found


def _directories(data: bytes, origin: int, order: str) -> list[Part]:
    found: list[Part] = []
    if origin + 8 > len(data):
        return found
    waiting, seen = [struct.unpack_from(f"{order}I", data, origin + 4)[0]], set()
    while waiting and len(seen) < 12:
        offset = waiting.pop()
        at = origin + offset
        if offset in seen or at + 2 > len(data):
            continue
        seen.add(offset)
        count = min(struct.unpack_from(f"{order}H", data, at)[0], 64)
        for number in range(count):
            entry = at + 2 + number * _TIFF_ENTRY
            if entry + _TIFF_ENTRY > len(data):
                break
            tag, _, _, value = struct.unpack_from(f"{order}HHII", data, entry)
            found.append(Part(entry, entry + _TIFF_ENTRY, entry + 4, 4, order))
            if tag in (0x8769, 0x8825, 0xA005, 0x014A):
                waiting.append(value)
        following = at + 2 + count * _TIFF_ENTRY
        if following + 4 <= len(data):
            waiting.append(struct.unpack_from(f"{order}I", data, following)[0])
    return found


_READERS = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "avif": _boxes,
    "heic": _boxes,
    "jp2": _jp2,
    "bmp": _bmp,
    "codes": _codes,
}
