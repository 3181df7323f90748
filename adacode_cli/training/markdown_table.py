"""Tables of GitHub's Markdown in which every cell is text, whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# What CommonMark and GitHub's tables give a meaning to inside a line.
_MARKUP = re.compile(r"([\\`*_\[\]<>|&~#])")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The table, a line each for header, rule and row, each ending in a line break. The header is Markdown as it is."""
    lines = [header, ["---"] * len(header), *([_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text)
    return _MARKUP.sub(r"\\\1", " ".join(printable.split()))
