"""JPEG and back for whole batches, each image at its own quality: as in libjpeg, without the lossless coding.

ITU T.81 with the tables of its annex K, scaled by quality as the Independent JPEG Group does; JFIF colours; chroma at
half the resolution, enlarged with the triangle filter of libjpeg. Within a level or so of OpenCV's codec.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
_BLOCK = 8
_MCU = 16


def to_levels(images_BCHW: Tensor) -> Tensor:
    """Of float in [0, 1] (more is cut off): the nearest of 0, 1, …, 255, as float."""
    return (images_BCHW * 255).round_().clamp_(0, 255)


def jpeg_batch(images_BCHW: Tensor, qualities: list[int]) -> Tensor:
    """B×3×H×W float32 RGB in [0, 1] → the same after 8-bit JPEG; qualities: 1 to 100, one for each image."""
    h, w = images_BCHW.shape[2:]
    tables = np.stack([np.stack(quantisation_tables(quality)) for quality in qualities])
    table_B2V = torch.from_numpy(tables).to(images_BCHW.device, non_blocking=True).view(len(qualities), 2, -1)
    levels = functional.pad(to_levels(images_BCHW), (0, -w % _MCU, 0, -h % _MCU), mode="replicate")
    red, green, blue = levels.unbind(1)
    luma = _half_up(0.299 * red + 0.587 * green + 0.114 * blue)
    cb = -0.168735892 * red - 0.331264108 * green + 0.5 * blue
    cr = 0.5 * red - 0.418687589 * green - 0.081312411 * blue
    chroma = torch.stack((cb, cr), 1).round_()
    luma = _through_blocks(luma[:, None] - 128, table_B2V[:, :1])[:, 0, :h, :w] + 128
    chroma = _through_blocks(_halved(chroma), table_B2V[:, 1:])[:, :, : (h + 1) // 2, : (w + 1) // 2]
    cb, cr = _doubled(chroma)[:, :, :h, :w].unbind(1)
    rgb = torch.stack((luma + 1.402 * cr, luma - 0.344136286 * cb - 0.714136286 * cr, luma + 1.772 * cb), 1)
    return rgb.round_().clamp_(0, 255) / 255


@lru_cache(maxsize=128)
def quantisation_tables(quality: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """8×8 each, of luma and of chroma, whole numbers from 1 to 255; [row, column] of the block's frequencies."""
    scaling = 5000 // quality if quality < 50 else 200 - 2 * quality
    chroma = np.full((_BLOCK, _BLOCK), 99)
    chroma[:4, :4] = _CHROMA_CORNER
    luma, chroma = ((table * scaling + 50) // 100 for table in (np.array(_LUMA), chroma))
    return np.asarray(luma.clip(1, 255), np.float32), np.asarray(chroma.clip(1, 255), np.float32)


def _halved(chroma_BCHW: Tensor) -> Tensor:
    """Means of 2×2 whole numbers, halves rounded up and down in alternate columns, as in libjpeg."""
    columns = torch.arange(chroma_BCHW.shape[3] // 2, device=chroma_BCHW.device)
    bias = 0.25 + 0.25 * (columns % 2)
    return (functional.avg_pool2d(chroma_BCHW, 2) + bias).floor_()


def _doubled(chroma_BCHW: Tensor) -> Tensor:
    """Twice the size; halves rounded up in even columns and down in odd ones, as in libjpeg."""
    larger = functional.interpolate(chroma_BCHW, scale_factor=2, mode="bilinear", align_corners=False)
    columns = torch.arange(larger.shape[3], device=larger.device)
    return larger.add_(0.5 - (columns % 2) / 16).floor_()


def _half_up(values: Tensor) -> Tensor:
    return values.add_(0.5).floor_()


def _through_blocks(planes_BCHW: Tensor, table_BCV: Tensor) -> Tensor:
    """Whole numbers from -128 to 127, sides multiples of 8 → the same after transform, quantisation and back."""
    b, c, h, w = planes_BCHW.shape
    blocks = planes_BCHW.view(b, c, h // _BLOCK, _BLOCK, w // _BLOCK, _BLOCK).permute(0, 1, 2, 4, 3, 5)
    blocks_BCNV = blocks.reshape(b, c, -1, _BLOCK**2)
    table_BC1V = table_BCV[:, :, None]
    exact = _times(blocks_BCNV, forward=True) / table_BC1V
    # Ties are rounded away from zero: they are frequent for the mean, and rounding to even would tint and darken flat
    # areas.
    frequencies = exact.abs().add_(0.5).floor_().copysign_(exact) * table_BC1V
    back = _half_up(_times(frequencies, forward=False)).clamp_(-128, 127)
    rows = back.view(b, c, h // _BLOCK, w // _BLOCK, _BLOCK, _BLOCK).permute(0, 1, 2, 4, 3, 5)
    return rows.reshape(b, c, h, w)


def _times(values: Tensor, *, forward: bool) -> Tensor:
    """…×64 whole numbers times the transform.

    GPUs may round factors to 11 significant bits (TF32). The numbers, below 2048, and both parts of the matrix
    are exact with 11 bits.
    """
    coarse, fine = _transform(values.device)
    return values @ (coarse.T if forward else coarse) + values @ (fine.T if forward else fine)


@lru_cache(maxsize=8)
def _transform(device: torch.device) -> tuple[Tensor, Tensor]:
    """The orthonormal two-dimensional DCT of 8×8 blocks, 64×64, as a sum of multiples of 1/1024 and a small rest."""
    u, x = np.mgrid[:_BLOCK, :_BLOCK]
    single = np.cos((2 * x + 1) * u * np.pi / (2 * _BLOCK)) * np.where(u, 0.5, 0.125**0.5)
    double = np.kron(single, single)
    coarse = np.round(double * 1024) / 1024
    parts = (torch.from_numpy(part.astype(np.float32)).to(device) for part in (coarse, double - coarse))
    return next(parts), next(parts)
