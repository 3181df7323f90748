"""The worst images, cropped where the error is greatest and drawn on one sheet, because a mean does not show them.

Only crops are kept, so that test sets of any size fit into memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from adacode_cli.evaluation.metrics import RgbImage
from adacode_cli.evaluation.score import ExampleImages, Mask, Row, Scores
from adacode_cli.tasks import TASKS

CROP_PX = 192
MAX_WORST = 5
# The error is evaluated on a grid of this many pixels, smoothed by a Gaussian about as wide as a third of a crop.
_GRID_PX = 8
_BELL_CELLS = CROP_PX / 6 / _GRID_PX
# A hole is drawn as a checkerboard, as image editors show transparency.
_CHECKER_PX = 8
_CHECKER_GREYS = (110, 150)
# Of the sheet: crops are enlarged so that single pixels can be seen.
_ZOOM = 2
_CELL_PX = CROP_PX * _ZOOM
_GAP_PX = 12
_LINE_PX = 24
_TEXT_PX, _TITLE_PX = 16, 20
_PAPER, _INK, _FAINT = (24, 24, 24), (240, 240, 240), (170, 170, 170)


@dataclass(frozen=True, eq=False)
class Cell:
    """One crop, uint8 RGB, its title, and the scores of its image if it has any."""

    title: str
    crop: RgbImage
    scores: Scores | None = None


@dataclass(frozen=True, eq=False)
class WorstImage:
    """One of the worst images: its cells from left to right; x, y: where the crops were cut, in pixels."""

    name: str
    badness: float
    x: int
    y: int
    cells: tuple[Cell, ...]


@dataclass
class Worst:
    """Collects the `max_found` worst images: those of greatest perceptual distance, or, without one, of least PSNR."""

    task: str
    scale: int = 1
    max_found: int = MAX_WORST
    num_seen: int = 0
    found: list[WorstImage] = field(default_factory=list)

    def add(self, row: Row, images: ExampleImages) -> None:
        """Keeps crops of an image if it is among the worst so far; `found` is sorted, the worst first."""
        self.num_seen += 1
        scores = row.restored
        badness = -scores.psnr if scores.perceptual is None else scores.perceptual
        if len(self.found) == self.max_found and badness <= self.found[-1].badness:
            return
        x, y = worst_corner(images.restored, images.original)
        poor = WorstImage(row.name, badness, x, y, self._cells(row, images, x, y))
        self.found = sorted([*self.found, poor], key=lambda one: -one.badness)[: self.max_found]

    def _cells(self, row: Row, images: ExampleImages, x: int, y: int) -> tuple[Cell, ...]:
        def cut(image: RgbImage) -> RgbImage:
            return image[y : y + CROP_PX, x : x + CROP_PX].copy()

        cells = []
        if TASKS[self.task].enlarges:
            cells.append(Cell(f"input, x{self.scale} by nearest", cut(_nearest(images.input, self.scale))))
        elif images.hole is not None:
            cells.append(Cell("input, holes checkered", cut(_checkered(images.input, images.hole))))
        method = TASKS[self.task].baseline
        if images.baseline is not None and method is not None:
            cells.append(Cell(method, cut(images.baseline), row.baseline))
        ours, original = Cell("adacode", cut(images.restored), row.restored), Cell("original", cut(images.original))
        return (*cells, ours, original)


def worst_corner(restored: RgbImage, original: RgbImage, crop_px: int = CROP_PX) -> tuple[int, int]:
    """x, y of the upper left corner of the crop, inside the image, around the region of greatest squared error."""
    height, width = original.shape[:2]
    error = np.square(restored.astype(np.float32) - original.astype(np.float32)).mean(2)
    grid = (max(1, width // _GRID_PX), max(1, height // _GRID_PX))
    coarse = cv2.resize(error, grid, interpolation=cv2.INTER_AREA)
    # Outside the image the error is 0, so a region at the edge counts only with its part inside the image.
    spread = cv2.GaussianBlur(coarse, (0, 0), _BELL_CELLS, borderType=cv2.BORDER_CONSTANT)
    row, column = np.unravel_index(int(spread.argmax()), spread.shape)
    x = round((int(column) + 0.5) * width / grid[0] - crop_px / 2)
    y = round((int(row) + 0.5) * height / grid[1] - crop_px / 2)
    return max(0, min(x, width - crop_px)), max(0, min(y, height - crop_px))


def _nearest(image: RgbImage, scale: int) -> RgbImage:
    return image.repeat(scale, 0).repeat(scale, 1)


def _checkered(image: RgbImage, hole: Mask) -> RgbImage:
    rows, columns = (np.arange(side) // _CHECKER_PX for side in hole.shape)
    odd = (rows[:, None] + columns[None, :]) % 2
    board = np.asarray(_CHECKER_GREYS, np.uint8)[odd]
    return np.where(hole[..., None], board[..., None], image).astype(np.uint8)


def draw_sheet(worst: Worst, title: str, distance: str) -> bytes:
    """A PNG with `title` at its top; `distance` is what the perceptual scores are called.

    A row for each image found: its name, then crops at twice their size (pixels repeated), with titles and scores.
    """
    num_columns = max((len(poor.cells) for poor in worst.found), default=1)
    row_height = 2 * _LINE_PX + _CELL_PX + 2 * _GAP_PX
    width = _GAP_PX + num_columns * (_CELL_PX + _GAP_PX)
    sheet = Image.new("RGB", (width, 2 * _LINE_PX + len(worst.found) * row_height + _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_GAP_PX, _GAP_PX), title, room_px=width - 2 * _GAP_PX, ink=_INK, size_px=_TITLE_PX)
    for i, poor in enumerate(worst.found):
        _draw_row(sheet, poor, 2 * _LINE_PX + i * row_height, heading=f"{i + 1}.  {poor.name}", distance=distance)
    file = BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _draw_row(sheet: Image.Image, poor: WorstImage, top: int, *, heading: str, distance: str) -> None:
    draw, room = ImageDraw.Draw(sheet), sheet.width - 2 * _GAP_PX
    _write(draw, (_GAP_PX, top + _GAP_PX), f"{heading},  crop at x {poor.x}, y {poor.y}", room_px=room, ink=_INK)
    for i, cell in enumerate(poor.cells):
        left = _GAP_PX + i * (_CELL_PX + _GAP_PX)
        label = cell.title if cell.scores is None else f"{cell.title}:  {_scores_text(cell.scores, distance)}"
        _write(draw, (left, top + _GAP_PX + _LINE_PX), label, room_px=_CELL_PX, ink=_FAINT)
        enlarged = np.ascontiguousarray(cell.crop.repeat(_ZOOM, 0).repeat(_ZOOM, 1))
        sheet.paste(Image.fromarray(enlarged), (left, top + _GAP_PX + 2 * _LINE_PX))


def _scores_text(scores: Scores, distance: str) -> str:
    parts = [f"{scores.psnr:.2f} dB"]
    if scores.ssim is not None:
        parts.append(f"SSIM {scores.ssim:.3f}")
    if scores.perceptual is not None:
        parts.append(f"{distance} {scores.perceptual:.3f}")
    return ",  ".join(parts)


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    *,
    room_px: int,
    ink: tuple[int, int, int],
    size_px: int = _TEXT_PX,
) -> None:
    """One line, shortened to the available width."""
    font = ImageFont.load_default(size_px)
    shown = text.encode("ascii", "replace").decode()  # Pillow's own font has no other letters
    if draw.textlength(shown, font) > room_px:
        while shown and draw.textlength(f"{shown}...", font) > room_px:
            shown = shown[:-1]
        shown += "..."
    draw.text(place, shown, ink, font)
