"""Boxes, the structure of JPEG 2000, AVIF and HEIC files: a length, a kind of four letters, and content."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Protocol, TypeVar

BytesLike = TypeVar("BytesLike", bytes, memoryview)

_MAX_BOXES = 10_000  # in one box


class Bytes(Protocol):
    """Bytes, a memoryview of them, or a file that is read piece by piece (`headers.Opened`)."""

    def __len__(self) -> int:
        """The number of bytes."""
        ...

    def __getitem__(self, where: slice, /) -> bytes | memoryview:
        """A slice, which is shorter at the end of the data."""
        ...


def boxes(data: BytesLike) -> Iterator[tuple[bytes, BytesLike]]:
    """(four letters, content) of each box, up to a damaged one; slices of a memoryview are not copied."""
    for kind, start, end in placed(data, 0, len(data)):
        yield kind, data[start:end]


def placed(data: Bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(four letters, begin of the content, its end) of each box from `at` to `end`, up to a damaged one."""
    for _ in range(_MAX_BOXES):
        if at + 8 > end:
            return
        beginning = data[at : at + 16]
        length, kind = struct.unpack_from(">I4s", beginning)
        head = 8
        if length == 1 and at + 16 <= end:
            (length,) = struct.unpack_from(">Q", beginning, 8)
            head = 16
        elif length == 0:  # to the end
            length = end - at
        if length < head or at + length > end:
            return
        yield kind, at + head, at + length
        at += length


def box(kind: bytes, body: bytes) -> bytes:
    """One box."""
    if len(body) + 8 < 1 << 32:
        return struct.pack(">I4s", len(body) + 8, kind) + body
    return struct.pack(">I4sQ", 1, kind, len(body) + 16) + body
