"""Lengths of time as people write them: 9m, 90s, 1.5h, 1h30m."""

from __future__ import annotations

import math
import re

from adacode_cli.errors import UsageError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def seconds_of(text: str) -> float:
    """Seconds of a length of time; a number alone counts seconds. Raises UsageError for anything else, and for 0."""
    plain = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        plain += "s"
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(plain))
    if _PART.sub("", plain) or not 0 < seconds < math.inf:
        raise UsageError(f"{text!r} is no length of time", hint="Write 90s, 9m, 1.5h or 1h30m.")
    return seconds
