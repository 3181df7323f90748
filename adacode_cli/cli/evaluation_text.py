"""What `adacode eval` tells: a table for a person, one object for a program (documented in docs/json.md)."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adacode_cli.cli.stderr import printable
from adacode_cli.tasks import TASKS

if TYPE_CHECKING:
    from adacode_cli.evaluation.score import Row, Scores

# Tables are no wider than they must be; names of pictures are not cut before this.
_PAGE_COLUMNS = 200
_OURS = "adacode"
_FORMS = (("psnr", "PSNR", ".2f"), ("ssim", "SSIM", ".4f"), ("perceptual", "LPIPS", ".4f"))


@dataclass(frozen=True)
class Findings:
    """What was measured, of what, and with which weights and perceptual network (a name, or None)."""

    task: str
    scale: int
    denoise: float
    weights: str
    perceptual: str | None
    worst: Path | None
    rows: list[Row]

    @property
    def means(self) -> tuple[Scores, Scores | None]:
        """Of the restored pictures, and of the baseline's, if there is one."""
        from adacode_cli.evaluation.score import mean_scores

        simple = [row.simple for row in self.rows if row.simple]
        return mean_scores(row.restored for row in self.rows), mean_scores(simple) if simple else None

    @property
    def step(self) -> str:
        """What was measured, in words."""
        task = f"{self.task} x{self.scale}" if TASKS[self.task].enlarges else self.task
        return task if self.denoise == 1 else f"{task}, denoise {self.denoise:g}"

    @property
    def simple_method(self) -> str | None:
        """What the baseline is called."""
        return TASKS[self.task].baseline

    @property
    def border_px(self) -> int:
        """How much of each border PSNR and SSIM leave out."""
        from adacode_cli.evaluation.metrics import BORDER_PX

        return 0 if TASKS[self.task].fills_hole else BORDER_PX

    @property
    def distance(self) -> str:
        """What the perceptual distance is called."""
        from adacode_cli.evaluation.perceptual import perceptual_title

        return perceptual_title(self.perceptual or "")


def json_object(found: Findings) -> dict[str, object]:
    """All figures, unrounded; keys and meanings as docs/json.md has them."""
    restored, simple = found.means
    return {
        "version": 1,
        "task": found.task,
        "scale": found.scale,
        "denoise": found.denoise,
        "weights": found.weights,
        "perceptual": found.perceptual,
        "border_px": found.border_px,
        "images": len(found.rows),
        "simple_method": found.simple_method,
        "restored": asdict(restored),
        "simple": simple and asdict(simple),
        "rows": [asdict(row) for row in found.rows],
        "worst": None if found.worst is None else str(found.worst),
    }


def table_lines(found: Findings) -> list[str]:
    """A line for every picture, the means below them, then what the figures are."""
    restored, simple = found.means
    kinds = [kind for kind in _FORMS if getattr(restored, kind[0]) is not None]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("\npicture", no_wrap=True)
    for method in (_OURS, found.simple_method) if simple else (_OURS,):
        for key, title, _ in kinds:
            table.add_column(
                f"{method}\n{printable(found.distance) if key == 'perceptual' else title}", justify="right"
            )
    for row in found.rows:
        table.add_row(Text(printable(row.name)), *_cells(kinds, row.restored, row.simple))
    table.add_section()
    table.add_row(f"mean of {len(found.rows)}", *_cells(kinds, restored, simple))
    return [*_drawn(table), "", *_notes(found)]


def _cells(kinds: list[tuple[str, str, str]], *scores: Scores | None) -> list[str]:
    return [format(getattr(one, key), form) for one in scores if one is not None for key, _, form in kinds]


def _notes(found: Findings) -> list[str]:
    if TASKS[found.task].fills_hole:
        what = "PSNR in dB, of RGB inside the holes."
    else:
        what = f"PSNR in dB and SSIM, of luma without a border of {found.border_px} px."
    lines = [f"{_OURS}: {found.step}, weights {printable(found.weights)}", f"{what} Higher is better."]
    if found.perceptual:
        lines.append(
            f"{printable(found.distance)}: {printable(found.perceptual)}, of whole RGB pictures. Lower is better."
        )
    if found.worst:
        lines.append(f"worst: {printable(str(found.worst))}")
    return lines


def _drawn(table: Table) -> list[str]:
    page = io.StringIO()
    Console(file=page, width=_PAGE_COLUMNS, color_system=None, markup=False, emoji=False).print(table)
    lines = [line.rstrip() for line in page.getvalue().splitlines()]
    return "\n".join(lines).strip("\n").split("\n")  # without the empty lines above and below
