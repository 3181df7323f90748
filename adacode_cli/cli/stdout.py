"""The one way to standard output: data only, complete, and quiet when the reader has gone away.

Text is written as UTF-8 with file names' undecodable bytes restored, so that a path that is printed is a path that
can be used, whatever the locale says. The exception are control characters and separators of lines: they are written as
escapes, because a line is one thing, and a terminal may come at the end of every pipe. On a terminal, text is shown as
everything else is (`stderr.printable`). `--json` is exact.
"""

from __future__ import annotations

import os
import re
import sys

from adacode_cli.cli.stderr import escaped, printable
from adacode_cli.errors import OutputError, reason

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class StdoutClosedError(Exception):
    """Whoever read standard output closed it; there is nobody to tell."""


def write_bytes(data: bytes) -> None:
    """Writes all of `data` and flushes it. Raises StdoutClosedError, and OutputError where the system refuses it."""
    if sys.stdout is None:  # started with standard output closed
        raise StdoutClosedError
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        _point_at_nothing()
        raise StdoutClosedError from error
    except OSError as error:
        _point_at_nothing()
        message = f"cannot be written: {reason(error)}"
        raise OutputError(message, path="<stdout>", hint="Redirect it to a place with enough room.") from error


def write_line(text: str) -> None:
    """Writes one line of text, also where a name in it holds a line break."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    line = printable(text) if terminal else _CONTROLS.sub(lambda found: escaped(found[0]), text)
    write_bytes(f"{line}\n".encode("utf-8", "surrogateescape"))


def _point_at_nothing() -> None:
    # The interpreter flushes stdout once more when it ends and would complain again, with an exit code of its own.
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
