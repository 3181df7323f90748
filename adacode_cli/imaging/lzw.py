"""LZW of TIFF: the sound part of a compressed strip, for the library that decompresses it (TIFF 6.0, section 13).

A damaged strip may contain codes for table entries that do not exist yet. For such a code, imagecodecs 2026.3.6 reads
memory that nothing has written: it crashes, or gives other pixels each time. Where these codes are is known without
decompressing: after a clear code, the width of each code and the size of the table follow from the number of codes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_CLEAR, _END, _FIRST_ENTRY, _MAX_ENTRIES = 256, 257, 258, 4096
_CODES_PER_TABLE = _MAX_ENTRIES - _FIRST_ENTRY + 2  # as many fill the table, and a clear code follows
_FIRST_WINDOW = 64  # codes that are read at once after a clear code; twice as many then, and so on
_READ_AHEAD = bytes(2)  # The library reads a code from three bytes, and takes missing ones for zeros.

Numbers = npt.NDArray[np.int32]


class _Layout:
    """The codes between two clear codes: the width of each, the bit behind each, and the largest possible value.

    early: by how many entries the codes become wider before the table has a power of two of them.
    """

    def __init__(self, early: int) -> None:
        read = np.arange(_CODES_PER_TABLE)
        entries = _FIRST_ENTRY + np.maximum(read - 1, 0)  # in the table when the code is read
        self.widths: Numbers = np.clip(np.ceil(np.log2(entries + 1 + early)), 9, 12).astype(np.int32)
        self.ends = np.cumsum(self.widths, dtype=np.int64)
        self.max_codes: Numbers = np.minimum(_FIRST_ENTRY + read - 1, _MAX_ENTRIES - 1).astype(np.int32)


_LAYOUT: Final = _Layout(1)
_OLD_STYLE_LAYOUT: Final = _Layout(0)


def sound_part(data: bytes) -> bytes:
    """`data` up to the first code without a table entry, or up to its end, with an end code there.

    The result of a sound strip begins with all of `data` if that has an end code.
    """
    is_old_style = len(data) > 1 and data[0] == 0 and bool(data[1] & 1)  # a clear code in reversed bits
    source = np.frombuffer(data, np.uint8)
    if is_old_style:
        source = np.packbits(np.unpackbits(source, bitorder="little"))
    padded = np.concatenate([source, np.zeros(3, np.uint8)]).astype(np.int32)
    layout = _OLD_STYLE_LAYOUT if is_old_style else _LAYOUT
    clear_at, first, size, num_bits = 0, 0, _FIRST_WINDOW, 8 * len(data)
    while first < _CODES_PER_TABLE:
        window = slice(first, first + size)
        widths, ends = layout.widths[window], layout.ends[window]
        count = int(np.searchsorted(ends, num_bits - clear_at, side="right"))
        starts = clear_at + ends - widths
        codes = _codes(padded, starts[:count], widths[:count], is_old_style)
        stops = (codes == _CLEAR) | (codes == _END) | (codes > layout.max_codes[window][:count])
        stop = int(stops.argmax()) if stops.any() else count
        if stop == count and count == len(ends):
            first, size = first + size, 2 * size
        elif stop < count and codes[stop] == _CLEAR:
            clear_at, first, size = clear_at + int(ends[stop]), 0, _FIRST_WINDOW
        elif stop < count and codes[stop] == _END:
            break
        else:
            return _ended(data, int(starts[stop]), int(widths[stop]), is_old_style)
    return data + _READ_AHEAD


def _codes(source: Numbers, starts: npt.NDArray[np.int64], widths: Numbers, is_old_style: bool) -> Numbers:
    """The codes that begin at the bits `starts`."""
    byte, shift = starts >> 3, 24 - (starts & 7) - widths
    bits = source[byte] << 16 | source[byte + 1] << 8 | source[byte + 2]
    codes = bits >> shift & (1 << widths) - 1
    if not is_old_style:
        return np.asarray(codes)
    digits = codes[:, None] >> np.arange(12) & 1  # the lowest bit of a code comes first
    return np.asarray((digits << np.maximum(widths[:, None] - 1 - np.arange(12), 0)).sum(1))


def _ended(data: bytes, at: int, width: int, is_old_style: bool) -> bytes:
    """`data` up to the bit `at`, and then an end code of `width` bits."""
    whole, kept = divmod(at, 8)
    partial = data[whole] if kept else 0
    num_bytes = -(-(kept + width) // 8)
    if is_old_style:
        end = (partial & (1 << kept) - 1 | _END << kept).to_bytes(num_bytes, "little")
    else:
        value = (partial >> 8 - kept) << width | _END
        end = (value << 8 * num_bytes - kept - width).to_bytes(num_bytes, "big")
    return data[:whole] + end + _READ_AHEAD
