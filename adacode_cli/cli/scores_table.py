"""Tables of scores, which are plain text also where standard output is no terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from adacode_cli.evaluation.score import Scores

# Tables are as narrow as possible; names of images are cut only at this width.
_PAGE_COLUMNS = 200
FORMS = (("psnr", "PSNR", ".2f"), ("ssim", "SSIM", ".4f"), ("perceptual", "LPIPS", ".4f"))
"""Field of `Scores`, its title, and how it is written."""


def cells_of(kinds: list[tuple[str, str, str]], *scores: Scores | None) -> list[str]:
    """The figures of some of the FORMS, of all scores that are there."""
    return [format(getattr(one, key), form) for one in scores if one is not None for key, _, form in kinds]


def drawn(table: Table) -> list[str]:
    """The lines of a table, without the empty ones above and below."""
    page = io.StringIO()
    Console(file=page, width=_PAGE_COLUMNS, color_system=None, markup=False, emoji=False).print(table)
    lines = [line.rstrip() for line in page.getvalue().splitlines()]
    return "\n".join(lines).strip("\n").split("\n")
