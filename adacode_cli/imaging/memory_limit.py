"""A limit on the memory of a process that decodes, drawn around what the file at hand may need.

A header that has been checked says how many pixels there are, and so how much memory decoding may take. Whatever a
library asks for beyond that, because other bytes of the file say so, is refused by the system. The limit is a process's
own, so it is drawn in decoding processes only (`begin`), where the system counts private memory: on Linux. Elsewhere
nothing here has an effect. Memory that is shared (messages, results on their way) does not count.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from adacode_cli.limits import MEMORY_FILE_COPIES, MEMORY_FIXED_BYTES, MEMORY_PIXEL_BYTES

if sys.platform == "linux":
    import resource

_MIN_STACK_BYTES = 16 << 20
_DATA_FIELD = 5  # in statm: pages of data and stack


class _Limit:
    """The limit in force, in bytes of private memory; None where none was drawn."""

    def __init__(self) -> None:
        self.num_bytes: int | None = None
        self.allowed = 0
        self.before = 0


_limit = _Limit()


def begin(file_bytes: int) -> None:
    """From here on this process may take what reading the head of a file of `file_bytes` needs, and no more."""
    if sys.platform != "linux":
        return
    held = _held_bytes()
    if held is None:
        return
    _limit.allowed = MEMORY_FIXED_BYTES + MEMORY_FILE_COPIES * file_bytes
    if _limit.num_bytes is None:
        _limit.before, _ = resource.getrlimit(resource.RLIMIT_DATA)
    _set(held + _thread_bytes() + _limit.allowed)


def permit(num_pixels: int) -> None:
    """And what decoding `num_pixels` needs: their number is checked. No effect where `begin` was not called."""
    if _limit.num_bytes is not None:
        _set(_limit.num_bytes + MEMORY_PIXEL_BYTES * num_pixels)
        _limit.allowed += MEMORY_PIXEL_BYTES * num_pixels


def end() -> None:
    """Lifts the limit."""
    if sys.platform == "linux" and _limit.num_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (_limit.before, hard))
        _limit.num_bytes = None


def in_force() -> int | None:
    """Bytes that the file at hand may take beside what the process held before; None where there is no limit."""
    return _limit.allowed if _limit.num_bytes is not None else None


def _set(num_bytes: int) -> None:
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if _limit.before != resource.RLIM_INFINITY:
            num_bytes = min(num_bytes, _limit.before)
        resource.setrlimit(resource.RLIMIT_DATA, (num_bytes, hard))
        _limit.num_bytes = num_bytes


def _thread_bytes() -> int:
    """Libraries start threads for each core; their stacks, as large as the soft limit says, count from the start."""
    if sys.platform != "linux":
        return 0
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    # The C library takes less than the least for what has no limit.
    size = _MIN_STACK_BYTES if stack == resource.RLIM_INFINITY else max(_MIN_STACK_BYTES, stack)
    # A process that may use some of the cores alone still has libraries that count them all.
    return size * max(1, os.sysconf("SC_NPROCESSORS_ONLN"))


def _held_bytes() -> int | None:
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return None  # No /proc is mounted here.
    return int(fields[_DATA_FIELD]) * os.sysconf("SC_PAGE_SIZE")
