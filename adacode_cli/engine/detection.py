"""Finds the marks of damage in an image, so that nobody has to paint a mask.

finder = MarkFinder.from_pretrained("marks.safetensors")
mask = finder.mask(image)                          # H×W bool, True on scratches, hairs, dust and creases
whole = restorer.inpaint(image, mask, grow=1)

An image is computed in parts of one size with as much around them as a result looks at, so the mask is that of the
whole image at once, whatever memory is free.
"""

from __future__ import annotations

import hashlib
import json
from itertools import product
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import numpy.typing as npt
import torch

from adacode_cli.checkpoints.detectors import load_detector
from adacode_cli.engine.device import choose_device, exact_arithmetic
from adacode_cli.engine.images import TOPS, Pixels, apart, check_image, covered
from adacode_cli.engine.memory import is_out_of_memory, release, working
from adacode_cli.engine.runner import CUDA_TURN
from adacode_cli.model.detector import MULTIPLE, Detector

# Side of a part: about a gigabyte in float32 with its surroundings. Where that does not fit, smaller ones do the same.
_PART_PX, _MIN_PART_PX = 2048, 256


class MarkFinder:
    """A detector on its device. Calls from several threads take turns.

    threshold: the least probability of a pixel that is marked.
    """

    def __init__(self, network: Detector, threshold: float, device: torch.device) -> None:
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.threshold, self.device = network, threshold, device
        self._turn = CUDA_TURN if device.type == "cuda" else Lock()

    @classmethod
    def from_pretrained(cls, name: str, *, device: str = "auto", folder: Path | None = None) -> MarkFinder:
        """`name`: a detector of the catalogue in `folder` (by default that of this installation), or its file.

        Raises UsageError for an impossible device, DeviceError for one that is unavailable, WeightsError for an unknown
        or damaged detector.
        """
        chosen = choose_device(device)
        return cls(*load_detector(name, folder), chosen)

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all that decides which pixels are marked."""
        found = hashlib.sha256(json.dumps([self.network.config.to_dict(), self.threshold]).encode())
        for key, value in sorted(self.network.state_dict().items()):
            found.update(key.encode())
            found.update(value.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
        return found.hexdigest()

    def mask(self, image: Pixels, alpha: Pixels | None = None) -> npt.NDArray[np.bool_]:
        """H×W bool, True on marks. The image and its alpha are as in `Restorer`; what is hidden is never marked.

        Raises InputError for an array that is not an image, DeviceError where there is not enough memory.
        """
        found = self.probabilities(image, alpha) >= self.threshold
        coverage = apart(image)[1] if alpha is None else alpha
        return found if coverage is None else found & (coverage > 0)

    def probabilities(self, image: Pixels, alpha: Pixels | None = None) -> npt.NDArray[np.float32]:
        """H×W in [0, 1]: how likely each pixel is part of a mark. Arguments and errors as in `mask`."""
        check_image(image, alpha)
        color, inside = apart(image)
        with working(*image.shape[:2]):
            return self._by_parts(covered(color, inside if alpha is None else alpha))

    def _by_parts(self, color: Pixels) -> npt.NDArray[np.float32]:
        height, width = color.shape[:2]
        padded = cv2.copyMakeBorder(color, 0, -height % MULTIPLE, 0, -width % MULTIPLE, cv2.BORDER_REPLICATE)
        side = _PART_PX
        while True:
            try:
                return self._in_parts(padded, side)[:height, :width]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or side <= _MIN_PART_PX:
                    raise
            release(self.device)
            side //= 2

    def _in_parts(self, padded: Pixels, side: int) -> npt.NDArray[np.float32]:
        result, reach = np.empty(padded.shape[:2], np.float32), self.network.config.reach_px
        for top, left in product(range(0, padded.shape[0], side), range(0, padded.shape[1], side)):
            above, before = min(top, reach), min(left, reach)
            part = padded[top - above : top + side + reach, left - before : left + side + reach]
            place = result[top : top + side, left : left + side]
            place[:] = self._of_part(part)[above:, before:][: place.shape[0], : place.shape[1]]
        return result

    @torch.inference_mode()
    def _of_part(self, part: Pixels) -> npt.NDArray[np.float32]:
        with self._turn, exact_arithmetic(self.device):
            samples = torch.from_numpy(np.ascontiguousarray(part).astype(np.float32)).to(self.device) / TOPS[part.dtype]
            colours = samples.expand(3, *samples.shape) if part.ndim == 2 else samples.permute(2, 0, 1)
            logits = self.network(colours[None].contiguous(memory_format=torch.channels_last))
            return torch.sigmoid(logits.float())[0, 0].cpu().numpy()
