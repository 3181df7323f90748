"""Outputs of a prior's networks → frequencies, in whole numbers alone: each machine must get exactly the same.

The three tables are rounded from decimal arithmetic, whose results are defined to the last digit; `exp` of a
processor's library is not. All sums and products are whole numbers below 2**53, held in float64 or int64, and
quotients are rounded down; of such numbers, the quotient in float64 is never rounded up to the next whole number.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache

import numpy as np
import numpy.typing as npt

from adacode_cli.codes.rans import TOTAL, Numbers

LOWEST, NUM_STEPS = -96, 256
"""Symbols of mixing weights: `NUM_STEPS` steps from `LOWEST` on; the first and the last also stand for all beyond."""

Whole = npt.NDArray[np.float64]
"""Whole numbers."""

PER_NAT = 64  # logits
_MAX_NATS = 16
_SHARE = 1 << 16  # the shares of a mixture sum to this
PER_STEP, PER_LOG_SCALE = 16, 32
_MIN_LOG_SCALE, _MAX_LOG_SCALE = -96, 160
_SIGMOID = 1 << 22
_PER_ARGUMENT, _MAX_ARGUMENT = 128, 16
_INVERSE = 1 << 12
_MAX_MEAN = 1 << 15
_DECIMAL = Context(prec=40, rounding=ROUND_HALF_EVEN)  # not the one of the thread, which a program may change
# All inner bounds of the steps, in 1/16 step: halfway between two steps.
_BOUNDS = ((np.arange(1, NUM_STEPS) + LOWEST) * PER_STEP - PER_STEP // 2).astype(np.float64)


def of_logits(logits: Whole) -> Numbers:
    """n×M logits in 1/64 nat → n×(M+1) sums of the frequencies of M symbols, none of which is 0."""
    below = np.minimum(logits.max(1, keepdims=True) - logits, PER_NAT * _MAX_NATS).astype(np.int16)
    shares = _exponentials().take(below)
    rows, size = shares.shape
    frequencies = shares * (TOTAL - size)
    frequencies /= shares.sum(1, keepdims=True)
    np.floor(frequencies, out=frequencies)
    frequencies += 1
    # What is lost by rounding belongs to the most frequent symbol, the first of them.
    frequencies[np.arange(rows), below.argmin(1)] += TOTAL - frequencies.sum(1)
    sums = np.zeros((rows, size + 1), np.uint32)
    np.cumsum(frequencies, axis=1, out=frequencies)
    sums[:, 1:] = frequencies
    return sums


def of_mixture(parameters: Whole) -> Numbers:
    """n×3R parameters of R logistic distributions → n×(NUM_STEPS+1) sums of the frequencies of all steps.

    R means in 1/16 step, R logarithms of scales in 1/32, R logits of shares in 1/64.
    """
    sums = np.zeros((len(parameters), NUM_STEPS + 1), np.uint32)
    sums[:, 1:-1] = _sums_at(parameters, np.broadcast_to(_BOUNDS, (len(parameters), NUM_STEPS - 1)))
    sums[:, 1:-1] += np.arange(1, NUM_STEPS, dtype=np.uint32)
    sums[:, -1] = TOTAL
    return sums


def of_steps(parameters: Whole, symbols: npt.NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """As `of_mixture`, for one known symbol in each row alone: the sum of the frequencies before it, and its own."""
    around = symbols[:, None] + np.array([0, 1])
    inner = np.clip(around, 1, NUM_STEPS - 1)
    sums = _sums_at(parameters, _BOUNDS[inner - 1]) + inner
    sums = np.where(around == 0, 0, np.where(around == NUM_STEPS, TOTAL, sums)).astype(np.uint32)
    return sums[:, 0], sums[:, 1] - sums[:, 0]


def _sums_at(parameters: Whole, bounds: Whole) -> Whole:
    """n×E bounds → the mixture's cumulative distribution there, in units of 1/(TOTAL-NUM_STEPS), rounded down."""
    means, scales, logits = np.split(parameters, 3, axis=1)
    shares = _shares(logits)
    inverse = _inverses()[np.clip(scales, _MIN_LOG_SCALE, _MAX_LOG_SCALE).astype(np.int64) - _MIN_LOG_SCALE]
    # (bound - mean) / 16 · inverse / 2**12 in units of 1/128 is their product, divided by 512.
    inverse *= _PER_ARGUMENT / (PER_STEP * _INVERSE)
    means = np.clip(means, -_MAX_MEAN, _MAX_MEAN)
    limit, table = _PER_ARGUMENT * _MAX_ARGUMENT, _sigmoids()
    total = np.zeros_like(bounds)
    for r in range(means.shape[1]):
        argument = (bounds - means[:, r, None]) * inverse[:, r, None]
        np.floor(np.clip(argument, -limit, limit, out=argument), out=argument)
        argument += limit
        total += table.take(argument.astype(np.int16)) * shares[:, r, None]
    # The total is at most 2**38. Without its last 8 bits, the product with TOTAL is below 2**53.
    np.floor(total * 2.0**-8, out=total)
    total *= TOTAL - NUM_STEPS
    return np.asarray(np.floor(total * (2.0**8 / (_SHARE * _SIGMOID))))


def _shares(logits: Whole) -> Whole:
    below = np.minimum(logits.max(1, keepdims=True) - logits, PER_NAT * _MAX_NATS).astype(np.int16)
    shares = _exponentials().take(below) * _SHARE
    shares = np.floor(shares / _exponentials().take(below).sum(1, keepdims=True))
    shares[:, 0] += _SHARE - shares.sum(1)
    return np.asarray(shares)


@cache
def _exponentials() -> Whole:
    """exp(-d/64) · 2**16 for d from 0 to 1024."""
    return _rounded([_DECIMAL.multiply(1 << 16, _exp(-d, PER_NAT)) for d in range(PER_NAT * _MAX_NATS + 1)])


@cache
def _sigmoids() -> Whole:
    """2**22 / (1 + exp(-a/128)) for a from -2048 to 2048."""
    limit = _PER_ARGUMENT * _MAX_ARGUMENT
    below = (_DECIMAL.add(1, _exp(-a, _PER_ARGUMENT)) for a in range(-limit, limit + 1))
    return _rounded([_DECIMAL.divide(_SIGMOID, each) for each in below])


@cache
def _inverses() -> Whole:
    """exp(-s/32) · 2**12 for s from -96 to 160."""
    scales = range(_MIN_LOG_SCALE, _MAX_LOG_SCALE + 1)
    return _rounded([_DECIMAL.multiply(_INVERSE, _exp(-s, PER_LOG_SCALE)) for s in scales])


def _exp(numerator: int, denominator: int) -> Decimal:
    return _DECIMAL.exp(_DECIMAL.divide(numerator, denominator))


def _rounded(values: list[Decimal]) -> Whole:
    return np.array([int(_DECIMAL.to_integral_value(value)) for value in values], np.float64)
