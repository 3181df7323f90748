"""Everything meant for a person goes to standard error, in colour only where a terminal shows it.

Names and texts of files are the work of others: `printable` is the one place that makes them fit to be shown, on a
terminal and in a log, so that they are never markup, never control a terminal and never make a line of their own.
"""

from __future__ import annotations

import re
import sys
import traceback

from rich.console import Console
from rich.text import Text

from adacode_cli.errors import AdaCodeError


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
