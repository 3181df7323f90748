"""Numbers in a JPEG XL codestream (ISO/IEC 18181-1): bits from the lowest one of each byte on."""

from __future__ import annotations


class Bits:
    """Reads numbers from `data`, beginning with the bit `at`. Raises IndexError at the end of the data."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def peek(self, count: int) -> int:
        """An integer of `count` bits, which are read again; bits after the end are 0."""
        first = self.at >> 3
        whole = int.from_bytes(self._data[first : (self.at + count + 7) >> 3], "little")
        return whole >> (self.at & 7) & ((1 << count) - 1)

    def u(self, count: int) -> int:
        """An integer of `count` bits."""
        value = self.peek(count)
        self.at += count
        if self.at > 8 * len(self._data):
            raise IndexError("the codestream ends too early")
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

    def long(self) -> int:
        """An integer of up to 64 bits."""
        selector = self.u(2)
        if selector < 3:
            low, count = ((0, 0), (1, 4), (17, 8))[selector]
            return low + self.u(count)
        value, shift = self.u(12), 12
        while self.flag():
            if shift == 60:
                return value | self.u(4) << shift
            value |= self.u(8) << shift
            shift += 8
        return value
