"""LZW of TIFF: how much of a compressed strip is sound. A library decompresses it (TIFF 6.0, section 13).

A damaged strip may contain codes for table entries that do not exist yet. For such a code, imagecodecs 2026.3.6 reads
memory that nothing has written: it crashes, or gives other pixels each time. Where these codes are is known without
decompressing: after a clear code, the width of each code and the size of the table follow from the number of codes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_CLEAR, _END, _FIRST_ENTRY, _MAX_ENTRIES = 256, 257, 258, 4096
_CODES_AT_ONCE = _MAX_ENTRIES - _FIRST_ENTRY + 2  # as many fill the table; programs then write a clear code

Numbers = npt.NDArray[np.int32]


def _widths(early: int) -> Numbers:
    """Bits of each code after a clear code; `early`: how many entries before a power of two they become wider."""
    entries = _FIRST_ENTRY + np.maximum(np.arange(_CODES_AT_ONCE) - 1, 0)  # in the table when the code is read
    widths: Numbers = np.clip(np.ceil(np.log2(entries + 1 + early)), 9, 12).astype(np.int32)
    return widths


_NEWEST_ENTRY: Final = np.minimum(_FIRST_ENTRY + np.arange(_CODES_AT_ONCE, dtype=np.int32) - 1, _MAX_ENTRIES - 1)
_WIDTHS: Final = _widths(1)
_WIDTHS_OF_OLD_STYLE: Final = _widths(0)
_WIDEST: Final = np.full_like(_WIDTHS, 12)


def sound_length(data: bytes) -> int:
    """The number of bytes at the beginning of `data` in which each code has a table entry; all of it if it is sound.

    Bytes behind the end code count as sound, because nothing reads them.
    """
    is_old_style = (
        len(data) > 1 and data[0] == 0 and bool(data[1] & 1)
    )  # the first code, a clear code, in reversed bits
    source = np.frombuffer(data, np.uint8)
    if is_old_style:
        source = np.packbits(np.unpackbits(source, bitorder="little"))
    padded = np.concatenate([source, np.zeros(3, np.uint8)]).astype(np.int32)
    first_widths = _WIDTHS_OF_OLD_STYLE if is_old_style else _WIDTHS
    at, num_bits, widths = 0, 8 * len(data), first_widths
    while True:
        ends = np.cumsum(widths, dtype=np.int64)
        count = int(np.searchsorted(ends, num_bits - at, side="right"))
        codes = _codes(padded, at + ends[:count] - widths[:count], widths[:count], is_old_style)
        special = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        read = int(special[0]) if special.size else count
        unknown = np.flatnonzero(codes[:read] > _NEWEST_ENTRY[:read]) if widths is first_widths else special[:0]
        if unknown.size:
            bad = int(unknown[0])
            return int(at + ends[bad] - widths[bad] + 7) // 8
        if special.size and codes[read] == _CLEAR:
            at, widths = at + int(ends[read]), first_widths
        elif special.size or count < len(widths):
            return len(data)
        else:  # the table is full
            at, widths = at + int(ends[-1]), _WIDEST


def _codes(source: Numbers, starts: npt.NDArray[np.int64], widths: Numbers, is_old_style: bool) -> Numbers:
    """The codes that begin at the bits `starts`."""
    first, shift = starts >> 3, 24 - (starts & 7) - widths
    window = source[first] << 16 | source[first + 1] << 8 | source[first + 2]
    codes = window >> shift & (1 << widths) - 1
    if not is_old_style:
        return np.asarray(codes)
    bits = codes[:, None] >> np.arange(12) & 1  # the lowest bit of a code comes first
    return np.asarray((bits << np.maximum(widths[:, None] - 1 - np.arange(12), 0)).sum(1))
