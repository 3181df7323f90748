"""docs/reliability.md: a row for each fault, with what the program really did and said when a test provoked it."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_BEGIN, _END = "<!-- faults -->\n", "<!-- end of faults -->\n"
_HEADER = "| fault | exit code | message | the rest |\n| --- | --- | --- | --- |\n"


class Table:
    """Rows of the page. Each is compared with the page, or collected where the page is written anew."""

    def __init__(self, page: Path, *, rewrite: bool) -> None:
        self._page, self._rewrite = page, rewrite
        self._rows: list[str] = []

    def row(self, fault: str, exit_code: int, said: str, rest: str) -> None:
        """`said` is a line of the program's; the hint at its end is left out."""
        row = f"| {fault} | {exit_code} | {_plain(said)} | {rest} |\n"
        if self._rewrite:
            self._rows.append(row)
        else:
            assert row in self._page.read_text(encoding="utf-8"), (
                f"{row}is not in {self._page.name}: ADACODE_WRITE_RELIABILITY=1 python -m pytest tests/faults writes it"
            )

    def save(self) -> None:
        """Writes the page's table anew, if rows were collected."""
        if not self._rows:
            return
        text = self._page.read_text(encoding="utf-8")
        before, rest = text.split(_BEGIN)
        after = rest.split(_END)[1]
        table = _BEGIN + "\n" + _HEADER + "".join(sorted(self._rows)) + "\n" + _END
        self._page.write_text(before + table + after, encoding="utf-8")


def _plain(said: str) -> str:
    without_hint = re.sub(r" \([A-Z][^()]*(\([^()]*\)[^()]*)?\)$", "", said.strip())
    text = re.sub(r"\s+", " ", without_hint).replace("|", "\\|")
    return f"`{text}`" if text else "nothing"
