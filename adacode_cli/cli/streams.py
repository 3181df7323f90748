"""Standard error and standard output, and how untrusted texts are made safe to print.

All messages for people go to standard error, in colour only on a terminal. File names and texts from files are not
trusted: `printable` is the one function that makes them safe to show, on a terminal and in a log. After it, they are
never markup, cannot control a terminal, and cannot begin a new line. Warnings and log records of libraries are shown
only with -v.

Standard output is for data only. If its reader closes it, no further error is shown. Text is written in UTF-8 with the
undecodable bytes of file names restored, so a printed path can be used, whatever the locale is. The exceptions are
control characters and line separators: they are written as escapes, because every entry is one line, and the reader of
a pipe may show it on a terminal. On a terminal, text is escaped as on standard error. `--json` is exact.
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
    """`text` in one line: invisible characters, and those that change how others are shown, are written as escapes.

    These are control and format characters (also those that change the writing direction), separators except the space,
    undecodable bytes of file names, lone surrogates, and characters that Unicode does not define.
    """
    if text.isascii() and text.isprintable():
        return text
    # Surrogates that do not represent a byte of a file's name come from texts within files.
    plain = _OTHER_SURROGATES.sub(lambda found: escaped(found[0]), text)
    shown = plain.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else escaped(char) for char in shown)


_OTHER_SURROGATES = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def escaped(char: str) -> str:
    """`char` as Python writes it in ASCII: \\x1b, \\u202e."""
    return char.encode("unicode_escape").decode()


def printable_trace(trace: str) -> str:
    """Tracebacks, made safe to print: each line is indented, so that none can look like a message of adacode."""
    return "".join(f"  {printable(line)}\n" for line in trace.rstrip("\n").split("\n"))


def show_trace(error: BaseException) -> None:
    """Writes the traceback of `error` to standard error."""
    sys.stderr.write(printable_trace("".join(traceback.format_exception(error))))


_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class StdoutClosedError(Exception):
    """The reader of standard output has closed it, so no message can reach it."""


def write_bytes(data: bytes) -> None:
    """Writes all of `data` and flushes it. Raises StdoutClosedError, and OutputError where the system refuses it."""
    if sys.stdout is None:  # started with standard output closed
        raise StdoutClosedError
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        _redirect_stdout_to_null()
        raise StdoutClosedError from error
    except OSError as error:
        _redirect_stdout_to_null()
        message = f"cannot be written: {reason(error)}"
        raise OutputError(message, path="<stdout>", hint="Redirect it to a place with enough room.") from error


def write_line(text: str) -> None:
    """Writes one line of text, also if a name in it contains a line break."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    line = printable(text) if terminal else _CONTROLS.sub(lambda found: escaped(found[0]), text)
    write_bytes(f"{line}\n".encode("utf-8", "surrogateescape"))


def _redirect_stdout_to_null() -> None:
    # The interpreter flushes stdout when it ends; another error there would change the exit code.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


# Variables that set the log levels of libraries; they are read when the library is imported.
_QUIET = {"HF_HUB_VERBOSITY": "error", "OPENCV_LOG_LEVEL": "SILENT", "TORCH_CPP_LOG_LEVEL": "ERROR"}


def show_warnings_only_if(verbose: Callable[[], bool]) -> None:
    """From now on warnings and log records are shown on standard error only while `verbose()` is true.

    Variables that the user has set, such as PYTHONWARNINGS, keep their effect.
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
        """`warnings` calls this for each warning; it shows the warning if `verbose()` is true."""
        if verbose():
            sys.stderr.write(printable_trace(warnings.formatwarning(message, category, filename, lineno)))

    if not sys.warnoptions:
        warnings.showwarning = show
    logging.getLogger().addHandler(_Shown(verbose))


class _Shown(logging.Handler):
    """Replaces the fallback handler of `logging`."""

    def __init__(self, verbose: Callable[[], bool]) -> None:
        super().__init__(logging.WARNING)
        self._verbose = verbose

    def emit(self, record: logging.LogRecord) -> None:
        if self._verbose():
            sys.stderr.write(printable_trace(self.format(record)))
