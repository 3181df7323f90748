"""How much memory this process has used at most, as the system counted it."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import resource


def peak_memory_bytes() -> int | None:
    """The largest resident size of this process so far, in bytes; None where the system does not count it."""
    if sys.platform == "win32":
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # the BSDs count bytes, Linux kibibytes
