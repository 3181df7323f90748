"""Samples of any number of bits, as files store them, over the whole range of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from adacode_cli.imaging.heif_codec import widened
from adacode_cli.imaging.image import Samples


def full_range(plane: npt.NDArray[Any], bits: int, *, deep: bool) -> Samples:
    """Samples of `bits` bits over the whole range of 8 bits, or of 16."""
    if deep:
        return plane.astype(np.uint16) if bits == 16 else widened(plane, bits)
    if bits == 8:
        return plane.astype(np.uint8)
    top = (1 << bits) - 1
    table = ((np.arange(top + 1) * 255 + top // 2) // top).astype(np.uint8)
    return np.asarray(table[np.minimum(plane, top)])
