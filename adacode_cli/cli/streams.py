"""What goes to standard error and to standard output, and how texts of others are made fit to be shown there.

Everything meant for a person goes to standard error, in colour only where a terminal shows it. Names and texts of
files are the work of others: `printable` is the one place that makes them fit to be shown, on a terminal and in a log,
so that they are never markup, never control a terminal and never make a line of their own. Warnings and log records of
libraries are for whoever looks for a fault: they are shown with -v.

Standard output is for data only; it is complete, and quiet when the reader has gone away. Text is written as UTF-8 with
undecodable bytes of file names restored, so that a path that is printed is a path that can be used, whatever the locale
is. The exceptions are control characters and separators of lines: they are written as escapes, because a line is one
thing, and a terminal may come at the end of every pipe. On a terminal, text is shown as everything else is. `--json` is
exact.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.text import Text

from adacode_cli.errors import AdaCodeError, OutputError, reason


def stderr_console() -> Console:
    """A console that prints texts as they are: no markup, no emoji codes, no highlighting, no wrapping of paths."""
    return Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


def error_text(error: AdaCodeError) -> Text:
    """What failed, on which file, and what to do next."""
    text = Text.assemble(("error: ", "bold red"), printable(str(error)))
    if error.hint:
        text.append(f"\n  {printable(error.hint)}", style="dim")
    return text


def printable(text: str) -> str:
    """`text` in one line: whatever no one can see, or controls how others are shown, is written as an escape.

    That is control and format characters (those that turn the direction of writing too), separators except the blank,
    undecodable bytes of file names, lone surrogates, and characters that Unicode does not define.
    """
    if text.isascii() and text.isprintable():
        return text
    # Surrogates that stand for no byte of a file's name come from texts within files.
    plain = _OTHER_SURROGATES.sub(lambda found: escaped(found[0]), text)
    shown = plain.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else escaped(char) for char in shown)


_OTHER_SURROGATES = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def escaped(char: str) -> str:
    """`char` as Python writes it in ASCII: \\x1b, \\u202e."""
    return char.encode("unicode_escape").decode()


def printable_trace(trace: str) -> str:
    """A traceback, or several, to be shown: each of its lines is indented, so that none passes for one of ours."""
    return "".join(f"  {printable(line)}\n" for line in trace.rstrip("\n").split("\n"))


def show_trace(error: BaseException) -> None:
    """Writes the traceback of `error` to standard error."""
    sys.stderr.write(printable_trace("".join(traceback.format_exception(error))))


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


# Libraries with logs of their own, which they read when they are loaded.
_QUIET = {"HF_HUB_VERBOSITY": "error", "OPENCV_LOG_LEVEL": "SILENT", "TORCH_CPP_LOG_LEVEL": "ERROR"}


def heard_only_if(verbose: Callable[[], bool]) -> None:
    """From now on warnings and log records reach standard error only where `verbose` says so.

    Whoever has set one of their variables, PYTHONWARNINGS too, has asked for them.
    """
    for name, level in _QUIET.items():
        os.environ.setdefault(name, level)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        *_line: Any,  # noqa: ANN401 (as the module `warnings` calls it)
        **_file: Any,  # noqa: ANN401
    ) -> None:
        """What `warnings` calls for each warning: shows it where `verbose` says so."""
        if verbose():
            sys.stderr.write(printable_trace(warnings.formatwarning(message, category, filename, lineno)))

    if not sys.warnoptions:
        warnings.showwarning = show
    logging.getLogger().addHandler(_Shown(verbose))


class _Shown(logging.Handler):
    """Takes the place of the handler that logging falls back on."""

    def __init__(self, verbose: Callable[[], bool]) -> None:
        super().__init__(logging.WARNING)
        self._verbose = verbose

    def emit(self, record: logging.LogRecord) -> None:
        if self._verbose():
            sys.stderr.write(printable_trace(self.format(record)))
