"""What each code of a network's bases looks like, one patch a code, in an order that makes sense to the eye.

A code is decoded alone: a small grid of cells is filled with it, its basis has the mixing weight `strength` and the
others none, and the middle cell with half a cell around it is kept. So a patch shows how the code continues into
neighbours like itself; what several bases make together it cannot show. Patches that would be black or white
altogether are moved into the range.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from adacode_cli.model.network import AdaCode

DEFAULT_STRENGTH = 0.5
# Cells a side of the filled grid: the middle one is then two cells away from the zeros around the grid.
_GRID_CELLS = 5
_BATCH = 32
# A code alone may mean a darker black than there is, as others always add to it; its texture is then still shown.
_LEAST_LUMA = 0.12
_GREY_CHROMA = 0.06
_NUM_HUES = 12
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Patches = npt.NDArray[np.float32]


@torch.inference_mode()
def decoded_codes(network: AdaCode, basis: int, strength: float, device: torch.device) -> Patches:
    """N×3×side×side RGB in [0, 1], a patch for each code of a basis, in the codebook's order, by float32."""
    config, codebook = network.config, network.codebook
    network.to(device)
    stride, half = config.decoded_stride, config.decoded_stride // 2
    first = _GRID_CELLS // 2 * stride - half
    inside = slice(first, first + stride + 2 * half)
    # A network of one basis without a predictor does not weigh it.
    weighs = codebook.predictor is not None or len(config.codebooks) > 1
    parts = []
    for some in torch.split(torch.arange(config.codebooks[basis][0], device=device), _BATCH):
        grid = some[:, None, None].expand(-1, _GRID_CELLS, _GRID_CELLS)
        latent = codebook.after[basis](codebook.books[basis].look_up(grid))  # type: ignore[operator]
        picture = network.render(latent * strength if weighs else latent)
        parts.append(picture[..., inside, inside].float().cpu())
    return _within_range(torch.cat(parts).numpy())


def _within_range(patches_NCHW: Patches) -> Patches:
    """Patches too dark or too bright to be seen, made as much lighter or darker as it takes."""
    luma = np.tensordot(patches_NCHW.mean((2, 3)), _LUMA, 1)
    shift = np.clip(luma, _LEAST_LUMA, 1 - _LEAST_LUMA) - luma
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
