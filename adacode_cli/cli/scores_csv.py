"""The file of `adacode eval --csv`: a line for every image of every method, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adacode_cli.errors import UsageError

if TYPE_CHECKING:
    from adacode_cli.evaluation.score import Scores

Csv = Annotated[
    Path | None,
    typer.Option(metavar="FILE.csv", help="Write the scores of every image; replaced if it exists."),
]
COLUMNS = ("method", "image", "psnr", "ssim", "perceptual", "precision", "cut")
"""precision is empty if it is not known; cut is 1 if the original was cut to the size of the image, otherwise 0."""


def check_csv(path: Path, sources: Sequence[Path], folders: Sequence[Path]) -> None:
    """Raises before the slow steps: UsageError for another kind of file, OutputError where it cannot be written.

    sources, folders: what is read, which it must not replace.
    """
    from adacode_cli import atomic
    from adacode_cli.batch.kept import Kept

    if path.suffix.lower() != ".csv":
        raise UsageError(f"--csv {path} is not a .csv", hint="Choose a name that ends in .csv.")
    kept = Kept(folders=tuple(folders))
    kept.refuse(sorted(sources), [path], "--csv")
    if path.exists():
        kept.refuse_original(path, "--csv")
    atomic.check_writable(path)


def line_of(method: str, image: str, scores: Scores, precision: str = "", *, cut: bool) -> tuple[object, ...]:
    """The values of one line, unrounded; a score that was not measured is empty."""
    return (method, image, scores.psnr, scores.ssim, scores.perceptual, precision, int(cut))


def write_csv(path: Path, lines: Iterable[tuple[object, ...]]) -> None:
    """Writes the file. Raises OutputError where the disk refuses."""
    from adacode_cli import atomic

    page = io.StringIO(newline="")
    table = csv.writer(page, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(lines)
    atomic.write_bytes(path, page.getvalue().encode("utf-8", "surrogateescape"))
