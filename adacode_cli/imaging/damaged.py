"""What is whole of a damaged file, completed to a file that is read as any other: for who accepts damaged pictures.

Nothing here decodes samples, except that the packed rows of a PNG are unpacked as far as they can be, within the size
that the header claims. What is missing stays as the decoder leaves it: grey in a JPEG, black in PNG and BMP. The three
functions are what codecs offer as `Codec.complete`.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from adacode_cli.imaging.jpeg_segments import SCAN, markers
from adacode_cli.imaging.png_chunks import chunk, is_sound
from adacode_cli.imaging.refusals import check_size
from adacode_cli.limits import MAX_SCANS

_END_OF_JPEG = b"\xff\xd9"
_LEAST_SCAN_BYTES = 64  # Of fewer a decoder makes a few blocks, the first of which may be noise.
_SIGNATURE_BYTES, _HEADER_END = 8, 33  # of a PNG; its header has one length
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by the kind of colours
_DEPTHS = (1, 2, 4, 8, 16)
# Adam7: the first column and row of each pass, and the steps from one to the next.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_NEEDED, _OF_ANIMATIONS = (b"IHDR", b"PLTE", b"tRNS"), (b"fcTL", b"fdAT")
_MOST_FILTER = 4
_PIECE_BYTES = 4096
_BMP_HEADER_AT, _BMP_PIXELS_AT = 14, 10
_LEAST_BMP_HEADER = 40


def complete_jpeg(data: bytes, _max_pixels: int, _name: str) -> tuple[bytes, str]:
    """A JPEG, cut in front of a segment that is not whole, with an end: the decoder fills what it does not find."""
    scans, end, pixels_at = 0, len(data), len(data)
    for kind, at, segment_end in markers(data):
        if segment_end > len(data):
            end = at
            break
        if kind == SCAN:
            scans, pixels_at = scans + 1, min(pixels_at, segment_end)
    if not 0 < scans <= MAX_SCANS or end - pixels_at < _LEAST_SCAN_BYTES:
        raise ValueError("nothing of its pixels is there")
    whole = data[:end].rstrip(b"\xff")
    return whole + (b"" if whole.endswith(_END_OF_JPEG) else _END_OF_JPEG), "what is missing is grey or coarse"


def complete_png(data: bytes, max_pixels: int, name: str) -> tuple[bytes, str]:
    """A PNG of its chunks with right check sums; rows that are missing are filled with zeros."""
    before, packed = _chunks(data)
    if not is_sound(data, _SIGNATURE_BYTES, _HEADER_END):
        raise ValueError("its header is damaged")  # With another width or depth every row would be noise.
    width, height, depth, colours, *_, interlaced = struct.unpack(">IIBBBBB", data[16 : _HEADER_END - 4])
    check_size(width, height, max_pixels, name=name)
    if colours not in _SAMPLES or depth not in _DEPTHS or interlaced > 1:
        raise ValueError("its header makes no sense")
    passes = _passes(width, height, depth * _SAMPLES[colours], interlaced=bool(interlaced))
    expected = sum(num_rows * row_bytes for num_rows, row_bytes in passes)
    found = _unpacked(packed, expected)
    rows, start, whole = np.zeros(expected, np.uint8), 0, 0
    for num_rows, row_bytes in passes:
        read = min(num_rows, max(0, len(found) - start) // row_bytes)
        stored = np.frombuffer(found, np.uint8, read * row_bytes, min(start, len(found))).reshape(read, row_bytes)
        part = rows[start : start + stored.size].reshape(read, row_bytes)
        part[:] = stored
        part[:, 0][stored[:, 0] > _MOST_FILTER] = 0
        start, whole = start + num_rows * row_bytes, whole + read
    if not whole:
        raise ValueError("nothing of its pixels can be unpacked")
    num_rows = sum(count for count, _ in passes)
    become = "all of its rows were read, some may be wrong"
    if whole < num_rows:
        share = f"{whole * 100 // num_rows} %" if interlaced else f"{whole} of {height} rows"
        become = f"{share} of it were read, what is missing is black"
    return b"".join([*before, chunk(b"IDAT", zlib.compress(rows.data, 1)), chunk(b"IEND", b"")]), become


def _chunks(data: bytes) -> tuple[list[bytes], bytes]:
    """(the file without its pixels and what is damaged beside them, the packed pixels)."""
    if data[12:16] != b"IHDR" or len(data) < _HEADER_END:
        raise ValueError("its header is missing")
    beside, packed = [data[:_SIGNATURE_BYTES]], []
    at = _SIGNATURE_BYTES
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if not kind.isalpha() or kind == b"IEND" or (end > len(data) and kind != b"IDAT"):
            break
        body = data[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            packed.append(body)
        elif kind not in _OF_ANIMATIONS and (kind in _NEEDED or is_sound(data, at, end)):
            beside.append(chunk(kind, body))
        at = end
    return beside, b"".join(packed)


def _passes(width: int, height: int, pixel_bits: int, *, interlaced: bool) -> list[tuple[int, int]]:
    """(rows, bytes of each, with that of its filter) in the order in which they are stored."""
    found = []
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            found.append((rows, 1 + (columns * pixel_bits + 7) // 8))
    return found


def _unpacked(packed: bytes, expected: int) -> bytes:
    """What can be unpacked, `expected` bytes at the most."""
    unpacking, found, size = zlib.decompressobj(), [], 0
    pieces = [packed[at : at + _PIECE_BYTES] for at in range(0, len(packed), _PIECE_BYTES)]
    for piece in pieces:
        before = unpacking.copy()
        try:
            found.append(unpacking.decompress(piece, expected - size))
        except zlib.error:
            found.append(_first_of(before, piece, expected - size))
            break
        size += len(found[-1])
        if unpacking.eof or size >= expected:
            break
    return b"".join(found)[:expected]


def _first_of(unpacking: zlib._Decompress, piece: bytes, room: int) -> bytes:
    """What a piece gives in front of the byte at which it cannot be unpacked any more."""
    found = b""
    for at in range(len(piece)):
        if len(found) >= room:
            break
        try:
            found += unpacking.decompress(piece[at : at + 1], room - len(found))
        except zlib.error:
            break
    return found


def complete_bmp(data: bytes, max_pixels: int, name: str) -> tuple[bytes, str]:
    """A BMP without packing, with zeros behind it."""
    header_bytes, width, height, _, bits, packing = struct.unpack_from("<IiiHHI", data, _BMP_HEADER_AT)
    if header_bytes < _LEAST_BMP_HEADER:
        raise ValueError("a header of an old kind")
    check_size(abs(width), abs(height), max_pixels, name=name)
    (start,) = struct.unpack_from("<I", data, _BMP_PIXELS_AT)
    size = start + (abs(width) * bits + 31) // 32 * 4 * abs(height)
    if packing not in (0, 3) or not start < len(data) < size:
        raise ValueError("nothing of its pixels is there")
    share = (len(data) - start) * 100 // (size - start)
    if not share:
        raise ValueError("nothing of its pixels is there")
    return data + bytes(size - len(data)), f"{share} % of it were read, what is missing is black"
