"""Ctrl-C and a polite kill mean the same: stop soon, leave nothing half done; meant twice, they mean now."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from adacode_cli.errors import EXIT_INTERRUPTED

_SHOW_CURSOR = b"\x1b[?25h"


@contextmanager
def interruptible(limit_s: float | None = None) -> Iterator[None]:
    """Within the block the first SIGINT or SIGTERM raises KeyboardInterrupt, a second one ends the process with 130.

    With `limit_s` the process ends so many seconds after the first one in any case: a call into a library hears
    nothing, and threads are waited for at the end. A signal that the parent process chose to ignore stays ignored. To
    be used in the main thread.
    """

    def first(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            if signal.getsignal(number) is first:
                signal.signal(number, _second)
        if limit_s is not None:
            watch = threading.Timer(limit_s, _end)
            watch.daemon = True
            watch.start()
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, first)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _second(_number: int, _frame: FrameType | None) -> None:
    _end()


def _end() -> None:
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), _SHOW_CURSOR)  # the progress bar hides it
    os._exit(EXIT_INTERRUPTED)
