"""Small files that ask for far more memory or time than they have bytes, each made in milliseconds.

Compressed zeros are one piece repeated: a deflate stream with full flushes and an LZMA2 stream with resets may hold the
same bytes any number of times.
"""

from __future__ import annotations

import io
import lzma
import struct
import zlib

import numpy as np
from PIL import Image

from adacode_cli.codes import packing

_PIECE = 1 << 21


def pages_sharing_metadata(num_pages: int = 9_000, num_bytes: int = 500_000) -> bytes:
    """A TIFF of pages of one pixel; all name the same EXIF directory, which holds one long value."""
    head = 8
    value_at = head
    exif_at = value_at + num_bytes
    exif = struct.pack("<HHHII", 1, 37510, 7, num_bytes, value_at) + struct.pack("<I", 0)
    return _tiff_of_pixels(num_pages, bytes(num_bytes) + exif, extra=((34665, 4, 1, exif_at),))


def many_pages(num_pages: int = 9_999) -> bytes:
    """A TIFF of that many pages of one pixel."""
    return _tiff_of_pixels(num_pages, b"", extra=())


def _tiff_of_pixels(num_pages: int, shared: bytes, extra: tuple[tuple[int, int, int, int], ...]) -> bytes:
    """Little-endian, `shared` behind the header, then a byte that is every page's pixel, then the directories."""
    pixel_at = 8 + len(shared)
    first = pixel_at + 2
    tags = sorted(
        (
            (256, 3, 1, 1),
            (257, 3, 1, 1),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (273, 4, 1, pixel_at),
            (277, 3, 1, 1),
            (278, 3, 1, 1),
            (279, 4, 1, 1),
            *extra,
        )
    )
    entries = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    size = len(entries) + 4
    directories = [
        entries + struct.pack("<I", first + (page + 1) * size if page + 1 < num_pages else 0)
        for page in range(num_pages)
    ]
    return struct.pack("<2sHI", b"II", 42, first) + shared + b"\x80\0" + b"".join(directories)


def tiff_strip(stream: bytes, compression: int, side: int = 16, num_strips: int = 1) -> bytes:
    """A TIFF of 16-bit grey, `side` pixels a side, whose strips all are the same `stream`."""
    offsets_at = 8 + len(stream) + len(stream) % 2
    counts_at = offsets_at + 4 * num_strips
    at = counts_at + 4 * num_strips
    shared = (8, len(stream)) if num_strips == 1 else (offsets_at, counts_at)
    tags = (
        (256, 4, 1, side),
        (257, 4, 1, side),
        (258, 3, 1, 16),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (273, 4, num_strips, shared[0]),
        (277, 3, 1, 1),
        (278, 4, 1, side // num_strips),
        (279, 4, num_strips, shared[1]),
    )
    parts = [struct.pack("<2sHI", b"II", 42, at), stream, bytes(len(stream) % 2)]
    parts += [struct.pack("<I", value) for value in (*[8] * num_strips, *[len(stream)] * num_strips)]
    parts.append(struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4))
    return b"".join(parts)


def deflated_zeros(num_bytes: int) -> bytes:
    """A zlib stream of `num_bytes` zeros or a few more."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(_PIECE)) + packer.flush(zlib.Z_FULL_FLUSH)
    count = -(-num_bytes // _PIECE)
    checksum = (count * _PIECE % 65521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\xda" + piece * count + b"\x03\0" + struct.pack(">I", checksum)


def xz_zeros(num_bytes: int) -> bytes:
    """Several .xz streams, one behind the other, of `num_bytes` zeros together or a few more."""
    return lzma.compress(bytes(_PIECE), preset=9) * -(-num_bytes // _PIECE)


def lzma2_zeros(num_bytes: int, chain: dict[str, int]) -> bytes:
    """A raw LZMA2 stream of exactly `num_bytes` zeros."""

    def chunk(size: int) -> bytes:
        return lzma.compress(bytes(size), lzma.FORMAT_RAW, filters=[chain])[:-1]

    rest = num_bytes % _PIECE
    return chunk(_PIECE) * (num_bytes // _PIECE) + (chunk(rest) if rest else b"") + b"\0"


def codes_with_alpha(side: int = 14_000) -> bytes:
    """A file of codes, right in all it says, with side × side pixels of coverage in 32 bits."""
    return _codes(side, lzma2_zeros(side * side * 4, packing._PLANE_FILTER))


def codes_that_lie(side: int = 14_000) -> bytes:
    """A file of codes that claims side × side pixels of coverage and holds a few bytes."""
    return _codes(side, lzma2_zeros(100, packing._PLANE_FILTER))


def _codes(side: int, alpha: bytes) -> bytes:
    cells = -(-side // 64)
    name, books = b"nearest", (2,)
    header = struct.pack("<BBIIIIBBH16sB", 32, 2, side, side, cells, cells, 64, 1, 128, bytes(16), len(name))
    sections = (
        lzma2_zeros(cells * cells, packing._record_filter(books)),
        lzma2_zeros(cells * cells * 2, packing._PLANE_FILTER),
        alpha,
    )
    body = header + name + struct.pack("<I", *books)
    body += b"".join(struct.pack("<I", len(section)) + section for section in sections)
    start = struct.pack("<8sHI", b"\x89ADC\r\n\x1a\n", 1, 14 + len(body) + 4)
    return start + body + struct.pack("<I", zlib.crc32(start + body))


def webp_of_bytes(side: int = 16383) -> bytes:
    """34 bytes that are a WebP without loss of side × side pixels of one colour: no code has more than one word."""
    bits = _Bits()
    bits.put(side - 1, 14)
    bits.put(side - 1, 14)
    bits.put(0, 1 + 3)  # no alpha; version 0
    bits.put(0, 1 + 1 + 1)  # no transform, no colour cache, one group of prefix codes
    for _ in range(5):
        bits.put(1, 1)  # a simple code
        bits.put(0, 1)  # of one symbol
        bits.put(0, 1)  # in one bit
        bits.put(0, 1)  # 0
    body = b"\x2f" + bits.bytes()
    body += bytes(max(0, 14 - len(body)))
    return _riff(_chunk(b"VP8L", body))


def webp_animation(side: int = 16383, num_frames: int = 3) -> bytes:
    """A canvas of side × side pixels and frames of one pixel."""
    still = webp_of_bytes(1)[12:]
    header = struct.pack("<B3x", 2) + _three(side - 1) + _three(side - 1)
    frame = bytes(6) + _three(0) + _three(0) + _three(100) + b"\0" + still
    parts = [_chunk(b"VP8X", header), _chunk(b"ANIM", bytes(6)), *[_chunk(b"ANMF", frame)] * num_frames]
    return _riff(b"".join(parts))


def jpeg_scans(num_scans: int = 20_000, size: tuple[int, int] = (1000, 800)) -> bytes:
    """A progressive JPEG to which scans are added in which nothing changes."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0]), np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", progressive=True, quality=1)
    whole = buffer.getvalue()
    at = whole.rindex(b"\xff\xda")
    # A scan of the highest coefficients, in which all blocks end at once, in runs of 32,767 as the code 0xE0 has them.
    table = b"\xff\xc4" + struct.pack(">HB", 2 + 1 + 16 + 1, 0x10) + bytes([1, *[0] * 15]) + b"\xe0"
    scan = b"\xff\xda" + struct.pack(">HBBB", 8, 1, whole[at + 5], 0) + bytes([63, 63, 0])
    return whole[:-2] + table + (scan + bytes(4)) * num_scans + b"\xff\xd9"


def _riff(body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _three(value: int) -> bytes:
    return struct.pack("<I", value)[:3]


class _Bits:
    """Numbers, their lowest bits first."""

    def __init__(self) -> None:
        self._value, self._length = 0, 0

    def put(self, value: int, length: int) -> None:
        self._value |= value << self._length
        self._length += length

    def bytes(self) -> bytes:
        return self._value.to_bytes(-(-self._length // 8), "little")
