"""The finished image, made tile by tile on the device: base image, clipping, rounding, and its means for the guard.

Because this is done on the device, 3 bytes for each pixel return to the host instead of 12, and the image never exists
as a whole in float32. Every place depends on its own tile only, so tiles may come in any order, and more than once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from adacode_cli.engine.images import TOPS, Pixels
from adacode_cli.engine.maps import Patch
from adacode_cli.engine.transfer import Outbox
from adacode_cli.geometry import Box
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.input import base_image

# Input pixels that bicubic interpolation reads around the pixels it makes: two are enough for whole factors.
_CONTEXT = 2
# Pixels of a strip: 48 MB as three float32 channels.
STRIP_PX = 1 << 22


class BaseImage:
    """The base image of a prepared input (1×C×H×W float32), part by part."""

    def __init__(self, prepared_BCHW: Tensor, config: NetworkConfig) -> None:
        self._prepared, self._kind, self._scale = prepared_BCHW, config.base, config.scale

    def add_to(self, detail_CHW: Tensor, box: Box) -> None:
        """Adds, in place, the part of the base that lies in `box`: output pixels, whole multiples of the scale."""
        if self._kind == "none":
            return
        inner = box.scaled(1, self._scale)
        read = inner.grown(_CONTEXT, *self._prepared.shape[-2:])
        around = self._prepared[(..., *read.slices)].to(detail_CHW.device, non_blocking=True)
        base = base_image(around, self._kind, self._scale)
        assert base is not None, "only `none` has no base"
        top, left = (s * self._scale for s in (inner.top - read.top, inner.left - read.left))
        detail_CHW.add_(base[0, :, top : top + box.height, left : left + box.width])


class Canvas(ABC):
    """An image of height × width output pixels that tiles are put on. strip_px: pixels that are finished at once."""

    def __init__(self, height: int, width: int, scale: int, strip_px: int = STRIP_PX) -> None:
        self.height, self.width, self.scale = height, width, scale
        self._strip_px = strip_px

    def put(self, detail: Patch, base: BaseImage | None) -> None:
        """Takes 1×3×h×w detail (any float dtype, may be overwritten) to its place; what lies in the padding is cut off.

        base: what it is added to.
        """
        top, left, bottom, right = detail.box.top, detail.box.left, detail.box.bottom, detail.box.right
        bottom, right, s = min(bottom, self.height), min(right, self.width), self.scale
        if top >= bottom or left >= right:
            return
        for rows in strips((bottom - top) // s, (right - left) * s, self._strip_px):
            box = Box(top + rows.start * s, left, top + rows.stop * s, right)
            values = detail.crop(box).data_BCHW[0].float()
            if base is not None:
                base.add_to(values, box)
            self._take(values, box)

    @abstractmethod
    def _take(self, values_CHW: Tensor, box: Box) -> None:
        """Stores finished float32 values, which may be overwritten."""


class RawCanvas(Canvas):
    """image_CHW: 3×height×width float32 on `device`, neither clipped nor rounded."""

    def __init__(self, height: int, width: int, scale: int, device: torch.device, strip_px: int = STRIP_PX) -> None:
        super().__init__(height, width, scale, strip_px)
        self.image_CHW = torch.empty((3, height, width), device=device)

    def _take(self, values_CHW: Tensor, box: Box) -> None:
        self.image_CHW[(slice(None), *box.slices)] = values_CHW


class SampleCanvas(Canvas):
    """pixels: height×width×3 of `dtype` (uint8, uint16, or float32 in [0, 1]), or height×width where `grey`.

    shrunk: with a scale above 1, the means of the pixels over each pixel of the input, C last, float32 in [0, 1]; one
    channel where `grey`. Both lie in host memory and are complete when the outbox was closed.
    """

    def __init__(
        self,
        height: int,
        width: int,
        scale: int,
        outbox: Outbox,
        *,
        dtype: npt.DTypeLike,
        grey: bool,
        strip_px: int = STRIP_PX,
    ) -> None:
        super().__init__(height, width, scale, strip_px)
        self._outbox, self._grey, channels = outbox, grey, 1 if grey else 3
        self._top = TOPS[np.dtype(dtype)]
        self._pixels = torch.from_numpy(np.empty((height, width, channels), dtype))
        self._shrunk = torch.empty((height // scale, width // scale, channels)) if scale > 1 else None

    @property
    def pixels(self) -> Pixels:
        return self._pixels[..., 0].numpy() if self._grey else self._pixels.numpy()

    @property
    def shrunk(self) -> npt.NDArray[np.float32] | None:
        return None if self._shrunk is None else self._shrunk.numpy()

    def _take(self, values_CHW: Tensor, box: Box) -> None:
        values = (values_CHW.mean(0, keepdim=True) if self._grey else values_CHW).clamp_(0, 1)
        if self._top != 1:
            values = values.mul_(self._top).round_()
        if values.device.type == "mps":
            values = values.cpu()  # it has no uint16
        # Samples first, then their order: one byte a sample is moved, not four.
        samples = values.to(self._pixels.dtype).permute(1, 2, 0).contiguous()
        self._outbox.send(samples, self._pixels[box.slices])
        if self._shrunk is not None:
            means = F.avg_pool2d(values[None], self.scale)[0].div_(self._top)
            small = box.scaled(1, self.scale)
            self._outbox.send(means.permute(1, 2, 0).contiguous(), self._shrunk[small.slices])


def strips(height: int, width: int, max_px: int = STRIP_PX) -> Iterator[slice]:
    """Rows 0 … height-1 in order, at most `max_px` pixels at a time, and at least one row."""
    step = max(1, max_px // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))
