"""Numbers in a JPEG XL codestream (ISO/IEC 18181-1): bits from the lowest one of each byte on."""

from __future__ import annotations


class Bits:
    """Reads numbers from `data`, beginning with the bit `at`. Raises IndexError at the end of the data."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def u(self, count: int) -> int:
        """An integer of `count` bits."""
        first, end = self.at >> 3, self.at + count
        if end > 8 * len(self._data):
            raise IndexError("the codestream ends too early")
        whole = int.from_bytes(self._data[first : (end + 7) >> 3], "little")
        value = whole >> (self.at & 7) & ((1 << count) - 1)
        self.at = end
        return value

    def flag(self) -> bool:
        """A bit."""
        return self.u(1) == 1

    def choice(self, *choices: tuple[int, int]) -> int:
        """A number in one of four ranges: (its smallest value, the bits of what is added)."""
        low, count = choices[self.u(2)]
        return low + self.u(count)

    def enumerated(self) -> int:
        """The number of one of several named values."""
        return self.choice((0, 0), (1, 0), (2, 4), (18, 6))
