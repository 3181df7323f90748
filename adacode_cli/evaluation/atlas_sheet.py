"""Draws the codes of every basis as one sheet that explains itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from adacode_cli.evaluation.atlas import DEFAULT_STRENGTH, Patches, decoded_codes, order_by_colour, order_by_use
from adacode_cli.evaluation.code_usage import BasisUsage, Usage
from adacode_cli.model.network import AdaCode

_COLUMNS = 64
DEFAULT_PATCH_PX = 32
_GAP_PX = 3
_BAR_PX = 5
_MARGIN_PX = 20
_HEADER_PX = 34
_TITLE_PX = 64
_LEAST_WIDTH_PX = 1000
_PAPER, _INK, _FAINT = (255, 255, 255), (25, 25, 25), (215, 215, 215)
_USED, _DEAD = (40, 110, 180), (200, 60, 40)

Sheet = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class BasisPanel:
    """One basis: its name, its codes' patches N×3×side×side in [0, 1], the order to show them in, and their use."""

    name: str
    dim: int
    patches_NCHW: Patches
    order: npt.NDArray[np.int64]
    usage: BasisUsage | None = None

    @property
    def title(self) -> str:
        text = f"{self.name}: {len(self.order)} codes of {self.dim} dimensions"
        if self.usage is None:
            return text
        dead = len(self.order) - self.usage.used
        return f"{text}, {self.usage.used} in use, {dead} dead, perplexity {self.usage.perplexity:.0f}"

    def row_px(self, patch_px: int) -> int:
        return patch_px + _GAP_PX if self.usage is None else 2 * patch_px + _BAR_PX + 3 * _GAP_PX

    def height_px(self, patch_px: int) -> int:
        return -(-len(self.order) // _COLUMNS) * self.row_px(patch_px)


def atlas_of(network: AdaCode, name: str, usage: Usage | None, device: torch.device, patch_px: int) -> Sheet:
    """The sheet of a network's bases: ordered by use where usage was measured, else by colour."""
    strength = usage.strength if usage and usage.strength > 0 else DEFAULT_STRENGTH
    panels = []
    for k, (basis, (_, dim)) in enumerate(zip(network.config.names(), network.config.codebooks, strict=True)):
        patches = decoded_codes(network, k, strength, device)
        use = usage.bases[k] if usage else None
        order = order_by_use(use.counts) if use else order_by_colour(patches)
        panels.append(BasisPanel(basis, dim, patches, order, use))
    legend = f"each code decoded alone, at a mixing weight of {strength:.2f}"
    if usage:
        legend = (
            f"upper: {legend}; lower: mean of the places in {usage.num_photographs} photographs that chose it; "
            "bar: how often (logarithmic); crossed out: never"
        )
    count = "one basis codebook" if len(panels) == 1 else f"{len(panels)} basis codebooks"
    return draw_atlas(f"{name}: {count}", legend, panels, patch_px)


def draw_atlas(title: str, legend: str, panels: Sequence[BasisPanel], patch_px: int = DEFAULT_PATCH_PX) -> Sheet:
    """H×W×3 uint8 RGB: under the title each basis with its patches, `patch_px` a side, 64 in a row.

    With usage, below each decoded code stands the mean of the real places that chose it, and a bar that is longer the
    more often it was chosen (logarithmic); codes that were never chosen are crossed out.
    """
    columns = min(_COLUMNS, max(len(panel.order) for panel in panels))
    width = max(_LEAST_WIDTH_PX, 2 * _MARGIN_PX + columns * (patch_px + _GAP_PX))
    height = _TITLE_PX + 2 * _MARGIN_PX + sum(_HEADER_PX + p.height_px(patch_px) + _MARGIN_PX for p in panels)
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN_PX, _MARGIN_PX), title, fill=_INK, font=ImageFont.load_default(size=24))
    pen.text((_MARGIN_PX, _MARGIN_PX + 34), legend, fill=_INK, font=ImageFont.load_default(size=15))
    top = _TITLE_PX + 2 * _MARGIN_PX
    for panel in panels:
        pen.text((_MARGIN_PX, top), panel.title, fill=_INK, font=ImageFont.load_default(size=19))
        top += _HEADER_PX
        _draw_patches(sheet, pen, panel, top, patch_px)
        top += panel.height_px(patch_px) + _MARGIN_PX
    return np.asarray(sheet)


def _draw_patches(sheet: Image.Image, pen: ImageDraw.ImageDraw, panel: BasisPanel, top: int, side: int) -> None:
    for place, code in enumerate(panel.order):
        row, column = divmod(place, _COLUMNS)
        x, y = _MARGIN_PX + column * (side + _GAP_PX), top + row * panel.row_px(side)
        sheet.paste(_enlarged(panel.patches_NCHW[code], side), (x, y))
        if panel.usage is None:
            continue
        below = y + side + 1
        if not panel.usage.counts[code]:
            _cross_out(pen, x, below, side - 1)
            continue
        sheet.paste(_enlarged(panel.usage.means_NCHW[code], side), (x, below))
        bar = below + side + 1
        share = np.log1p(panel.usage.counts[code]) / np.log1p(panel.usage.counts.max())
        pen.rectangle((x, bar, x + side - 1, bar + _BAR_PX - 1), fill=_FAINT)
        pen.rectangle((x, bar, x + max(1, round(share * side)) - 1, bar + _BAR_PX - 1), fill=_USED)


def _cross_out(pen: ImageDraw.ImageDraw, x: int, y: int, last: int) -> None:
    pen.rectangle((x, y, x + last, y + last), outline=_FAINT)
    pen.line((x, y, x + last, y + last), fill=_DEAD)
    pen.line((x, y + last, x + last, y), fill=_DEAD)


def _enlarged(patch_CHW: Patches, side: int) -> Image.Image:
    pixels = np.rint(patch_CHW.transpose(1, 2, 0) * 255).astype(np.uint8)
    return Image.fromarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_NEAREST))
