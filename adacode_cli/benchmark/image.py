"""Synthetic images for measurements; the time does not depend on the content of an image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded

# From large shapes to fine grain; each octave has half the contrast of the one before, as in photographs.
_OCTAVES = (4, 8, 16, 32, 64, 128, 256)


def synthetic_image(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """H×W×3 uint8: noise whose contrast falls with its frequency as in photographs. The same for the same arguments."""
    generator, total = np.random.default_rng(seed), np.zeros((height, width, 3), np.float32)
    for octave, cells in enumerate(_OCTAVES):
        noise = generator.standard_normal((cells, cells, 3), dtype=np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    low, high = np.percentile(total, (1, 99))
    return np.asarray(np.clip((total - low) / (high - low), 0, 1) * 255, np.uint8)


def synthetic_jpeg(side: int, seed: int = 0) -> bytes:
    """`synthetic_image` of side × side pixels, as a JPEG file."""
    return encode(Decoded(synthetic_image(side, side, seed)), format="jpeg")


def cut(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The upper left side × side of an H×W×3 image, repeated where it is too small."""
    rows, columns = (-(-side // length) for length in pixels.shape[:2])
    return np.ascontiguousarray(np.tile(pixels, (rows, columns, 1))[:side, :side])
