"""Long work of one piece ends at the first Ctrl-C with exit code 130, without a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from adacode_cli.cli.signals import interruptible
from adacode_cli.errors import EXIT_INTERRUPTED


@contextmanager
def ended_by_interruption() -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and SIGHUP unwind the work and end the command. For the main thread."""
    try:
        with interruptible():
            yield
    except KeyboardInterrupt as error:
        raise typer.Exit(EXIT_INTERRUPTED) from error
