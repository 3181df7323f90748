"""The worst pictures drawn on one sheet: a row each, crops enlarged twice so that single pixels can be seen."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from adacode_cli.evaluation.score import Scores
from adacode_cli.evaluation.worst import CROP_PX, Poor, Worst

_ZOOM = 2
_CELL_PX = CROP_PX * _ZOOM
_GAP_PX = 12
_LINE_PX = 24
_TEXT_PX, _TITLE_PX = 16, 20
_PAPER, _INK, _FAINT = (24, 24, 24), (240, 240, 240), (170, 170, 170)


def draw_sheet(worst: Worst, title: str, distance: str) -> bytes:
    """A PNG with `title` at its top; `distance` is what the perceptual scores are called.

    A row for each picture found: its name, then crops at twice their size (pixels repeated), with titles and scores.
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


def _draw_row(sheet: Image.Image, poor: Poor, top: int, *, heading: str, distance: str) -> None:
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
    """One line, shortened to the room there is."""
    font = ImageFont.load_default(size_px)
    shown = text.encode("ascii", "replace").decode()  # all that Pillow's own font has
    if draw.textlength(shown, font) > room_px:
        while shown and draw.textlength(f"{shown}...", font) > room_px:
            shown = shown[:-1]
        shown += "..."
    draw.text(place, shown, ink, font)
