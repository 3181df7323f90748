"""The entropy coder of JPEG XL (ISO/IEC 18181-1, annex on entropy decoding), for the ICC profile in a codestream.

A symbol is decoded by the prefix code of its context. It stands for a number with further bits, or for a copy of
earlier numbers. The other kind of codes, asymmetric numeral systems, is not read: libjxl does not use it for profiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adacode_cli.imaging.jxl_bits import Bits

_LOG_ALPHABET = 15
_MAX_CLUSTERS = 256
_ORDER_OF_LENGTHS = (1, 2, 3, 4, 0, 5, 17, 6, 16, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_LENGTHS_OF_LENGTHS = (
    *((2, 0), (2, 4), (2, 3), (3, 2), (2, 0), (2, 4), (2, 3), (4, 1)),
    *((2, 0), (2, 4), (2, 3), (3, 2), (2, 0), (2, 4), (2, 3), (4, 5)),
)


@dataclass(frozen=True)
class _Config:
    """How a symbol becomes a number: symbols below 2^split stand for themselves."""

    split: int
    msb: int
    lsb: int

    @classmethod
    def read(cls, bits: Bits, log_alphabet: int) -> _Config:
        split = bits.u(log_alphabet.bit_length())
        if split == log_alphabet:
            return cls(split, 0, 0)
        msb = bits.u(split.bit_length())
        if msb > split:
            raise ValueError("impossible numbers")
        lsb = bits.u((split - msb).bit_length())
        if msb + lsb > split:
            raise ValueError("impossible numbers")
        return cls(split, msb, lsb)

    def number(self, symbol: int, bits: Bits) -> int:
        above = symbol - (1 << self.split)
        if above < 0:
            return symbol
        known = self.msb + self.lsb
        count = self.split - known + (above >> known)
        low = symbol & ((1 << self.lsb) - 1)
        high = (symbol >> self.lsb) & ((1 << self.msb) - 1) | 1 << self.msb
        return (high << count | bits.u(min(count, 64))) << self.lsb | low


class _Prefix:
    """A prefix code with these lengths of codes, by symbol; a single symbol needs no bits."""

    def __init__(self, lengths: Sequence[int]) -> None:
        used = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
        self._only = used[0][1] if len(used) == 1 else 0 if not used else None
        self._symbols: dict[tuple[int, int], int] = {}
        code, previous = 0, 0
        for length, symbol in used:
            code <<= length - previous
            self._symbols[length, code] = symbol
            code, previous = code + 1, length

    def symbol(self, bits: Bits) -> int:
        """The next symbol."""
        if self._only is not None:
            return self._only
        code = 0
        for length in range(1, 16):
            code = code << 1 | bits.u(1)
            if (found := self._symbols.get((length, code))) is not None:
                return found
        raise ValueError("an impossible code")

    @classmethod
    def read(cls, bits: Bits, size: int) -> _Prefix:
        if size == 1:
            return cls(())
        skipped = bits.u(2)
        return cls(_simple_lengths(bits, size) if skipped == 1 else _complex_lengths(bits, size, skipped))


def _simple_lengths(bits: Bits, size: int) -> list[int]:
    count = bits.u(2) + 1
    symbols = [bits.u((size - 1).bit_length()) for _ in range(count)]
    if max(symbols) >= size or len(set(symbols)) != count:
        raise ValueError("impossible symbols")
    of_count = {1: (1,), 2: (1, 1), 3: (1, 2, 2), 4: (2, 2, 2, 2)}[count]
    if count == 4 and bits.flag():
        of_count = (1, 2, 3, 3)
    lengths = [0] * size
    for symbol, length in zip(symbols, of_count, strict=True):
        lengths[symbol] = length
    return lengths


def _complex_lengths(bits: Bits, size: int, skipped: int) -> list[int]:
    of_lengths, space = [0] * 18, 32
    for place in _ORDER_OF_LENGTHS[skipped:]:
        if space <= 0:
            break
        count, of_lengths[place] = _LENGTHS_OF_LENGTHS[bits.peek(4)]
        bits.u(count)
        space -= 32 >> of_lengths[place] if of_lengths[place] else 0
    code = _Prefix(of_lengths)
    lengths: list[int] = []
    previous, repeated, repeat, space = 8, 0, 0, 1 << 15
    while len(lengths) < size and space > 0:
        length = code.symbol(bits)
        if length < 16:
            lengths.append(length)
            previous, repeat = length or previous, 0
            space -= (1 << 15) >> length if length else 0
            continue
        value = previous if length == 16 else 0
        before = repeat if value == repeated else 0
        repeat = ((before - 2) << (length - 14) if before else 0) + bits.u(length - 14) + 3
        repeated = value
        lengths += [value] * (repeat - before)
        space -= (repeat - before) << (15 - value) if value else 0
    if len(lengths) > size or space < 0:
        raise ValueError("an impossible prefix code")
    return lengths + [0] * (size - len(lengths))


class Numbers:
    """Reads numbers, each in one of `num_contexts` contexts. Raises ValueError and IndexError for damaged data."""

    def __init__(self, bits: Bits, num_contexts: int, *, may_copy: bool = True) -> None:
        self._bits = bits
        self._copies = bits.flag()
        if self._copies:
            if not may_copy:
                raise ValueError("copies that are not allowed")
            self._first_copy = bits.choice((224, 0), (512, 0), (4096, 0), (8, 15))
            self._shortest = bits.choice((3, 0), (4, 0), (5, 2), (9, 8))
            self._of_lengths = _Config.read(bits, 8)
            num_contexts += 1
        self._clusters = _clusters(bits, num_contexts) if num_contexts > 1 else [0]
        count = max(self._clusters) + 1
        if not bits.flag():
            raise ValueError("no prefix codes")
        self._configs = [_Config.read(bits, _LOG_ALPHABET) for _ in range(count)]
        sizes = [_size(bits) for _ in range(count)]
        self._codes = [_Prefix.read(bits, size) for size in sizes]
        self._numbers: list[int] = []
        self._to_copy, self._from = 0, 0

    def next(self, context: int) -> int:
        """The next number."""
        if not self._to_copy:
            cluster = self._clusters[context]
            symbol = self._codes[cluster].symbol(self._bits)
            if not self._copies or symbol < self._first_copy:
                number = self._configs[cluster].number(symbol, self._bits)
                self._numbers.append(number)
                return number
            length = self._of_lengths.number(symbol - self._first_copy, self._bits)
            cluster = self._clusters[-1]
            distance = self._configs[cluster].number(self._codes[cluster].symbol(self._bits), self._bits) + 1
            self._to_copy, self._from = length + self._shortest, max(0, len(self._numbers) - distance)
        self._to_copy -= 1
        number = self._numbers[self._from] if self._numbers else 0
        self._from += 1
        self._numbers.append(number)
        return number


def _size(bits: Bits) -> int:
    """The number of symbols of a prefix code."""
    if not bits.flag():
        return 1
    count = bits.u(4)
    return 1 + (1 << count) + bits.u(count)


def _clusters(bits: Bits, num_contexts: int) -> list[int]:
    """The distribution of each context."""
    if bits.flag():
        count = bits.u(2)
        return [bits.u(count) for _ in range(num_contexts)]
    moves_to_front = bits.flag()
    numbers = Numbers(bits, 1, may_copy=num_contexts > 2)  # So this does not go on without an end.
    clusters = [numbers.next(0) for _ in range(num_contexts)]
    if max(clusters) >= _MAX_CLUSTERS:
        raise ValueError("too many distributions")
    if moves_to_front:
        order = list(range(_MAX_CLUSTERS))
        for index, place in enumerate(clusters):
            clusters[index] = order.pop(place)
            order.insert(0, clusters[index])
    return clusters
