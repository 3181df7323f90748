"""NumPy pictures to what a network takes, exactly: every integer value survives the way there and, by `engine.canvas`,
the way back. Samples become float32 where they are computed with.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adacode_cli.engine.pictures import TOPS, Pixels
from adacode_cli.engine.transfer import upload

# Pixels of a strip: 48 MB as three float32 channels.
STRIP_PX = 1 << 22


def to_tensor(image: Pixels, device: torch.device | None = None) -> Tensor:
    """H×W or H×W×3 picture → 1×3×H×W float32 in [0, 1] of its own, on `device` (default: the CPU); grey is repeated.

    Samples travel as they are, and become float32 on the device.
    """
    device = device or torch.device("cpu")
    samples = image.astype(np.float32) if device.type == "mps" else image  # which has no uint16
    x = upload(samples, device).to(torch.float32, copy=True).div_(TOPS[image.dtype])
    x = x.expand(3, *x.shape) if x.ndim == 2 else x.permute(2, 0, 1)
    return x[None].contiguous()


def network_input(
    image: Pixels, hole: npt.NDArray[np.bool_] | None, *, mask_channel: bool, device: torch.device
) -> Tensor:
    """`to_tensor` of a picture with its H×W hole as networks know it: zeros and a fourth channel, or white paint."""
    x = to_tensor(image, device)
    if hole is None:
        return x
    hole_B1HW = upload(hole, device)[None, None].to(torch.float32)
    return torch.cat((x * (1 - hole_B1HW), hole_B1HW), 1) if mask_channel else torch.maximum(x, hole_B1HW)


def strips(height: int, width: int, most_px: int = STRIP_PX) -> Iterator[slice]:
    """Rows 0 … height-1 in order, at most `most_px` pixels at a time, and at least one row."""
    step = max(1, most_px // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))
