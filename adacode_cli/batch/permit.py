"""Until when this run may write to stores: a number in memory that the processes of the run share.

The process that has the leases (`batch.lease`) moves it on at each sign of life, and sets it back when a lease is lost.
Its workers look at the number before they write, which takes no time and asks no store.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from functools import cache
from typing import Any

from adacode_cli.errors import JournalError

Permit = Any
"""A shared number, a ctypes double: seconds of `clock`. It may be passed to processes when they are started."""
_followed: list[Permit] = []
"""The number that this worker follows; nothing in the process that has the leases."""


@cache
def own_permit() -> Permit:
    """The number that this process sets for its workers; without leases there is no end."""
    permit = multiprocessing.get_context("spawn").RawValue("d", math.inf)
    return permit


def allow_until(end: float) -> None:
    """Says until when workers may write."""
    own_permit().value = end


def follow(permit: Permit) -> None:
    """Says that this process is a worker, and that `permit` is that of its run."""
    _followed[:] = [permit]


def check_permit() -> None:
    """Raises JournalError in a worker whose run may not write any more."""
    if any(clock() > permit.value for permit in _followed):
        hint = "Finished files are kept. Run the same command again when no other run writes there: it continues."
        raise JournalError("another run may write there by now, so this run was stopped", hint=hint)


def clock() -> float:
    """Seconds of a clock that goes on while the machine sleeps, and is the same in all processes of the machine."""
    number = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
    return time.monotonic() if number is None else time.clock_gettime(number)
