"""One table of all parts, written again after each of them: its commands, how it ended, and the figures."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpu_run.processes import Ended


@dataclass
class Row:
    """One part. commands: each with how it ended. note: why it did not run, or another remark."""

    name: str
    commands: list[tuple[Sequence[str], Ended]] = field(default_factory=list)
    note: str = ""
    figures: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Whether all of its commands succeeded."""
        return bool(self.commands) and all(ended.code == 0 and ended.why == "itself" for _, ended in self.commands)


def table(rows: Sequence[Row], known_as: Mapping[str, str]) -> str:
    """Markdown, one line for each part. known_as: parts of commands, such as folders, and their short names."""
    lines = ["| part | command | seconds | ended | figures |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        seconds = sum(ended.seconds for _, ended in row.commands)
        cells = (
            row.name,
            "<br>".join(f"`{_short(command, known_as)}`" for command, _ in row.commands),
            f"{seconds:.1f}" if row.commands else "",
            "<br>".join(filter(None, [*(how(ended) for _, ended in row.commands), row.note])),
            "<br>".join(row.figures),
        )
        lines.append(f"| {' | '.join(cell.replace('|', '¦').replace(chr(10), ' ') for cell in cells)} |")
    return "\n".join(lines)


def how(ended: Ended) -> str:
    """The exit status or the signal, and whether it was stopped, as text."""
    status = f"exit {ended.code}" if ended.code >= 0 else f"killed by {signal.Signals(-ended.code).name}"
    return {"itself": status, "limit": f"stopped at its limit: {status}", "interrupted": f"interrupted: {status}"}[
        ended.why
    ]


def write(path: Path, rows: Sequence[Row], head: str, known_as: Mapping[str, str]) -> None:
    """Writes the whole page. An error of the disk must not prevent the following parts."""
    try:
        path.write_text(f"# On a GPU\n\n{head}\n\n{table(rows, known_as)}\n", encoding="utf-8")
    except OSError as error:
        print(f"{path} cannot be written: {error}", file=sys.stderr)


def _short(command: Sequence[str], known_as: Mapping[str, str]) -> str:
    text = shlex.join(command)
    for long, short in known_as.items():
        text = text.replace(long, short)
    return text if len(text) <= 400 else f"{text[:400]} …"
