"""Damaged LZW is found where a decoder that is written code by code finds it, and never reaches the library."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest

from adacode_cli.imaging.lzw import sound_length

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


def compressed(text: bytes, old_style: bool, clear_at: int = 4093) -> bytes:
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
        if entries >= clear_at:
            out.add(CLEAR, width_of(entries, old_style))
            table, entries, read = {bytes([i]): i for i in range(256)}, FIRST, 0
    if prefix:
        emit(table[prefix])
    out.add(END, width_of(entries, old_style))
    return out.packed()


def end_of_sound_bits(data: bytes, old_style: bool) -> int | None:
    """The bit at which a code begins that has no entry; None if there is none before the end."""
    order = "little" if old_style else "big"
    text = (np.unpackbits(np.frombuffer(data, np.uint8), bitorder=order) + ord("0")).tobytes().decode()
    at, read = 0, 0
    while True:
        entries = FIRST + max(read - 1, 0)
        width = width_of(min(entries, 4095), old_style)
        if at + width > len(text):
            return None
        digits = text[at : at + width]
        code = int(digits[::-1] if old_style else digits, 2)
        if code == END:
            return None
        if code == CLEAR:
            read = 0
        elif code > min(FIRST + read - 1, 4095):
            return at
        else:
            read += 1
        at += width


def texts() -> list[bytes]:
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.integers(-1, 2, 20_000)).astype(np.uint8).tobytes()
    return [b"", b"a", b"aaaaaaaa", bytes(9000), rng.integers(0, 256, 9_000, np.uint8).tobytes(), walk]


@STYLES
@pytest.mark.parametrize("text", texts(), ids=["nothing", "one", "same", "zeros", "noise", "walk"])
def test_what_is_whole_is_sound(text, old_style):
    data = compressed(text, old_style)
    assert bytes(imagecodecs.lzw_decode(data, out=len(text))) == text  # the library agrees on the format
    assert sound_length(data) == len(data)
    assert sound_length(data + b"\xff" * 50) == len(data) + 50
    if not old_style:
        by_library = imagecodecs.lzw_encode(text)
        assert sound_length(by_library) == len(by_library)


@STYLES
def test_damage_is_found_at_the_bit(old_style):
    rng = np.random.default_rng(1)
    wholes = [compressed(text, old_style) for text in texts() if len(text) > 100]
    places = []
    for case in range(60):
        data = bytearray(wholes[case % len(wholes)])
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(2, len(data))] ^= int(rng.integers(1, 256))
        at = end_of_sound_bits(bytes(data), old_style)
        assert sound_length(bytes(data)) == (len(data) if at is None else (at + 7) // 8)
        places.append(at)
    assert sum(at is not None for at in places) > 20  # damage of both kinds was tried
    assert None in places


@STYLES
def test_a_table_that_stays_full_is_sound(old_style):
    """Some programs go on with a full table; then every code has an entry."""
    data = Bits(old_style)
    data.add(CLEAR, 9)
    for read in range(6000):
        data.add(
            65 if read % 7 else min(FIRST + read - 1, 4095) if read else 65,
            width_of(min(FIRST + max(read - 1, 0), 4095), old_style),
        )
    packed = data.packed()
    assert end_of_sound_bits(packed, old_style) is None
    assert sound_length(packed) == len(packed)
