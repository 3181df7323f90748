"""File locks that end with their owner: if a process is killed or crashes, its locks are released.

The operating system holds them on open files, so no code must guess from process numbers which process is still alive.
Windows has no such locks; there every lock is granted, and files are protected by its rule that an open file cannot be
removed.
"""

from __future__ import annotations

import os
import sys

if sys.platform != "win32":
    import fcntl


def lock(handle: int, *, wait: bool) -> bool:
    """Locks an open file until it is closed. Returns False if another handle, in any process, holds the lock.

    With `wait` it returns when it has the lock. On file systems without locks every lock is granted.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # ENOLCK, ENOTSUP: some network file systems have no locks, and the program shall work there too.
        return True
    return True


def is_at(handle: int, path: str | os.PathLike[str]) -> bool:
    """Whether `path` still names the open file: another process may have removed it before it was locked."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))  # noqa: PTH116 (beside fstat)
    except OSError:
        return False
