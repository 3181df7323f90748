"""Everything meant for a person goes to standard error, in colour only where a terminal shows it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from adacode_cli.errors import AdaCodeError


def stderr_console() -> Console:
    """A console that prints texts as they are: no markup, no highlighting, no wrapping of paths."""
    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def error_text(error: AdaCodeError) -> Text:
    """What failed, on which file, and what to do next."""
    text = Text.assemble(("error: ", "bold red"), printable(str(error)))
    if error.hint:
        text.append(f"\n  {error.hint}", style="dim")
    return text


def printable(text: str) -> str:
    """`text` with undecodable bytes and control characters of file names made visible."""
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
