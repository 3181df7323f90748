"""Resolutions as exact fractions, so that 300 dpi enlarged four times are 1200 dpi and not 1199.99.

Formats have different units (PNG and BMP: pixels per metre; JPEG: integers per inch or centimetre; TIFF and EXIF:
fractions of either); a value is kept in its unit, and only writers convert it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

NO_UNIT, INCH, CENTIMETRE = 1, 2, 3
"""Units, as numbered in TIFF and EXIF; without a unit the two numbers are the aspect ratio of pixels."""

_INCH_IN_CM = Fraction(254, 100)
_MAX_U32 = 2**32 - 1


@dataclass(frozen=True)
class Resolution:
    """Pixels per `unit` along rows (`across`) and columns (`down`), both above 0."""

    across: Fraction
    down: Fraction
    unit: int = INCH

    def scaled(self, across: Fraction, down: Fraction) -> Resolution:
        """The resolution of the same print with more pixels, by these factors."""
        return Resolution(self.across * across, self.down * down, self.unit)

    def turned(self) -> Resolution:
        """The resolution with rows and columns exchanged."""
        return Resolution(self.down, self.across, self.unit)

    def per(self, unit: int) -> tuple[Fraction, Fraction] | None:
        """(across, down) in another unit, or None if only the aspect ratio is known."""
        if self.unit == NO_UNIT:
            return None
        factor = {(INCH, CENTIMETRE): 1 / _INCH_IN_CM, (CENTIMETRE, INCH): _INCH_IN_CM}.get((self.unit, unit), 1)
        return self.across * factor, self.down * factor


def resolution(across_and_down: Sequence[Fraction | float], unit: int) -> Resolution | None:
    """The resolution in a file; None for invalid numbers, and for 1 : 1 without a unit, which says nothing.

    Other equal numbers without a unit are kept: many programs write 300 and leave out the unit.
    """
    try:
        across, down = (Fraction(value) for value in across_and_down)
    except (ValueError, OverflowError):
        return None
    if min(across, down) <= 0 or unit not in (NO_UNIT, INCH, CENTIMETRE) or (unit == NO_UNIT and across == down == 1):
        return None
    return Resolution(across, down, unit)


def rational(value: Fraction) -> tuple[int, int]:
    """The nearest fraction of two 32-bit numbers above zero."""
    largest = _MAX_U32 if value <= 1 else max(1, int(_MAX_U32 / value))
    near = value.limit_denominator(largest)
    return min(max(near.numerator, 1), _MAX_U32), near.denominator


def whole(value: Fraction, largest: int) -> int:
    """The nearest whole number from 1 to `largest`."""
    return min(max(round(value), 1), largest)
