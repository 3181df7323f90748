"""Damaged LZW ends where a decoder that is written code by code ends, and nothing behind it reaches the library."""

from __future__ import annotations

from collections import Counter

import imagecodecs
import numpy as np
import pytest

from adacode_cli.imaging.lzw import sound_part

CLEAR, END, FIRST = 256, 257, 258
STYLES = pytest.mark.parametrize("old_style", [False, True], ids=["TIFF 6", "old style"])


def width_of(entries: int, old_style: bool) -> int:
    """Bits of the code that is read while the table has so many entries."""
    return next(bits for bits in (9, 10, 11, 12) if entries + (0 if old_style else 1) < 1 << bits or bits == 12)


class Bits:
    """Codes one after the other, the highest bit first, or the lowest."""

    def __init__(self, old_style: bool) -> None:
        self.old_style, self.bits = old_style, ""

    def add(self, code: int, width: int) -> None:
        text = f"{code:0{width}b}"
        self.bits += text[::-1] if self.old_style else text

    def packed(self) -> bytes:
        bits = np.frombuffer(self.bits.encode(), np.uint8) - ord("0")
        return np.packbits(bits, bitorder="little" if self.old_style else "big").tobytes()


def compressed(text: bytes, old_style: bool, *, end: bool = True) -> bytes:
    out, table, prefix = Bits(old_style), {bytes([i]): i for i in range(256)}, b""
    entries, read = FIRST, 0  # as the decoder has them
    out.add(CLEAR, 9)

    def emit(code: int) -> None:
        nonlocal entries, read
        out.add(code, width_of(entries, old_style))
        read += 1
        entries = FIRST + read - 1

    for i in range(len(text)):
        longer = prefix + text[i : i + 1]
        if longer in table:
            prefix = longer
            continue
        emit(table[prefix])
        table[longer] = FIRST + read - 1
        prefix = text[i : i + 1]
        if entries >= 4093:
            out.add(CLEAR, width_of(entries, old_style))
            table, entries, read = {bytes([i]): i for i in range(256)}, FIRST, 0
    if prefix:
        emit(table[prefix])
    if end:
        out.add(END, width_of(entries, old_style))
    return out.packed()


def decompressed(data: bytes, old_style: bool) -> tuple[bytes, str]:
    """What the codes stand for, one by one; and why that ends: "end code", "no more codes" or "unknown code"."""
    order = "little" if old_style else "big"
    text = (np.unpackbits(np.frombuffer(data, np.uint8), bitorder=order) + ord("0")).tobytes().decode()
    at, out, previous, table = 0, bytearray(), b"", [bytes([i]) for i in range(256)] + [b"", b""]
    while True:
        width = width_of(min(len(table), 4095), old_style)
        if at + width > len(text):
            return bytes(out), "no more codes"
        digits = text[at : at + width]
        code = int(digits[::-1] if old_style else digits, 2)
        at += width
        if code == END:
            return bytes(out), "end code"
        if code == CLEAR:
            table, previous = table[:FIRST], b""
            continue
        if code > len(table) - (not previous) or code >= 4096:
            return bytes(out), "unknown code"
        entry = table[code] if code < len(table) else previous + previous[:1]
        if previous and len(table) < 4096:
            table.append(previous + entry[:1])
        out += entry
        previous = entry


def texts() -> list[bytes]:
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.integers(-1, 2, 20_000)).astype(np.uint8).tobytes()
    return [b"", b"a", b"aaaaaaaa", bytes(9000), rng.integers(0, 256, 9_000, np.uint8).tobytes(), walk]


def by_library(data: bytes, size: int = 1 << 20) -> bytes:
    return bytes(imagecodecs.lzw_decode(sound_part(data), out=size))


@STYLES
@pytest.mark.parametrize("text", texts(), ids=["nothing", "one", "same", "zeros", "noise", "walk"])
def test_what_is_whole_stays_whole(text, old_style):
    data = compressed(text, old_style)
    assert sound_part(data).startswith(data)
    assert by_library(data, len(text)) == text
    assert by_library(data + b"\xff" * 50) == text
    if not old_style:
        assert by_library(imagecodecs.lzw_encode(text)) == text


@STYLES
def test_damage_ends_at_the_code(old_style):
    rng = np.random.default_rng(1)
    wholes = [compressed(text, old_style) for text in texts() if len(text) > 100]
    reasons = Counter()
    for case in range(60):
        data = bytearray(wholes[case % len(wholes)])
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(2, len(data))] ^= int(rng.integers(1, 256))
        expected, reason = decompressed(bytes(data), old_style)
        assert by_library(bytes(data)) == expected
        reasons[reason] += 1
    assert reasons["unknown code"] > 20
    assert reasons["end code"] > 3


@STYLES
def test_without_an_end_code_the_last_code_is_read(old_style):
    """The library alone reads some of these wrongly, because it looks three bytes ahead."""
    rng = np.random.default_rng(2)
    for length in range(1, 120):
        text = rng.integers(0, 256, length, np.uint8).tobytes()
        bare = compressed(text, old_style, end=False)
        assert decompressed(bare, old_style) == (text, "no more codes")
        assert by_library(bare) == text


def test_a_table_that_stays_full_is_left_to_the_library():
    data = Bits(old_style=False)
    data.add(CLEAR, 9)
    for read in range(6000):
        data.add(65, width_of(min(FIRST + max(read - 1, 0), 4095), old_style=False))
    assert sound_part(data.packed()).startswith(data.packed())


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff", bytes(40)])
def test_what_does_not_begin_with_a_clear_code_is_refused_by_the_library(data):
    with pytest.raises(RuntimeError):
        by_library(data)


@STYLES
def test_a_clear_code_alone_is_nothing(old_style):
    assert by_library(compressed(b"", old_style, end=False)) == b""
