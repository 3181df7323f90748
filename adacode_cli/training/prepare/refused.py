"""Why no photograph of a category can be used, what was measured, and which option would let some in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from adacode_cli.training.prepare.examine import LeftOut
from adacode_cli.training.prepare.settings import MIN_CROP_PX

# Reason → the option with its limit, and whether a photograph needs at least it (or at most).
_OPTIONS = {
    "tiny": ("--crop", True),
    "compressed": ("--min-jpeg-quality", True),
    "flat": ("--min-detail", True),
    "blurred": ("--max-blur", False),
    "blocky": ("--max-blockiness", False),
    "duplicate": ("--duplicate-bits", False),
}
_WHOLE = ("--crop", "--duplicate-bits")
_DECIMALS = 2
_NO_OPTION = "Replace these photographs, or move the folder away."


@dataclass(frozen=True)
class Refusal:
    """what: counts by reason, with the measured value that is nearest to its limit. hint: what lets some in."""

    what: str
    hint: str


def refusal(left_out: Sequence[LeftOut]) -> Refusal:
    """Of files that are all left out; a sentence without its end for `what`, whole sentences for `hint`."""
    parts, options = [], []
    for reason, count in Counter(one.reason for one in left_out).most_common():
        nearest = _nearest([one for one in left_out if one.reason == reason], reason)
        measured = "" if nearest is None else f" (at best {_shown(nearest.value)}, limit {_shown(nearest.limit)})"
        parts.append(f"{count} {reason}{measured}")
        if nearest is not None and reason in _OPTIONS and not (reason == "tiny" and (nearest.value or 0) < MIN_CROP_PX):
            options.append(f"{_OPTIONS[reason][0]} {_letting_in(nearest, reason)}")
    hint = f"To let some in: {', or '.join(options)}." if options else _NO_OPTION
    return Refusal(", ".join(parts), hint)


def _nearest(files: Sequence[LeftOut], reason: str) -> LeftOut | None:
    """The one that is nearest to the limit; None if nothing was measured."""
    measured = [one for one in files if one.value is not None]
    at_least = _OPTIONS.get(reason, ("", False))[1]
    pick = max if at_least else min
    return pick(measured, key=lambda one: one.value or 0.0) if measured else None


def _letting_in(one: LeftOut, reason: str) -> str:
    """The value of the option with which this file is used: rounded to the side of the limit that admits it."""
    option, at_least = _OPTIONS[reason]
    assert one.value is not None, "only for measured files"
    if reason == "duplicate":
        return "-1"
    step = 1 if option in _WHOLE else 10**_DECIMALS
    value = (math.floor if at_least else math.ceil)(round(one.value * step, 6)) / step
    return f"{value:g}"


def _shown(value: float | None) -> str:
    return f"{value or 0:.{_DECIMALS}f}".rstrip("0").rstrip(".")
