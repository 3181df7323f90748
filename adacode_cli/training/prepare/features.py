"""What a photograph looks like, as numbers: a network's encoder, pooled over the picture.

Our encoders know textures, contrasts and colours, not subjects: categories found with them are of look.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from adacode_cli.checkpoints.load import WeightsSource, load_network
from adacode_cli.model.base import prepare_input
from adacode_cli.model.network import AdaCode
from adacode_cli.model.padding import pad_mirrored, padded_size
from adacode_cli.training.prepare.photos import Pixels

BUNDLED = "compact-reconstruct"
# Photographs are shrunk to about as many pixels: what they show, and not how large they are, counts.
_PIXELS = 384 * 384


def load_describer(path: Path | None) -> PhotoDescriber:
    """With the network in a weights file, or with the bundled reconstruction network. Raises WeightsError."""
    if path is None:
        return PhotoDescriber(WeightsSource(BUNDLED).network("reconstruct", 1)[0])
    return PhotoDescriber(load_network((path,))[0])


class PhotoDescriber:
    """Photographs → features: mean and standard deviation of each latent channel of `network`, on the CPU."""

    def __init__(self, network: AdaCode) -> None:
        self._network = network.to("cpu", torch.float32).eval()

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """H×W×3 uint8 RGB → 2·C float32. One picture at a time, on one thread, so that nothing else changes a bit."""
        torch.set_num_threads(1)
        config = self._network.config
        small = _shrunk(pixels)
        x = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
        if config.in_channels > 3:
            x = torch.cat((x, x.new_zeros(1, config.in_channels - 3, *x.shape[2:])), 1)  # no holes
        padded = pad_mirrored(x, *padded_size(config, *small.shape[:2]))
        latent = self._network.encode(prepare_input(padded, config.base)).latent_BCHW[0].flatten(1)
        return np.concatenate((latent.mean(1).numpy(), latent.std(1, correction=0).numpy()))


def _shrunk(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    factor = (_PIXELS / (height * width)) ** 0.5
    if factor >= 1:
        return pixels
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
