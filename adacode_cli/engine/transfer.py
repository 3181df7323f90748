"""Copies samples to the device and back without loss: integer values are exact on the way there and, through
`engine.canvas`, on the way back. They become float32 on the device.

A copy from ordinary memory to a CUDA device, or back, waits for all that was queued before it. Through pinned memory
the calling thread continues at once, and a second stream copies results while the next tile is computed.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adacode_cli.engine.images import TOPS, Pixels
from adacode_cli.model.input import with_hole

# Copies that are under way at once, each with its own pinned buffer: enough for an image of 80 megapixels, so that the
# host waits in the middle of larger images only.
_MAX_BYTES_WAITING = 256 << 20


def upload(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """An array of any shape and dtype that torch has → the same on `device`; on a CPU it may share the memory."""
    values = torch.from_numpy(np.require(array, requirements=("C", "W")))
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def to_tensor(image: Pixels, device: torch.device | None = None) -> Tensor:
    """H×W or H×W×3 image → a new 1×3×H×W float32 in [0, 1], on `device` (default: the CPU); grey is repeated.

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
    """`to_tensor` of an image with its H×W hole as networks know it: zeros and a fourth channel, or white paint."""
    x = to_tensor(image, device)
    if hole is None:
        return x
    hole_B1HW = upload(hole, device)[None, None].to(torch.float32)
    return with_hole(x, hole_B1HW, mask_channel=mask_channel)


class Copied(Protocol):
    """An event that a copy is complete."""

    def synchronize(self) -> None:
        """Waits for it."""


class Outbox:
    """Copies from a device to host memory. What was sent is there after `close`, which waits for it and nothing else.

    Only one thread may use it, except that another thread may close it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]
        self._waiting: deque[tuple[Copied, Tensor, Tensor]] = deque()

    def send(self, values: Tensor, target: Tensor) -> None:
        """`values`, contiguous and not written to again, go into `target`, which has their shape and dtype."""
        if self._stream is None or values.device.type == "cpu":
            target.copy_(values)
            return
        staged = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            staged.copy_(values, non_blocking=True)
            copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            copied.record()
        values.record_stream(self._stream)  # its memory must not be reused before it was read
        self._under_way(copied, staged, target)

    def _under_way(self, copied: Copied, staged: Tensor, target: Tensor) -> None:
        self._waiting.append((copied, staged, target))
        while sum(staged.nbytes for _, staged, _ in self._waiting) > _MAX_BYTES_WAITING:
            self._arrive()

    @torch.inference_mode()  # the targets are inference tensors, which only inference mode may write
    def close(self) -> None:
        """Waits until everything that was sent is in its place."""
        while self._waiting:
            self._arrive()

    def _arrive(self) -> None:
        copied, staged, target = self._waiting[0]
        copied.synchronize()
        target.copy_(staged)
        self._waiting.popleft()  # at the end, so that an interruption cannot skip the copy
