"""What each code of a network's bases looks like: one patch for each code, sorted by use or by colour.

A code is decoded alone: a small grid of cells is filled with it, its basis has the mixing weight `strength` and the
others have 0, and the middle cell with half a cell around it is kept. So a patch shows the code between neighbours of
the same code; it cannot show what several bases make together. The brightness of patches that would be completely black
or white is shifted into the range. All bases are drawn on one sheet with a title and a legend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from adacode_cli.evaluation.code_usage import BasisUsage, Usage
from adacode_cli.model.network import AdaCode

DEFAULT_STRENGTH = 0.5
# Side in cells of the filled grid: its middle cell is two cells away from the zeros around the grid.
_GRID_CELLS = 5
_BATCH = 32
# A code alone may be darker than black, as others are usually added to it; this still shows its texture.
_MIN_LUMA = 0.12
_GREY_CHROMA = 0.06
_NUM_HUES = 12
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Of the sheet.
_COLUMNS = 64
DEFAULT_PATCH_PX = 32
_GAP_PX = 3
_BAR_PX = 5
_MARGIN_PX = 20
_HEADER_PX = 34
_TITLE_PX = 64
_MIN_WIDTH_PX = 1000
_PAPER, _INK, _FAINT = (255, 255, 255), (25, 25, 25), (215, 215, 215)
_USED, _DEAD = (40, 110, 180), (200, 60, 40)

Patches = npt.NDArray[np.float32]
Sheet = npt.NDArray[np.uint8]


@torch.inference_mode()
def decoded_codes(network: AdaCode, basis: int, strength: float, device: torch.device) -> Patches:
    """N×3×side×side RGB in [0, 1], a patch for each code of a basis, in the codebook's order, by float32."""
    config, codebook = network.config, network.codebook
    network.to(device)
    stride, half = config.decoded_stride, config.decoded_stride // 2
    first = _GRID_CELLS // 2 * stride - half
    inside = slice(first, first + stride + 2 * half)
    # A network of one basis without a predictor has no mixing weights.
    weighs = codebook.predictor is not None or len(config.codebooks) > 1
    parts = []
    for some in torch.split(torch.arange(config.codebooks[basis][0], device=device), _BATCH):
        grid = some[:, None, None].expand(-1, _GRID_CELLS, _GRID_CELLS)
        latent = codebook.after[basis](codebook.books[basis].look_up(grid))  # type: ignore[operator]
        image = network.render(latent * strength if weighs else latent)
        parts.append(image[..., inside, inside].float().cpu())
    return _within_range(torch.cat(parts).numpy())


def _within_range(patches_NCHW: Patches) -> Patches:
    """Shifts the brightness of patches that are too dark or too bright to be visible."""
    luma = np.tensordot(patches_NCHW.mean((2, 3)), _LUMA, 1)
    shift = np.clip(luma, _MIN_LUMA, 1 - _MIN_LUMA) - luma
    return np.asarray(np.clip(patches_NCHW + shift[:, None, None, None], 0, 1), np.float32)


def order_by_colour(patches_NCHW: Patches) -> npt.NDArray[np.int64]:
    """Indices of patches: greys first, then hue by hue from red on, each from dark to light."""
    colours = patches_NCHW.mean((2, 3))
    high, low = colours.max(1), colours.min(1)
    chroma = high - low
    hue_bin = np.where(chroma < _GREY_CHROMA, 0, 1 + np.floor(_hue(colours, high, chroma) * _NUM_HUES))
    return np.lexsort((colours @ _LUMA, hue_bin))


def order_by_use(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Indices of codes, those chosen most first, those never chosen last."""
    return np.argsort(-counts, kind="stable")


def _hue(colours_N3: Patches, high: Patches, chroma: Patches) -> Patches:
    """0 … 1, exclusive, around the colour circle."""
    red, green, blue = colours_N3.T
    with np.errstate(invalid="ignore", divide="ignore"):
        sixths = np.select(
            [high == red, high == green],
            [(green - blue) / chroma % 6, (blue - red) / chroma + 2],
            (red - green) / chroma + 4,
        )
    return np.asarray(np.nan_to_num(sixths) / 6 % 1, np.float32)


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
            f"above: {legend}; below: mean of the places in {usage.num_photographs} photographs that chose it; "
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
    width = max(_MIN_WIDTH_PX, 2 * _MARGIN_PX + columns * (patch_px + _GAP_PX))
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
