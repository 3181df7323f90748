"""Locks that die with their owner: whatever ends a process, a kill or a crash, frees what it held.

The system itself holds them, on open files, so nobody has to guess from numbers of processes who is still alive.
Windows has no such locks on open files; there every lock is granted, and its own rule that an open file cannot be
removed protects the rest.
"""

from __future__ import annotations

import os
import sys

if sys.platform != "win32":
    import fcntl


def lock(handle: int, *, wait: bool) -> bool:
    """Takes the lock of an open file until it is closed. False if another open file of it, anywhere, has it.

    With `wait` it comes back when it has the lock. File systems without locks grant every one.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # ENOLCK, ENOTSUP: some network file systems have none, and refusing to work helps nobody
        return True
    return True


def is_at(handle: int, path: str | os.PathLike[str]) -> bool:
    """Whether the open file is still what `path` names: another process may have removed it before it was locked."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))  # noqa: PTH116 (beside fstat)
    except OSError:
        return False
