"""How much of an image is computed, told to a listener in the thread that computes it, tile by tile.

The listener belongs to the thread and not to a call, so the layers between the one who shows progress and the tiles do
not pass it on. On a GPU tiles are queued long before they are computed, so nothing is told there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[float], None]
"""Receives the share of the work that is done, from 0 to 1."""
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the block, `listener` is told of the work of this thread. Exceptions that it raises end the work."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def part(begin: float, end: float) -> Iterator[None]:
    """Within the block, the work is the part of the whole from `begin` to `end` (0 to 1); parts can be nested."""
    whole = _listener.get()
    if whole is None:
        yield
        return
    with listening(lambda share: whole(begin + share * (end - begin))):
        yield


class Meter:
    """Counts work towards `total`, in any unit, and tells the listener of the thread that made it."""

    def __init__(self, total: float) -> None:
        self._total, self._done = total, 0.0
        self._listener = _listener.get()

    def add(self, work: float) -> None:
        """Counts work that is done; more than the total counts as the total."""
        self._done += work
        if self._listener is not None and self._total > 0:
            self._listener(min(1.0, self._done / self._total))
