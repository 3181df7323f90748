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
from functools import cache
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from adacode_cli.errors import AdaCodeError, OutputError, reason
from adacode_cli.storage.path import without_secrets

WHOLE = Style(meta={"adacode": "whole"})
"""The style of a part of a text that is never broken, such as a path with spaces. It looks like its surroundings."""

_INDENT = 2
# It stands for a space that is no place to break a line. No printable text contains it.
_KEPT_SPACE = "\ue000"


class LineConsole(Console):
    """A console that shows texts as they are: no markup, no emoji codes, no highlighting.

    On a terminal, lines that are too long are broken between words. A word that is longer than a line, such as a path
    or an address, gets a line of its own, which the terminal continues as it likes. Elsewhere, a text keeps its lines.
    """

    def __init__(self) -> None:
        super().__init__(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)

    @property
    def can_change_lines(self) -> bool:
        """Whether lines that were written can be replaced: on a terminal that is not a dumb one (TERM=dumb)."""
        return self.is_terminal and not self.is_dumb_terminal

    def print(self, *objects: Any, **settings: Any) -> None:  # noqa: ANN401 (as rich's)
        """As rich's; each text among the objects is laid out in lines."""
        if self.is_terminal:
            texts = [Text(one) if isinstance(one, str) else one for one in objects]
            objects = tuple(in_lines(one, self.width) if isinstance(one, Text) else one for one in texts)
        super().print(*objects, **settings)


@cache
def stderr_console() -> LineConsole:
    """The console for messages to people: one for all, so that a line that changes stays below other messages."""
    return LineConsole()


def whole(path: Path | str) -> tuple[str, Style]:
    """A path as a part of a text that is never broken, safe to print."""
    return printable(str(path)), WHOLE


def in_lines(text: Text, width: int) -> Text:
    """`text` in lines of at most `width` columns, if its words allow it; continued lines are indented.

    Nothing is broken within a word, and parts whose style is `WHOLE` not between their words either.
    """
    kept, plain = text.copy(), text.plain
    for start, end, style in text.spans:
        if style == WHOLE:
            plain = f"{plain[:start]}{plain[start:end].replace(' ', _KEPT_SPACE)}{plain[end:]}"
    kept.plain = plain
    lines = Text("\n").join(short for line in kept.split("\n", allow_blank=True) for short in _broken(line, width))
    lines.plain = lines.plain.replace(_KEPT_SPACE, " ")
    return lines


def _broken(line: Text, width: int) -> list[Text]:
    """A line in several, which are all indented as the line is, and all but the first by `_INDENT` at least."""
    indent = len(line.plain) - len(line.plain.lstrip(" "))
    breaks, start, room = [], 0, width
    for word in re.finditer(r"\S+", line.plain):
        if cell_len(line.plain[start : word.end()]) > room and word.start() > max(start, indent):
            breaks.append(word.start())
            start, room = word.start(), width - max(indent, _INDENT)
    parts = line.divide(breaks)
    for part in parts[:-1]:
        part.rstrip()
    return [part if at == 0 else Text(" " * max(indent, _INDENT)) + part for at, part in enumerate(parts)]


def error_text(error: AdaCodeError) -> Text:
    """What failed, on which file, and what to do next."""
    where = (whole(error.path), ": ") if error.path is not None else ()
    text = Text.assemble(("error: ", "bold red"), *where, printable(error.message))
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
    """Tracebacks, made safe to print: without secrets of addresses, and each line is indented, so that none can look
    like a message of adacode.
    """
    return "".join(f"  {printable(line)}\n" for line in without_secrets(trace).rstrip("\n").split("\n"))


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
_QUIET = {"OPENCV_LOG_LEVEL": "SILENT", "TORCH_CPP_LOG_LEVEL": "ERROR"}


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
