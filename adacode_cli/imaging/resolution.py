"""Pixels per length are exact fractions, so that 300 dpi enlarged four times are 1200 dpi and not 1199.99.

Formats count differently (PNG and BMP by the metre, JPEG by the inch in whole numbers, TIFF and EXIF in fractions of
either); what one of them says is held as it says it, and only a writer converts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

NO_UNIT, INCH, CENTIMETRE = 1, 2, 3
"""As TIFF and EXIF number them; without a unit the two numbers are the shape of a pixel."""

_INCH_IN_CM = Fraction(254, 100)
_MAX_U32 = 2**32 - 1


@dataclass(frozen=True)
class Resolution:
    """Pixels per `unit` along rows (`across`) and columns (`down`), both above 0."""

    across: Fraction
    down: Fraction
    unit: int = INCH

    def scaled(self, across: Fraction, down: Fraction) -> Resolution:
        """Of the same print with so many times as many pixels."""
        return Resolution(self.across * across, self.down * down, self.unit)

    def turned(self) -> Resolution:
        """Of the image with rows and columns changed over."""
        return Resolution(self.down, self.across, self.unit)

    def per(self, unit: int) -> tuple[Fraction, Fraction] | None:
        """(across, down) for another unit, or None where only the shape of a pixel is known."""
        if self.unit == NO_UNIT:
            return None
        factor = {(INCH, CENTIMETRE): 1 / _INCH_IN_CM, (CENTIMETRE, INCH): _INCH_IN_CM}.get((self.unit, unit), 1)
        return self.across * factor, self.down * factor


def resolution(across_and_down: Sequence[Fraction | float], unit: int) -> Resolution | None:
    """What a file says, or None for numbers that say nothing: zero, infinite, or square pixels of no size."""
    try:
        across, down = (Fraction(value) for value in across_and_down)
    except (ValueError, OverflowError):
        return None
    if min(across, down) <= 0 or unit not in (NO_UNIT, INCH, CENTIMETRE) or (unit == NO_UNIT and across == down):
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
