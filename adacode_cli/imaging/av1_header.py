"""Reads the colour description in the sequence header of an AV1 image, for AVIF files without one in their boxes.

Names and order of the fields are those of the AV1 specification, sections 5.5.1 to 5.5.5.
"""

from __future__ import annotations

from adacode_cli.imaging.cicp import Cicp

_SEQUENCE_HEADER, _MAX_UNITS = 1, 16
_SELECTED_PER_FRAME = 2
_MAX_BITS_OF_UVLC = 32


class _Bits:
    """Reads numbers of a given number of bits; zeros follow the end of the data."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __call__(self, count: int = 1) -> int:
        """The next `count` bits as a number."""
        value = 0
        for place in range(self._at, self._at + count):
            byte = self._data[place >> 3] if place >> 3 < len(self._data) else 0
            value = value << 1 | (byte >> (7 - (place & 7)) & 1)
        self._at += count
        return value

    @property
    def is_beyond_end(self) -> bool:
        """Whether bits beyond the end were read."""
        return self._at > 8 * len(self._data)

    def uvlc(self) -> int:
        """A number of variable length (uvlc)."""
        zeros = 0
        while zeros < _MAX_BITS_OF_UVLC and not self():
            zeros += 1
        return self(zeros) if zeros < _MAX_BITS_OF_UVLC else 0


def cicp_of(units: bytes) -> Cicp | None:
    """The colour description in the sequence header among the first units (OBUs) of an image; None if absent."""
    at = 0
    for _ in range(_MAX_UNITS):
        if at >= len(units) or not units[at] & 2:  # Without its size, the next unit cannot be found.
            return None
        kind, at = units[at] >> 3 & 15, at + (2 if units[at] & 4 else 1)
        size, at = _leb128(units, at)
        if kind == _SEQUENCE_HEADER:
            return _of_sequence_header(_Bits(units[at : at + size]))
        at += size
    return None


def _leb128(units: bytes, at: int) -> tuple[int, int]:
    """(a number in LEB128, where it ends)."""
    value = 0
    for index, byte in enumerate(units[at : at + 8]):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, at + index + 1
    return 0, len(units)


def _of_sequence_header(bits: _Bits) -> Cicp | None:
    profile, _, is_reduced = bits(3), bits(), bits()
    if is_reduced:
        bits(5)
    else:
        _pass_operating_points(bits)
    wide, high = bits(4) + 1, bits(4) + 1
    bits(wide + high)
    if not is_reduced and bits():  # frame_id_numbers_present_flag
        bits(7)
    bits(3)
    if not is_reduced:
        _pass_tools(bits)
    bits(3)
    is_deep = bits()
    if profile == 2 and is_deep:
        bits()
    if profile != 1:
        bits()  # mono_chrome
    cicp = Cicp(bits(8), bits(8)) if bits() else None
    return None if bits.is_beyond_end else cicp


def _pass_operating_points(bits: _Bits) -> None:
    has_model, delay_bits = 0, 0
    if bits():  # timing_info_present_flag
        bits(64)
        if bits():
            bits.uvlc()
        has_model = bits()
        if has_model:
            delay_bits = bits(5) + 1
            bits(42)
    has_display_delay = bits()
    for _ in range(bits(5) + 1):
        bits(12)
        if bits(5) > 7:
            bits()
        if has_model and bits():
            bits(2 * delay_bits + 1)
        if has_display_delay and bits():
            bits(4)


def _pass_tools(bits: _Bits) -> None:
    bits(4)
    has_order = bits()
    if has_order:
        bits(2)
    screen = _SELECTED_PER_FRAME if bits() else bits()
    if screen and not bits():
        bits()
    if has_order:
        bits(3)
