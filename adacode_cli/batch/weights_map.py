"""Draws the mixing weights of one image: where each basis codebook was used, and how much.

There is one panel for each basis, named by its category, all with one colour scale so that panels can be compared;
beside the image itself, an overlay shows the basis with the largest weight at each place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]

_PANEL_LONG_SIDE_PX = 400
_PANEL_SHORT_SIDE_PX = 160
_GAP_PX = 16
_CAPTION_PX = 44
_SCALE_BAR_PX = 64
_FONT_PX = 15
_PAPER = (255, 255, 255)
_INK = (30, 30, 30)
_OVERLAY_SHARE = 0.55

# Okabe and Ito's palette, which colour-blind readers can distinguish; with more bases, colours are repeated.
_PALETTE = np.array(
    [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)],
    dtype=np.uint8,
)


@dataclass(frozen=True)
class _Panel:
    title: str
    detail: str
    pixels: Pixels
    swatch: tuple[int, int, int] | None = None


def draw(
    image: NDArray[Any],
    mixing_weights: NDArray[np.float32],
    categories: Sequence[str],
    extent: tuple[float, float] = (1.0, 1.0),
) -> Pixels:
    """A sheet of panels, H×W×3 uint8 RGB.

    `image` is H×W or H×W×3 of any image dtype (float in [0, 1]), `mixing_weights` K×h×w (any finite values),
    `categories` their K names, `extent` height and width of the h×w cells in shares of the image's, at least 1.
    """
    assert len(categories) == len(mixing_weights), "one name per basis"
    height, width = _panel_size(image.shape)
    shown = _resize(_as_rgb8(image), height, width)
    dominant = np.argmax(mixing_weights, axis=0)
    low, high = range_of(mixing_weights)
    panels = [
        _Panel("image", "as restored", shown),
        _Panel("overlay", "the basis that weighs most", _overlay(shown, dominant, extent)),
    ]
    for index, category in enumerate(categories):
        share = float(np.mean(dominant == index))
        detail = f"mean {mixing_weights[index].mean():.2f}, most in {share:.0%}"
        heat = _heat(mixing_weights[index], low, high)
        swatch = color_of(index)
        panels.append(_Panel(category, detail, _of_cells(heat, height, width, extent), swatch))
    return _sheet(panels, height, width, low, high)


def _panel_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """(height, width) of a panel: the image's aspect ratio, within bounds in which a caption fits."""
    scale = _PANEL_LONG_SIDE_PX / max(shape[:2])
    height, width = (max(round(side * scale), _PANEL_SHORT_SIDE_PX) for side in shape[:2])
    return height, width


def range_of(mixing_weights: NDArray[np.float32]) -> tuple[float, float]:
    """The smallest and the largest value of the scale on which mixing weights are drawn."""
    low, high = min(0.0, float(mixing_weights.min())), float(mixing_weights.max())
    return low, high if high > low else low + 1.0


def _as_rgb8(image: NDArray[Any]) -> Pixels:
    peak = 1.0 if np.issubdtype(image.dtype, np.floating) else float(np.iinfo(image.dtype).max)
    grey_or_rgb = np.rint(np.clip(image / peak, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.repeat(grey_or_rgb[..., None], 3, axis=2) if grey_or_rgb.ndim == 2 else grey_or_rgb


def _resize(image: Pixels, height: int, width: int) -> Pixels:
    interpolation = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), dtype=np.uint8)


def _of_cells(cells: Pixels, height: int, width: int, extent: tuple[float, float]) -> Pixels:
    """A panel of cells in one colour each, without what is beyond the edge of the image."""
    sides = zip((height, width), cells.shape[:2], extent, strict=True)
    rows, columns = (((np.arange(side) + 0.5) / side * number / share).astype(int) for side, number, share in sides)
    return np.asarray(cells[np.ix_(rows, columns)])


def _heat(plane: NDArray[np.float32], low: float, high: float) -> Pixels:
    levels = np.rint(np.clip((plane - low) / (high - low), 0.0, 1.0) * 255.0).astype(np.uint8)
    colored: Pixels = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)
    return np.ascontiguousarray(colored[..., ::-1])


def color_of(index: int) -> tuple[int, int, int]:
    """Red, green and blue of a basis, by its number; with many bases, colours are repeated."""
    red, green, blue = (int(part) for part in _PALETTE[index % len(_PALETTE)])
    return red, green, blue


def _overlay(shown: Pixels, dominant: NDArray[np.intp], extent: tuple[float, float]) -> Pixels:
    grey = np.asarray(Image.fromarray(shown).convert("L").convert("RGB"), dtype=np.float32)
    colors = _of_cells(_PALETTE[dominant % len(_PALETTE)], shown.shape[0], shown.shape[1], extent)
    mixed = (1.0 - _OVERLAY_SHARE) * grey + _OVERLAY_SHARE * colors
    return np.rint(mixed).astype(np.uint8)


def _sheet(panels: Sequence[_Panel], height: int, width: int, low: float, high: float) -> Pixels:
    columns = math.ceil(math.sqrt(len(panels) * height / width))
    columns = min(max(columns, 2), len(panels))
    rows = math.ceil(len(panels) / columns)
    sheet_width = columns * (width + _GAP_PX) + _GAP_PX
    sheet_height = rows * (height + _CAPTION_PX + _GAP_PX) + _GAP_PX + _SCALE_BAR_PX
    sheet = Image.new("RGB", (sheet_width, sheet_height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=_FONT_PX)
    for index, panel in enumerate(panels):
        left = _GAP_PX + (index % columns) * (width + _GAP_PX)
        top = _GAP_PX + (index // columns) * (height + _CAPTION_PX + _GAP_PX)
        _caption(pen, font, panel, (left, top), width)
        sheet.paste(Image.fromarray(panel.pixels), (left, top + _CAPTION_PX))
    _scale_bar(sheet, pen, font, low, high)
    return np.asarray(sheet)


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _caption(pen: ImageDraw.ImageDraw, font: _Font, panel: _Panel, corner: tuple[int, int], width: int) -> None:
    left, top = corner
    indent = 0
    if panel.swatch:
        pen.rectangle((left, top + 2, left + 14, top + 16), fill=panel.swatch, outline=_INK)
        indent = 20
    pen.text((left + indent, top), _fitting(pen, font, panel.title, width - indent), fill=_INK, font=font)
    pen.text((left, top + 20), _fitting(pen, font, panel.detail, width), fill=_INK, font=font)


def _fitting(pen: ImageDraw.ImageDraw, font: _Font, text: str, width: int) -> str:
    if pen.textlength(text, font=font) <= width:
        return text
    while text and pen.textlength(f"{text}…", font=font) > width:
        text = text[:-1]
    return f"{text}…"


def _scale_bar(sheet: Image.Image, pen: ImageDraw.ImageDraw, font: _Font, low: float, high: float) -> None:
    bar_width, bar_height = min(256, sheet.width - 2 * _GAP_PX), 16
    left, top = _GAP_PX, sheet.height - _SCALE_BAR_PX
    ramp = _heat(np.linspace(low, high, bar_width, dtype=np.float32)[None, :], low, high)
    sheet.paste(Image.fromarray(np.repeat(ramp, bar_height, axis=0)), (left, top))
    for place, value in ((0.0, low), (0.5, (low + high) / 2), (1.0, high)):
        text = f"{value:.2f}"
        at = left + place * bar_width - place * pen.textlength(text, font=font)
        pen.text((at, top + bar_height + 2), text, fill=_INK, font=font)
    label = "mixing weight"
    if sheet.width - left - bar_width - 2 * _GAP_PX >= pen.textlength(label, font=font):
        pen.text((left + bar_width + _GAP_PX, top), label, fill=_INK, font=font)
