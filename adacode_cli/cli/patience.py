"""When long work that can be gone on with should stop: its time is over, or somebody pressed Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from adacode_cli.errors import EXIT_INTERRUPTED

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Patience:
    """Asked by the work whether to stop. Raises nothing while the work asks; before that, Ctrl-C ends it at once.

    limit_s: seconds from now, None for ever. on_first: called at the first signal that the work will heed.
    """

    def __init__(self, limit_s: float | None, on_first: Callable[[], None]) -> None:
        self._deadline = None if limit_s is None else time.monotonic() + limit_s
        self._on_first, self._heeded = on_first, False
        self.interrupted = False

    def over(self) -> bool:
        """Whether to stop. Whoever asks once must go on asking."""
        self._heeded = True
        return self.interrupted or (self._deadline is not None and time.monotonic() > self._deadline)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block signals ask to stop; a second one ends the process. To be used in the main thread.

        A signal that the parent process chose to ignore stays ignored.
        """
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._signalled)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        if self.interrupted:
            os._exit(EXIT_INTERRUPTED)
        self.interrupted = True
        if not self._heeded:
            raise KeyboardInterrupt
        self._on_first()
