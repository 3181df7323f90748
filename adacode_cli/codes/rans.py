"""Entropy coding by range asymmetric numeral systems (rANS, Duda 2013, arXiv:1311.2540), interleaved over lanes.

Symbols come in passes. Symbol j of a pass belongs to lane j modulo the number of lanes. Each lane has a state of 64
bits, and all lanes share one sequence of 32-bit words: so NumPy can decode one symbol of every lane at once
(Giesen 2014, arXiv:1402.3392). All frequencies of a symbol's distribution sum to `TOTAL`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adacode_cli.codes.packing import PackingError

BITS = 22
TOTAL = 1 << BITS
_CELLS_PER_LANE, _MAX_LANES = 256, 256
_WORD = np.dtype("<u4")
_WORD_BITS, _LOW_BITS = 32, 31
# A state is at least this between two symbols, and less than 2**63. It is also the state of an encoder that has
# encoded nothing, so a decoder must end with it.
_LOW = np.uint64(1 << _LOW_BITS)

Numbers = npt.NDArray[np.uint32]
States = npt.NDArray[np.uint64]


def num_lanes(cells: int) -> int:
    """Lanes for a grid of so many cells: each lane costs 8 bytes, and few lanes make the decoder slow."""
    return max(1, min(_MAX_LANES, cells // _CELLS_PER_LANE))


def encode(blocks: Sequence[tuple[Numbers, Numbers]], lanes: int) -> bytes:
    """Starts and frequencies of symbols in the order of decoding → bytes.

    blocks: of each symbol the sum of the frequencies before its own, and its own, which is not 0. A pass may be cut
    into blocks at multiples of `lanes`.
    """
    states = np.full(lanes, _LOW, np.uint64)
    words: list[Numbers] = []
    # A decoder takes out last what went in first, so everything goes in backwards.
    for starts, frequencies in reversed(blocks):
        for at in range((len(starts) - 1) // lanes * lanes, -1, -lanes):
            start, frequency = (part[at : at + lanes].astype(np.uint64) for part in (starts, frequencies))
            state = states[: len(start)]
            is_full = state >= frequency << np.uint64(_LOW_BITS + _WORD_BITS - BITS)
            if is_full.any():
                words.append(state[is_full].astype(_WORD)[::-1])
                state = np.where(is_full, state >> np.uint64(_WORD_BITS), state)
            quotient = state // frequency
            states[: len(start)] = (quotient << np.uint64(BITS)) + (state - quotient * frequency) + start
    body = np.concatenate(words)[::-1] if words else np.zeros(0, _WORD)
    return states.astype("<u8").tobytes() + body.astype(_WORD).tobytes()


class Decoder:
    """Reads the symbols that `encode` wrote. Raises PackingError for bytes that it cannot have written."""

    def __init__(self, data: bytes, lanes: int) -> None:
        if len(data) < 8 * lanes or len(data) % _WORD.itemsize:
            raise PackingError("the coded data have the wrong length")
        self._states: States = np.frombuffer(data, "<u8", lanes).astype(np.uint64)
        self._words = np.frombuffer(data, _WORD, offset=8 * lanes)
        self._at = 0
        if (self._states < _LOW).any() or (self._states >> np.uint64(_LOW_BITS + _WORD_BITS)).any():
            raise PackingError("the coded data begin with an impossible state")

    def take(self, cumulative: Numbers) -> npt.NDArray[np.int64]:
        """The next block of a pass: n×(M+1) sums of frequencies, each row from 0 to `TOTAL` → n symbols below M."""
        lanes, symbols = len(self._states), np.empty(len(cumulative), np.int64)
        for at in range(0, len(cumulative), lanes):
            rows = cumulative[at : at + lanes]
            state, i = self._states[: len(rows)], np.arange(len(rows))
            place = (state & np.uint64(TOTAL - 1)).astype(np.uint32)
            found = (rows[:, 1:] <= place[:, None]).sum(1)
            start = rows[i, found]
            frequency = rows[i, found + 1] - start
            state = frequency.astype(np.uint64) * (state >> np.uint64(BITS)) + (place - start)
            self._states[: len(rows)] = self._refilled(state)
            symbols[at : at + lanes] = found
        return symbols

    def finish(self) -> None:
        """Raises PackingError unless the data end here, in the state in which an encoder begins."""
        if self._at != len(self._words) or (self._states != _LOW).any():
            raise PackingError("the coded data do not end where they should")

    def _refilled(self, state: States) -> States:
        is_low = state < _LOW
        count = int(is_low.sum())
        if not count:
            return state
        if self._at + count > len(self._words):
            raise PackingError("the coded data end too early")
        words = self._words[self._at : self._at + count]
        self._at += count
        state[is_low] = (state[is_low] << np.uint64(_WORD_BITS)) | words
        return state
