"""PNG: libpng (imagecodecs) reads all depths; Pillow writes 8 bits per channel, and this module 16 bits.

Pillow supports more than 8 bits only for grey, and accepts images whose data end too early; OpenCV cannot write grey
with alpha. Therefore this module has a writer, which is short. Pillow reads the metadata of a file.

The rows of a damaged file are decompressed as far as possible, within the size that the header claims.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL.PngImagePlugin import PngImageFile

from adacode_cli.imaging import pillow, png_chunks
from adacode_cli.imaging.codec import Codec, Header, Page, one_page
from adacode_cli.imaging.image import PALETTE_NOTE, Raster, Samples
from adacode_cli.imaging.iso_boxes import Bytes
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.png_chunks import chunk, is_sound
from adacode_cli.imaging.refusals import check_size, not_supported, parsing

MAX_SIDE = 1_000_000
"""The longest side in pixels that libpng reads."""

_DEPTH_AT = 24
_GREY_TYPES = (0, 4)
_HEADER_CHUNKS = {b"iCCP": "icc", b"eXIf": "exif"}
_XMP = b"XML:com.adobe.xmp\0"
_SIGNATURE_BYTES, _HEADER_END = 8, 33  # of a PNG, whose header has a fixed length
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
_DEPTHS = (1, 2, 4, 8, 16)
# Adam7: the first column and row of each pass, and the steps from one to the next.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_NEEDED, _OF_ANIMATIONS = (b"IHDR", b"PLTE", b"tRNS"), (b"fcTL", b"fdAT")
_MAX_FILTER = 4
_PIECE_BYTES = 4096
_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BAND_ROWS = 64
_CHUNK_BYTES = 1 << 20
_LEVEL = 4  # Level 6 takes a third more time, and photographs do not become smaller.


def read(data: bytes, max_pixels: int, *, name: str) -> list[Raster]:
    """The image of a PNG. Raises InputError."""
    with parsing("png", name=name):
        data, extracted, lost = png_chunks.taken_apart(data)
        image = pillow.opened(PngImageFile, data)
    check_size(*image.size, max_pixels, name=name)
    is_for_libpng = max(image.size) <= MAX_SIDE
    if not is_for_libpng and data[_DEPTH_AT] > 8:
        raise not_supported(f"a PNG of 16 bits with more than {MAX_SIDE:,} pixels per side", name=name)
    with parsing("png", name=name):
        if not is_for_libpng:
            image.load()
        metadata, lost_of_metadata = pillow.metadata_of(image, extracted, png_chunks.resolution_in)
        lost += lost_of_metadata
        if not is_for_libpng:
            return [pillow.loaded(image, metadata, lost, depth=data[_DEPTH_AT])]
        notes = (PALETTE_NOTE,) if image.mode in ("P", "PA") else ()
        return [Raster(*decoded(data), metadata, notes=notes, lost=lost)]


def decoded(data: bytes) -> tuple[Samples, Samples | None]:
    """(H×W or H×W×3, H×W alpha or None), uint8 or uint16, of a PNG of any kind; transparent colours are alpha 0.

    Of an animation, it is the default image. Raises EOFError or ValueError for a damaged file.
    """
    try:
        samples = imagecodecs.png_decode(data)
    except imagecodecs.PngError as error:
        if "too small" in str(error) or "Not enough" in str(error):
            raise EOFError("truncated") from error
        raise ValueError(str(error)) from error
    except UnicodeDecodeError as error:  # The library cannot decode its own message.
        raise ValueError from error
    if samples.ndim == 2:
        return samples, None
    has_alpha = samples.shape[2] in (2, 4)
    pixels = samples[..., 0] if samples.shape[2] < 3 else samples[..., :3]
    return np.ascontiguousarray(pixels), np.ascontiguousarray(samples[..., -1]) if has_alpha else None


def header(file: Bytes) -> Header | None:
    """The header, from the chunks before the pixels."""
    width, height, bits, kind = struct.unpack(">IIBB", file[16:26])
    metadata: set[str] = set()
    cicp = None
    for chunk_kind, at, end in png_chunks.chunks(file):
        if chunk_kind in (b"IDAT", b"IEND"):
            break
        if chunk_kind in _HEADER_CHUNKS:
            metadata.add(_HEADER_CHUNKS[chunk_kind])
        elif chunk_kind == b"cICP":
            cicp = png_chunks.cicp_in(bytes(file[at + 8 : end - 4]))
        elif chunk_kind == b"iTXt" and file[at + 8 : at + 8 + len(_XMP)] == _XMP:
            metadata.add("xmp")
    else:
        return None
    colors = 1 if kind in _GREY_TYPES else 3
    return Header(width, height, colors, max(bits, 8), metadata=frozenset(metadata), cicp=cicp)


def write(pages: Sequence[Page], _quality: int) -> bytes:
    """A PNG file of H×W×C samples, uint8 or uint16, C = 1 to 4, with all of its metadata. Raises OutputError."""
    samples, metadata = pages[0]
    is_deep = samples.dtype == np.uint16
    bare = encoded(samples) if is_deep else pillow.saved(pillow.image_of(samples), "png", {})
    return png_chunks.inserted(bare, metadata)


def encoded(samples: Samples) -> bytes:
    """A PNG file of H×W×C uint16 samples without metadata, C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha)."""
    height, width, channels = samples.shape
    parts = [_SIGNATURE, chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOR_TYPES[channels], 0, 0, 0))]
    stream = _compressed(samples)
    parts += [chunk(b"IDAT", stream[at : at + _CHUNK_BYTES]) for at in range(0, len(stream), _CHUNK_BYTES)]
    parts.append(chunk(b"IEND", b""))
    return b"".join(parts)


def _compressed(samples: Samples) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    row_bytes = samples.shape[1] * samples.shape[2] * 2
    above = np.zeros((1, row_bytes), np.uint8)
    pieces = []
    for top in range(0, samples.shape[0], _BAND_ROWS):
        band = samples[top : top + _BAND_ROWS].astype(">u2")
        rows = np.frombuffer(band.tobytes(), np.uint8).reshape(-1, row_bytes)
        pieces.append(packer.compress(_filtered(rows, above, samples.shape[2] * 2).tobytes()))
        above = rows[-1:]
    return b"".join([*pieces, packer.flush()])


def _filtered(rows: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8], step: int) -> npt.NDArray[np.uint8]:
    """Rows of bytes, each preceded by the number of the PNG filter with the smallest residuals.

    above: the row before the first one. step: bytes from one pixel to the next.
    """
    up = np.concatenate([above, rows[:-1]])
    left = np.zeros_like(rows)
    left[:, step:] = rows[:, :-step]
    corner = np.zeros_like(rows)
    corner[:, step:] = up[:, :-step]
    average = ((left.astype(np.uint16) + up) >> 1).astype(np.uint8)
    candidates = np.stack([rows, rows - left, rows - up, rows - average, rows - _paeth(left, up, corner)])
    # The usual heuristic: the smallest sum of absolute values of bytes as signed numbers.
    cost = np.minimum(candidates, -candidates).sum(axis=2, dtype=np.int64)
    best = cost.argmin(axis=0)
    return np.concatenate([best[:, None].astype(np.uint8), candidates[best, np.arange(len(rows))]], axis=1)


def _paeth(
    left: npt.NDArray[np.uint8], up: npt.NDArray[np.uint8], corner: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """The neighbour that is nearest to left + up − corner; ties in this order (PNG, section 9.4)."""
    a, b, c = (plane.astype(np.int16) for plane in (left, up, corner))
    to_left, to_up, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    use_left = (to_left <= to_up) & (to_left <= to_corner)
    return np.where(use_left, left, np.where(to_up <= to_corner, up, corner))


def _completed(data: bytes, max_pixels: int, name: str) -> tuple[bytes, str]:
    """A PNG of the chunks with correct checksums; missing rows are filled with zeros."""
    before, packed = _sound_chunks(data)
    if not is_sound(data, _SIGNATURE_BYTES, _HEADER_END):
        raise ValueError("its header is damaged")  # With a wrong width or depth, all rows would be noise.
    width, height, depth, colours, *_, interlaced = struct.unpack(">IIBBBBB", data[16 : _HEADER_END - 4])
    check_size(width, height, max_pixels, name=name)
    if colours not in _SAMPLES or depth not in _DEPTHS or interlaced > 1:
        raise ValueError("its header is invalid")
    passes = _passes(width, height, depth * _SAMPLES[colours], interlaced=bool(interlaced))
    expected = sum(num_rows * row_bytes for num_rows, row_bytes in passes)
    unpacked = _unpacked(packed, expected)
    rows, start, num_read = np.zeros(expected, np.uint8), 0, 0
    for num_rows, row_bytes in passes:
        read = min(num_rows, max(0, len(unpacked) - start) // row_bytes)
        stored = np.frombuffer(unpacked, np.uint8, read * row_bytes, min(start, len(unpacked))).reshape(read, row_bytes)
        part = rows[start : start + stored.size].reshape(read, row_bytes)
        part[:] = stored
        part[:, 0][stored[:, 0] > _MAX_FILTER] = 0
        start, num_read = start + num_rows * row_bytes, num_read + read
    if not num_read:
        raise ValueError("none of its pixels can be decompressed")
    num_rows = sum(count for count, _ in passes)
    effect = "all of its rows were read, but some may be wrong"
    if num_read < num_rows:
        share = f"{num_read * 100 // num_rows} %" if interlaced else f"{num_read} of {height} rows"
        effect = f"{share} of it were read, the missing part is black"
    return b"".join([*before, chunk(b"IDAT", zlib.compress(rows.data, 1)), chunk(b"IEND", b"")]), effect


def _sound_chunks(data: bytes) -> tuple[list[bytes], bytes]:
    """(the undamaged chunks other than pixels, the compressed pixels)."""
    if data[12:16] != b"IHDR" or len(data) < _HEADER_END:
        raise ValueError("its header is missing")
    others, packed = [data[:_SIGNATURE_BYTES]], []
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
            others.append(chunk(kind, body))
        at = end
    return others, b"".join(packed)


def _passes(width: int, height: int, pixel_bits: int, *, interlaced: bool) -> list[tuple[int, int]]:
    """(rows, bytes of each row including its filter byte) of each pass, in the stored order."""
    passes = []
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            passes.append((rows, 1 + (columns * pixel_bits + 7) // 8))
    return passes


def _unpacked(packed: bytes, expected: int) -> bytes:
    """The data that can be decompressed, at most `expected` bytes."""
    unpacking, parts, size = zlib.decompressobj(), [], 0
    pieces = [packed[at : at + _PIECE_BYTES] for at in range(0, len(packed), _PIECE_BYTES)]
    for piece in pieces:
        before = unpacking.copy()
        try:
            parts.append(unpacking.decompress(piece, expected - size))
        except zlib.error:
            parts.append(_first_of(before, piece, expected - size))
            break
        size += len(parts[-1])
        if unpacking.eof or size >= expected:
            break
    return b"".join(parts)[:expected]


def _first_of(unpacking: zlib._Decompress, piece: bytes, room: int) -> bytes:
    """The data of a piece before the byte at which decompression fails."""
    unpacked = b""
    for at in range(len(piece)):
        if len(unpacked) >= room:
            break
        try:
            unpacked += unpacking.decompress(piece[at : at + 1], room - len(unpacked))
        except zlib.error:
            break
    return unpacked


def _metadata_in(file: bytes) -> list[Metadata]:
    _, extracted, _ = png_chunks.taken_apart(file)
    return pillow.metadata_in(PngImageFile, file, extracted, png_chunks.resolution_in)


CODEC = Codec(read, write, _metadata_in, header, one_page(png_chunks.items), complete=_completed)
