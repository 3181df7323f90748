"""`adacode eval --worst DIR`: a page of all results on a test set beside their originals, the worst first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from adacode_cli.errors import UsageError
from adacode_cli.tasks import TASKS

if TYPE_CHECKING:
    from adacode_cli.batch.gallery.pairs import Pair
    from adacode_cli.evaluation.score import ExampleImages, Row, Scores
    from adacode_cli.evaluation.testset import Example

_ORIGINAL, _INPUT, _OURS = "original", "input", "adacode"


def is_sheet(path: Path) -> bool:
    """Whether --worst names a sheet, not a page. Raises UsageError for a file of another kind."""
    if path.suffix.lower() == ".png":
        return True
    if path.suffix and not path.is_dir():
        hint = "Choose a name that ends in .png for a sheet, or a name without a suffix for a page."
        raise UsageError(f"--worst {path} is not a .png", hint=hint)
    return False


def check_page(path: Path, data: Path, _examples: tuple[Example, ...]) -> None:
    """Raises OutputError for a directory that the page cannot be written into: it would replace or mix with files."""
    from adacode_cli import atomic
    from adacode_cli.batch.gallery.compare import Folder, check_apart
    from adacode_cli.batch.gallery.whole import check_place

    check_place(path)
    check_apart(path, [Folder(str(data), data)])
    if not path.exists():
        atomic.check_writable(path)


class WorstPage:
    """The page, to which each measured image is added.

    distance: what the perceptual distance is called; "" without one, and then the least PSNR is the worst.
    """

    def __init__(self, folder: Path, task: str, scale: int, distance: str) -> None:
        from adacode_cli.batch.gallery.pairs import PairPage

        self._task, self._scale, self._distance = task, scale, distance
        order = f"sort={quote(distance)}&down=1" if distance else "sort=psnr"
        self._page = PairPage(folder, f"folder={_ORIGINAL}&{order}")

    def add(self, row: Row, images: ExampleImages) -> None:
        """Adds an image. Raises OutputError."""
        for pair in self._pairs(row, images):
            self._page.add(pair)

    def finish(self) -> Path:
        """Completes the page and returns its file. Raises OutputError."""
        return self._page.finish().page

    def _pairs(self, row: Row, images: ExampleImages) -> Iterator[Pair]:
        """The result beside its original, its input and the baseline: a folder of the page for each."""
        from adacode_cli.batch.gallery.pairs import Pair

        task, result = TASKS[self._task], images.restored
        figures = self._figures(row.restored)
        yield Pair(f"{_ORIGINAL}/{row.name}", (_ORIGINAL, _OURS), images.original, result, figures, images.hole)
        if task.enlarges:
            enlarged = images.input.repeat(self._scale, 0).repeat(self._scale, 1)
            yield Pair(f"{_INPUT}/{row.name}", (_INPUT, _OURS), enlarged, result, figures)
        elif images.hole is not None:
            yield Pair(f"{_INPUT}/{row.name}", (_INPUT, _OURS), images.input, result, figures, images.hole)
        if images.baseline is not None and task.baseline is not None:
            place = f"{task.baseline}/{row.name}"
            yield Pair(place, (task.baseline, _OURS), images.baseline, result, figures, images.hole)

    def _figures(self, scores: Scores) -> dict[str, float]:
        figures = {"psnr": scores.psnr, "ssim": scores.ssim, self._distance: scores.perceptual}
        return {name: round(value, 5) for name, value in figures.items() if value is not None}
