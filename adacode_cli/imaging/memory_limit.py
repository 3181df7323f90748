"""Limits the memory of a decoding process to what the current file may need.

The checked header of a file gives the number of pixels, and thus the memory that decoding may take. If a library
allocates more, because of other bytes in the file, the system refuses it. The limit applies to a whole process, so
only decoding processes set it (`begin`), on Linux, where the system counts private memory. On other systems these
functions have no effect. Shared memory (messages, results) does not count.
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
    """The current limit in bytes of private memory; None if there is none."""

    def __init__(self) -> None:
        self.num_bytes: int | None = None
        self.allowed = 0
        self.before = 0


_limit = _Limit()


def begin(file_bytes: int) -> None:
    """Limits the memory to what reading the header of a file of `file_bytes` needs."""
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
    """Raises the limit by what decoding `num_pixels` needs, after their number was checked."""
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
    """Bytes that the current file may take in addition to what the process used before; None without a limit."""
    return _limit.allowed if _limit.num_bytes is not None else None


def _set(num_bytes: int) -> None:
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if _limit.before != resource.RLIM_INFINITY:
            num_bytes = min(num_bytes, _limit.before)
        resource.setrlimit(resource.RLIMIT_DATA, (num_bytes, hard))
        _limit.num_bytes = num_bytes


def _thread_bytes() -> int:
    """Stacks of threads, which libraries start for each core; their full size (the soft limit) counts."""
    if sys.platform != "linux":
        return 0
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    # Without a limit, the C library uses less than this minimum.
    size = _MIN_STACK_BYTES if stack == resource.RLIM_INFINITY else max(_MIN_STACK_BYTES, stack)
    # Libraries count all cores, also if the process may use only some of them.
    return size * max(1, os.sysconf("SC_NPROCESSORS_ONLN"))


def _held_bytes() -> int | None:
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return None  # /proc is not mounted.
    return int(fields[_DATA_FIELD]) * os.sysconf("SC_PAGE_SIZE")
