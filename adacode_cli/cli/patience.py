"""When long work that can be gone on with should stop: its time is over, or somebody pressed Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from adacode_cli.cli.signals import SIGNALS, raise_when_imported, stop_waiting_for_imports
from adacode_cli.errors import EXIT_INTERRUPTED

_ONE_WISH_S = 1.0


class Patience:
    """Asked by the work whether to stop. Raises nothing while the work asks; before that, Ctrl-C ends it at once.

    limit_s: seconds from now, None for ever. answer: a line for standard error at the first signal that the work heeds.
    """

    def __init__(self, limit_s: float | None, answer: str) -> None:
        self._deadline = None if limit_s is None else time.monotonic() + limit_s
        self._answer, self._heeded, self._first = answer, False, 0.0
        self.interrupted = False

    def over(self) -> bool:
        """Whether to stop. Whoever asks once must go on asking."""
        self._heeded = True
        return self.interrupted or (self._deadline is not None and time.monotonic() > self._deadline)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block signals ask to stop; a second Ctrl-C, a second later, ends the process. For the main thread.

        A signal that the parent process chose to ignore stays ignored.
        """
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._signalled)
        try:
            yield
        finally:
            stop_waiting_for_imports()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            # Launchers and batch systems pass one wish on as several signals; only a person insists later.
            if number == signal.SIGINT and time.monotonic() - self._first > _ONE_WISH_S:
                os._exit(EXIT_INTERRUPTED)
            return
        self.interrupted, self._first = True, time.monotonic()
        if not self._heeded:
            raise_when_imported(frame)
            return
        # Not through a buffered stream, which the signal may have found in the middle of a line.
        with suppress(OSError):  # a closed terminal is one way to ask for an end
            os.write(sys.stderr.fileno(), f"{self._answer}\n".encode())
