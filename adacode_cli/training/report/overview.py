"""A run in one image: for each section its panels in rows, and under them the latest samples of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from adacode_cli.errors import OutputError
from adacode_cli.training.report import curves
from adacode_cli.training.report.panels import Section, panels, sections
from adacode_cli.training.run_record import RunRecord, StageRecord

_DPI = 96
_ACROSS = 4
_TILE_PX = int(curves.WIDTH_INCHES * _DPI)
_SAMPLE_HEIGHT_PX = 900
_GAP_PX = 16
_WHITE = 255


def overview_png(record: RunRecord) -> bytes:
    """All curves and latest samples of a run as a PNG file, about 1950 pixels wide.

    Raises UsageError where matplotlib is missing, OutputError where the image is too large for a PNG.
    """
    curves.check_available()
    parts: list[NDArray[np.uint8]] = [_title(f"Training run {record.folder.resolve().name}", points=20)]
    for section in sections(record):
        parts += _section(section)
    page = np.pad(_stacked(parts), ((_GAP_PX, 0), (_GAP_PX, 0), (0, 0)), constant_values=_WHITE)
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(page[..., ::-1]))
    if not encoded:
        message = f"a PNG cannot hold {page.shape[0]}×{page.shape[1]} pixels"
        raise OutputError(message, path=record.folder, hint="Ask for the page instead: -o FILE.html")
    return data.tobytes()


def read_sample(path: Path) -> NDArray[np.uint8] | None:
    """An image file as H×W×3 uint8 RGB, or None if it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    return None if image is None else np.ascontiguousarray(image[..., ::-1], np.uint8)


def _section(section: Section) -> list[NDArray[np.uint8]]:
    tiles = [curves.pixels(panel, _DPI) for panel in panels(section)]
    samples = [sheet for stage in section.stages for sheet in _latest(stage)]
    return [_title(section.title), *_rows(tiles), *_rows(samples)]


def _rows(tiles: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Tiles side by side, in as many rows as necessary."""
    rows: list[list[NDArray[np.uint8]]] = []
    for tile in tiles:
        used = sum(placed.shape[1] + _GAP_PX for placed in rows[-1]) if rows else 0
        if not rows or used + tile.shape[1] > _ACROSS * (_TILE_PX + _GAP_PX):
            rows.append([])
        rows[-1].append(tile)
    return [_beside(row) for row in rows]


def _latest(stage: StageRecord) -> list[NDArray[np.uint8]]:
    """The latest sample that can be read, under its caption; nothing where there is none."""
    for sample in reversed(stage.samples):
        sheet = read_sample(sample.path)
        if sheet is not None:
            small = _fitted(sheet)
            caption = f"{stage.name}, step {sample.step}: input | output | target"
            width = max(small.shape[1], _TILE_PX)
            return [_stacked([curves.title_pixels(caption, width, _DPI, points=9), small])]
    return []


def _fitted(sheet: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = sheet.shape[:2]
    factor = min(1.0, _SAMPLE_HEIGHT_PX / height, _ACROSS * _TILE_PX / width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(sheet, size, interpolation=cv2.INTER_AREA), np.uint8) if factor < 1 else sheet


def _title(text: str, *, points: float = 15) -> NDArray[np.uint8]:
    return curves.title_pixels(text, _ACROSS * _TILE_PX, _DPI, points=points)


def _beside(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    height = max(tile.shape[0] for tile in tiles)
    return np.concatenate([_padded(tile, height, tile.shape[1] + _GAP_PX) for tile in tiles], axis=1)


def _stacked(parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    width = max(part.shape[1] for part in parts)
    return np.concatenate([_padded(part, part.shape[0] + _GAP_PX // 2, width) for part in parts], axis=0)


def _padded(tile: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """White at the bottom and at the right."""
    missing = ((0, height - tile.shape[0]), (0, width - tile.shape[1]), (0, 0))
    return np.pad(tile, missing, constant_values=_WHITE)
