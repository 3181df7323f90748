"""Lossless compression of codes, mixing weights and alpha; decompression never exceeds the size of the array.

LZMA2 from the standard library compresses the bytes; their order makes this effective. The codes of one cell are
correlated, so they are stored together in a record whose length is a power of two, which lets LZMA keep statistics for
each position in it. Mixing weights of one basis are similar to their neighbours, so each basis is stored as a plane.
"""

from __future__ import annotations

import lzma
from typing import Any

import numpy as np
import numpy.typing as npt

_MAX_RECORD_BYTES = 16
_DICTIONARY_BYTES = 1 << 22

Bytes = npt.NDArray[np.uint8]


# The longest match of LZMA is 273 bytes and takes at least a third of a bit; zeros are compressed by 6,830.
_MAX_RATIO = 8000
_EXTRA_BYTES = 1 << 16


class PackingError(Exception):
    """The bytes are not what the packing functions write for arrays of this size."""


def check_ratio(data: bytes, size: int) -> None:
    """Raises PackingError if compressed data of this length cannot decompress to `size` bytes."""
    if size > len(data) * _MAX_RATIO + _EXTRA_BYTES:
        raise PackingError(f"{len(data)} compressed bytes are claimed to hold {size}")


def record_bytes(book_sizes: tuple[int, ...]) -> int:
    """Bytes of a cell's record: one for each basis, a second one for bases of more than 256 codes, and padding."""
    needed = len(book_sizes) + sum(size > 256 for size in book_sizes)
    if needed > _MAX_RECORD_BYTES:
        return -(-needed // _MAX_RECORD_BYTES) * _MAX_RECORD_BYTES
    return 1 << (needed - 1).bit_length()


def pack_codes(codes_KHW: npt.NDArray[np.uint16], book_sizes: tuple[int, ...]) -> bytes:
    """K×h×w codes → bytes: for each cell its low bytes, then the high bytes of the large bases."""
    large = [k for k, size in enumerate(book_sizes) if size > 256]
    cells = codes_KHW.reshape(len(book_sizes), -1)
    records = np.zeros((cells.shape[1], record_bytes(book_sizes)), np.uint8)
    records[:, : len(cells)] = (cells & 255).T
    records[:, len(cells) : len(cells) + len(large)] = (cells[large] >> 8).T
    return _compressed(records, _record_filter(book_sizes))


def unpack_codes(data: bytes, book_sizes: tuple[int, ...], rows: int, columns: int) -> npt.NDArray[np.uint16]:
    """Inverse of `pack_codes`. Raises PackingError, also for codes that their basis does not have."""
    num, large = len(book_sizes), [k for k, size in enumerate(book_sizes) if size > 256]
    length = record_bytes(book_sizes)
    flat = _decompressed(data, rows * columns * length, _record_filter(book_sizes))
    records = flat.reshape(rows * columns, length)
    cells = records[:, :num].T.astype(np.uint16)
    cells[large] |= records[:, num : num + len(large)].T.astype(np.uint16) << 8
    if (cells.max(1, initial=0) >= np.array(book_sizes)).any():
        raise PackingError("a code is beyond its codebook")
    if records[:, num + len(large) :].any():
        raise PackingError("the padding of a record is not zero")
    return cells.reshape(num, rows, columns)


def pack_planes(values: npt.NDArray[Any]) -> bytes:
    """An array of unsigned whole numbers → bytes: all lowest bytes, then the next, then the highest."""
    return _compressed(_byte_planes(values), _PLANE_FILTER)


def unpack_planes(data: bytes, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Inverse of `pack_planes`. Raises PackingError."""
    kind = np.dtype(dtype)
    count = int(np.prod(shape))
    planes = _decompressed(data, count * kind.itemsize, _PLANE_FILTER).reshape(kind.itemsize, count)
    return np.ascontiguousarray(planes.T).view(kind.newbyteorder("<")).astype(kind, copy=False).reshape(shape)


def pack_steps(steps_KHW: npt.NDArray[np.int16]) -> bytes:
    """K×h×w mixing weights → bytes; small numbers of either sign get a high byte of zero."""
    signed = steps_KHW.astype(np.int32)
    return pack_planes(((signed << 1) ^ (signed >> 31)).astype(np.uint16))


def unpack_steps(data: bytes, shape: tuple[int, int, int]) -> npt.NDArray[np.int16]:
    """Inverse of `pack_steps`. Raises PackingError."""
    folded = unpack_planes(data, shape, np.uint16).astype(np.int32)
    return ((folded >> 1) ^ -(folded & 1)).astype(np.int16)


def pack_alpha(alpha_HW: npt.NDArray[Any]) -> bytes:
    """Alpha of any of the three sample types → bytes, without loss: differences along each row."""
    bits = alpha_HW.view(f"u{alpha_HW.dtype.itemsize}")
    return pack_planes(np.diff(bits, axis=1, prepend=bits.dtype.type(0)))


def unpack_alpha(data: bytes, shape: tuple[int, int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Inverse of `pack_alpha`. Raises PackingError, also for values outside of a float sample's range."""
    kind = np.dtype(dtype)
    differences = unpack_planes(data, shape, f"u{kind.itemsize}")
    if not differences.flags.writeable:  # With one plane they are the decompressed bytes themselves.
        differences = differences.copy()
    alpha = np.cumsum(differences, axis=1, dtype=differences.dtype, out=differences).view(kind)
    if kind == np.float32 and not ((alpha >= 0) & (alpha <= 1)).all():
        raise PackingError("alpha is not between 0 and 1")
    return alpha


_PLANE_FILTER = {"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": _DICTIONARY_BYTES, "lc": 3, "lp": 0, "pb": 0}


def _record_filter(book_sizes: tuple[int, ...]) -> dict[str, int]:
    place_bits = min(record_bytes(book_sizes), _MAX_RECORD_BYTES).bit_length() - 1
    return _PLANE_FILTER | {"lc": 0, "lp": place_bits, "pb": place_bits}


def _byte_planes(values: npt.NDArray[Any]) -> Bytes:
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
    return little.view(np.uint8).reshape(-1, values.dtype.itemsize).T


def _compressed(values: Bytes, chain: dict[str, int]) -> bytes:
    return lzma.compress(np.ascontiguousarray(values).tobytes(), lzma.FORMAT_RAW, filters=[chain])


def _decompressed(data: bytes, size: int, chain: dict[str, int]) -> Bytes:
    """Exactly `size` bytes, and never more than that in memory."""
    reader = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chain])
    try:
        unpacked = reader.decompress(data, max_length=size)
        # The end marker of the stream may follow the last byte.
        extra = b"" if reader.eof else reader.decompress(b"", max_length=1)
    except (lzma.LZMAError, EOFError) as error:
        raise PackingError(str(error)) from error
    if len(unpacked) != size or extra or not reader.eof or reader.unused_data:
        raise PackingError("the compressed data have the wrong length")
    return np.frombuffer(unpacked, np.uint8)
