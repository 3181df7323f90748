"""One image as codes: everything that a decoder needs, and what does not pass through the network (alpha, metadata).

The mixing weights are rounded to integer steps as soon as the network has computed them. Therefore an image that is
decoded at once and one that is decoded later from a file are made from exactly the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from adacode_cli.limits import MAX_CODE_LEVELS

STEPS_PER_UNIT = 128
"""Mixing weights are multiples of 1/128: the PSNR to images of exact weights is about 50 dB (benchmarks/codes.py)."""

MAX_BASES = 32
MAX_CODES = 65536
_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))


@dataclass(frozen=True)
class DecoderIdentity:
    """The weights that decode an image. name: as users know them; digest: 16 bytes that identify them."""

    name: str
    digest: bytes


@dataclass(frozen=True, eq=False)
class Codes:
    """An image of height × width pixels as codes.

    codes_KHW: K×h×w uint16, the code of each basis in each latent cell, less than the basis's entry of `book_sizes`.
        With several levels of codes (`NetworkConfig.residual`) both have K entries for one level after the other.
    steps_KHW: K×h×w int16, mixing weights in units of 1/`steps_per_unit`.
    stride: output pixels along a side of a cell; the grid of h×w cells covers the image.
    grey, dtype: the image's layout (uint8, uint16 or float32 in [0, 1]).
    alpha: height×width of that dtype, or None.
    icc, exif, xmp, iptc: as in an image file, with orientation 1.
    notes: for the user, on how the codes were made; a file does not contain them.

    Raises ValueError for arrays that do not fit, which is a bug of the caller.
    """

    height: int
    width: int
    grey: bool
    dtype: np.dtype[Any]
    stride: int
    book_sizes: tuple[int, ...]
    codes_KHW: npt.NDArray[np.uint16]
    steps_KHW: npt.NDArray[np.int16]
    decoder: DecoderIdentity
    steps_per_unit: int = STEPS_PER_UNIT
    alpha: npt.NDArray[Any] | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()
    xmp: bytes | None = None
    iptc: bytes | None = None

    def __post_init__(self) -> None:
        k, h, w = self.steps_KHW.shape
        repeated = self.book_sizes[:k] * min(MAX_CODE_LEVELS, len(self.book_sizes) // max(1, k))
        if not self.book_sizes or self.codes_KHW.shape != (len(self.book_sizes), h, w) or self.book_sizes != repeated:
            raise ValueError(f"codes {self.codes_KHW.shape}, steps {self.steps_KHW.shape}, {self.book_sizes} differ")
        if self.codes_KHW.dtype != np.uint16 or self.steps_KHW.dtype != np.int16 or self.dtype not in _DTYPES:
            raise ValueError(f"types {self.codes_KHW.dtype}, {self.steps_KHW.dtype}, {self.dtype} are not supported")
        if h * self.stride < self.height or w * self.stride < self.width:
            raise ValueError(f"{h}×{w} cells do not cover {self.height}×{self.width} pixels")
        if self.alpha is not None and (self.alpha.shape != (self.height, self.width) or self.alpha.dtype != self.dtype):
            raise ValueError(f"alpha {self.alpha.shape} {self.alpha.dtype} does not fit")

    @property
    def levels(self) -> int:
        """Number of codes of each basis in a cell."""
        return len(self.codes_KHW) // len(self.steps_KHW)

    def of_levels(self, levels: int) -> Codes:
        """The same without the codes beyond the first `levels` of each basis, for a coarser image.

        Raises ValueError if it does not have so many.
        """
        if not 1 <= levels <= self.levels:
            raise ValueError(f"there are {self.levels} levels of codes, not {levels}")
        planes = levels * len(self.steps_KHW)
        return replace(self, codes_KHW=self.codes_KHW[:planes], book_sizes=self.book_sizes[:planes])

    @property
    def mixing(self) -> npt.NDArray[np.float32]:
        """K×h×w mixing weights, as the decoder needs them."""
        return self.steps_KHW.astype(np.float32) / np.float32(self.steps_per_unit)

    @property
    def touched_mixing(self) -> npt.NDArray[np.float32]:
        """The mixing weights of the cells that contain pixels of the image; the other cells are padding."""
        rows, columns = (-(-side // self.stride) for side in (self.height, self.width))
        return self.mixing[:, :rows, :columns]


def in_steps(mixing_KHW: npt.NDArray[np.float32], steps_per_unit: int = STEPS_PER_UNIT) -> npt.NDArray[np.int16]:
    """Finite mixing weights → the nearest steps, clipped to ±32767."""
    limit = np.iinfo(np.int16).max
    steps = np.clip(np.rint(mixing_KHW * np.float32(steps_per_unit)), -limit, limit)
    return np.asarray(steps, np.int16)
