"""The ICC profile in a JPEG XL codestream (ISO/IEC 18181-1, annex on ICC profiles).

It is stored as commands, of which each predicts bytes, and the differences to what they predict; both are compressed.
"""

from __future__ import annotations

import struct

from adacode_cli.imaging.jxl_bits import Bits
from adacode_cli.imaging.jxl_entropy import Numbers

MAX_BYTES = 1 << 20
"""The most bytes of a profile, and of its commands and differences: each takes a few microseconds."""

_NUM_CONTEXTS, _HEADER_BYTES = 41, 128
_LETTERS, _DIGITS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"), frozenset(b"0123456789.,")
_OTHER_TAG, _CURVES, _PRIMARIES, _FIRST_TAG = 1, 2, 3, 4
_TAGS = tuple(b"cprt wtpt bkpt rXYZ gXYZ bXYZ kXYZ rTRC gTRC bTRC kTRC chad desc chrm dmnd dmdd lumi".split())
_OF_20_BYTES = frozenset({b"rXYZ", b"gXYZ", b"bXYZ", b"kXYZ", b"wtpt", b"bkpt", b"lumi"})
_HAS_OFFSET, _HAS_SIZE = 64, 128
_INSERT, _SHUFFLE_2, _SHUFFLE_4, _PREDICT, _XYZ, _FIRST_TYPE = 1, 2, 3, 4, 10, 16
_TYPES = (b"XYZ ", b"desc", b"text", b"mluc", b"para", b"curv", b"sf32", b"gbd ")


def profile_at(codestream: bytes, at: int) -> bytes:
    """The profile that begins at the bit `at` of a codestream. Raises ValueError or IndexError if it is damaged."""
    bits = Bits(codestream, at)
    size = bits.long()
    if size > MAX_BYTES:
        raise ValueError("too large")
    numbers = Numbers(bits, _NUM_CONTEXTS)
    stored = bytearray()
    for index in range(size):
        context = 0
        if index > _HEADER_BYTES:
            context = 1 + _kind(stored[-1]) + 8 * _kind_of_second(stored[-2])
        stored.append(numbers.next(context))
    return _Profile(bytes(stored)).decoded()


def _kind(byte: int) -> int:
    if byte in _LETTERS or byte in _DIGITS:
        return 0 if byte in _LETTERS else 1
    if byte < 16:
        return {0: 2, 1: 3}.get(byte, 4)
    return 6 if byte == 255 else 5 if byte > 240 else 7


def _kind_of_second(byte: int) -> int:
    if byte in _LETTERS or byte in _DIGITS:
        return 0 if byte in _LETTERS else 1
    return 2 if byte < 16 else 3 if byte > 240 else 4


class _Stream:
    """Bytes that are taken in turn. Raises IndexError at their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at >= len(self._data)

    def take(self, count: int) -> bytes:
        self._at += count
        if self._at > len(self._data):
            raise IndexError("the profile ends too early")
        return self._data[self._at - count : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """An integer of seven bits in each byte, the lowest ones first."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("too large a number")

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)


class _Profile:
    """A profile that is put together from its commands and differences."""

    def __init__(self, stored: bytes) -> None:
        both = _Stream(stored)
        self._size, num_commands = both.number(), both.number()
        if self._size > MAX_BYTES:
            raise ValueError("too large")
        self._commands, self._data = _Stream(both.take(num_commands)), _Stream(both.rest())
        self._icc = bytearray()

    def decoded(self) -> bytes:
        self._add_header()
        if len(self._icc) < self._size:
            self._add_tags()
        while not self._commands.is_at_end and len(self._icc) <= self._size:
            self._add_content(self._commands.byte())
        if len(self._icc) != self._size:
            raise ValueError("a wrong size")
        return bytes(self._icc)

    def _add_header(self) -> None:
        expected = bytearray(_HEADER_BYTES)
        expected[:4] = struct.pack(">I", self._size)
        expected[8], expected[12:24], expected[36:40] = 4, b"mntrRGB XYZ ", b"acsp"
        expected[68:80] = struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
        for place in range(min(_HEADER_BYTES, self._size)):
            if place == 8:
                expected[80:84] = self._icc[4:8]
            elif place == 41:
                expected[41:44] = {0x41: b"PPL", 0x4D: b"SFT"}.get(self._icc[40], bytes(expected[41:44]))
            elif place == 42 and self._icc[40] == 0x53:
                expected[42:44] = {0x47: b"I ", 0x55: b"NW"}.get(self._icc[41], bytes(expected[42:44]))
            self._icc.append((expected[place] + self._data.byte()) & 255)

    def _add_tags(self) -> None:
        count = self._commands.number() - 1
        if count < 0:
            return
        self._icc += struct.pack(">I", count)
        start, size = _HEADER_BYTES + 12 * count, 0
        while not self._commands.is_at_end and len(self._icc) <= self._size:
            command = self._commands.byte()
            kind = command & 63
            if kind == 0:
                return
            tag = self._data.take(4) if kind == _OTHER_TAG else _tag(kind)
            start = self._commands.number() if command & _HAS_OFFSET else start + size
            size = 20 if tag in _OF_20_BYTES else size
            size = self._commands.number() if command & _HAS_SIZE else size
            entries = [(tag, start)]
            if kind == _CURVES:
                entries += [(b"gTRC", start), (b"bTRC", start)]
            elif kind == _PRIMARIES:
                entries += [(b"gXYZ", start + size), (b"bXYZ", start + 2 * size)]
            for name, at in entries:
                self._icc += name + struct.pack(">2I", at & 0xFFFFFFFF, size & 0xFFFFFFFF)

    def _add_content(self, command: int) -> None:
        if command == _INSERT:
            self._icc += self._data.take(self._commands.number())
        elif command in (_SHUFFLE_2, _SHUFFLE_4):
            self._icc += _shuffled(self._data.take(self._commands.number()), 2 if command == _SHUFFLE_2 else 4)
        elif command == _PREDICT:
            self._predict()
        elif command == _XYZ:
            self._icc += b"XYZ \0\0\0\0" + self._data.take(12)
        elif _FIRST_TYPE <= command < _FIRST_TYPE + len(_TYPES):
            self._icc += _TYPES[command - _FIRST_TYPE] + bytes(4)
        else:
            raise ValueError("an unknown command")

    def _predict(self) -> None:
        flags = self._commands.byte()
        width, order = (flags & 3) + 1, flags >> 2 & 3
        stride = self._commands.number() if flags & 16 else width
        if width == 3 or order == 3 or stride < width or 4 * stride > len(self._icc):
            raise ValueError("an impossible prediction")
        differences = self._data.take(self._commands.number())
        differences = _shuffled(differences, width) if width > 1 else differences
        for begin in range(0, len(differences), width):
            at = len(self._icc)
            first, second, third = (
                int.from_bytes(self._icc[at - n * stride : at - n * stride + width], "big") for n in (1, 2, 3)
            )
            value = (first, 2 * first - second, 3 * first - 3 * second + third)[order] & ((1 << 8 * width) - 1)
            expected = value.to_bytes(width, "big")
            part = differences[begin : begin + width]
            self._icc += bytes((a + b) & 255 for a, b in zip(expected, part, strict=False))


def _tag(kind: int) -> bytes:
    if kind in (_CURVES, _PRIMARIES):
        return b"rTRC" if kind == _CURVES else b"rXYZ"
    if kind - _FIRST_TAG >= len(_TAGS):
        raise ValueError("an unknown tag")
    return _TAGS[kind - _FIRST_TAG]


def _shuffled(data: bytes, width: int) -> bytes:
    """Bytes that were stored row by row, in the order of columns."""
    height = -(-len(data) // width)
    return bytes(data[at] for start in range(height) for at in range(start, len(data), height))
