"""Which codes photographs use, how often, and the mean patch of the places that use each code.

Photographs are used at their own size; of larger ones, the middle 1024×1024 px are enough to count codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from adacode_cli import formats
from adacode_cli.engine.transfer import to_tensor
from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import read_image
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.input import pad_mirrored, padded_size, prepare_input
from adacode_cli.model.network import AdaCode

_MAX_PX = 1024


@dataclass(frozen=True, eq=False)
class BasisUsage:
    """counts: how often each of N codes was chosen. means_NCHW: mean RGB patch of the places that chose it, [0, 1].

    A patch is a cell and half a cell around it; those of dead codes are zeros.
    """

    counts: npt.NDArray[np.int64]
    means_NCHW: npt.NDArray[np.float32]

    @property
    def used(self) -> int:
        """How many codes were chosen at least once."""
        return int(np.count_nonzero(self.counts))

    @property
    def perplexity(self) -> float:
        """exp(entropy) of the choices: the number of codes that, used equally often, would have the same entropy."""
        share = self.counts[self.counts > 0] / max(1, self.counts.sum())
        return float(np.exp(-(share * np.log(share)).sum()))


@dataclass(frozen=True, eq=False)
class Usage:
    """All bases over a number of photographs. strength: mean of the mixing weights' sum over all cells."""

    bases: tuple[BasisUsage, ...]
    num_photographs: int
    num_cells: int
    strength: float


def photographs_in(folder: Path) -> list[Path]:
    """The images below a folder, by name. Raises InputError where there are none."""
    if not folder.is_dir():
        what = "is a file, not a directory" if folder.exists() else "there is no such directory"
        raise InputError(what, path=folder, hint="Name a directory with photographs.")
    found = sorted(p for p in folder.rglob("*") if formats.of_any_suffix(p.suffix) and p.is_file())
    if not found:
        raise InputError(
            "no photographs found", path=folder, hint=f"Name a folder with photographs. {formats.readable()}"
        )
    return found


@torch.inference_mode()
def measure_usage(
    network: AdaCode, photographs: Sequence[Path], device: torch.device, on_photograph: Callable[[Path], None]
) -> Usage:
    """What `photographs` choose, in float32 on `device`. Raises InputError for a file that cannot be read."""
    config = network.config
    cell_px = config.latent_stride // config.scale
    side = _patch_side(cell_px)
    sums = [torch.zeros(size, 3 * side * side, device=device) for size, _ in config.codebooks]
    counts = [torch.zeros(size, dtype=torch.int64, device=device) for size, _ in config.codebooks]
    strength, num_cells = 0.0, 0
    network.to(device)
    for path in photographs:
        on_photograph(path)
        image = _middle(to_tensor(read_image(path).pixels)).to(device)
        rows, columns = (length // cell_px for length in image.shape[-2:])
        if not rows or not columns:
            continue
        latent = network.encode(_network_input(image, config)).latent_BCHW
        weights = network.codebook.weights(latent)[..., :rows, :columns]
        strength += float(weights.sum())
        num_cells += rows * columns
        patches = _patches(image[..., : rows * cell_px, : columns * cell_px], cell_px)
        first_level = network.codebook.nearest(latent)[: config.num_bases]
        for codes, total, count in zip(first_level, sums, counts, strict=True):
            chosen = codes[0, :rows, :columns].reshape(-1)
            total.index_add_(0, chosen, patches)
            count.add_(torch.bincount(chosen, minlength=len(count)))
    bases = tuple(_basis_usage(total, count, side) for total, count in zip(sums, counts, strict=True))
    return Usage(bases, len(photographs), num_cells, strength / max(1, num_cells))


def _patch_side(cell_px: int) -> int:
    return cell_px + 2 * (cell_px // 2)


def _middle(image_BCHW: Tensor) -> Tensor:
    top, left = (max(0, side - _MAX_PX) // 2 for side in image_BCHW.shape[-2:])
    return image_BCHW[..., top : top + _MAX_PX, left : left + _MAX_PX]


def _network_input(image_BCHW: Tensor, config: NetworkConfig) -> Tensor:
    if config.mask_channel:
        image_BCHW = torch.cat((image_BCHW, torch.zeros_like(image_BCHW[:, :1])), 1)
    padded = pad_mirrored(image_BCHW, *padded_size(config, *image_BCHW.shape[-2:]))
    return prepare_input(padded, config.base)


def _patches(image_BCHW: Tensor, cell_px: int) -> Tensor:
    """1×3×H×W → cells×(3·side·side): each cell with half a cell around it, edges repeated."""
    margin = cell_px // 2
    padded = F.pad(image_BCHW, (margin, margin, margin, margin), mode="replicate")
    return F.unfold(padded, _patch_side(cell_px), stride=cell_px)[0].T


def _basis_usage(total: Tensor, count: Tensor, side: int) -> BasisUsage:
    means = (total / count.clamp(min=1)[:, None]).reshape(-1, 3, side, side)
    return BasisUsage(count.cpu().numpy(), means.cpu().numpy())
