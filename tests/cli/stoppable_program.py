"""A program that works in steps until a `StopRequest` stops it; the test chooses how by its arguments.

    stoppable_program.py MODE [LIMIT]      MODE: prepare, finalizer, drawing, work, deaf, nested

It writes a line to standard output whenever something happens. In `prepare`, `finalizer` and `drawing` it never asks;
in `deaf` it asks once and then works on a single step without end; in `nested` it asks outside of the block as well.
"""

from __future__ import annotations

import sys
import time
from io import StringIO

from rich.console import Console
from rich.live import Live

from adacode_cli.cli.signals import StopRequest


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def forever() -> None:
    """A step without end."""
    while True:
        time.sleep(0.01)


class Finalized:
    """Python drops what is raised while this is deleted."""

    def __del__(self) -> None:
        say("ready")
        forever()


def draw_when(stop_request: StopRequest) -> None:
    """Has rich begin to draw, which takes until the signal has come."""

    def shown() -> str:
        if not stop_request.interrupted:
            say("ready")
            while not stop_request.interrupted:
                time.sleep(0.01)
            time.sleep(0.1)
            say("drawn")
        return "line"

    with Live(console=Console(file=StringIO()), get_renderable=shown):
        forever()


def main(mode: str, limit: str = "") -> int:
    """Exit status 0 for what was asked to stop, 3 for KeyboardInterrupt."""
    stop_request = StopRequest(float(limit) if limit else None, "stopping")
    try:
        with stop_request.listening():
            if mode == "prepare":
                say("ready")
                forever()
            if mode == "finalizer":
                Finalized()
                forever()
            if mode == "drawing":
                draw_when(stop_request)
            assert not stop_request.should_stop()
            say("ready")
            if mode == "deaf":
                forever()
            while not stop_request.should_stop():
                time.sleep(0.01)
    except KeyboardInterrupt:
        say(f"KeyboardInterrupt {stop_request.interrupted}")
        return 3
    finally:
        say("tidied up")
    say(f"stopped {stop_request.interrupted} {stop_request.should_stop()}")
    if mode == "nested":
        try:
            say("outside")
            forever()
        except KeyboardInterrupt:
            say("as before")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
