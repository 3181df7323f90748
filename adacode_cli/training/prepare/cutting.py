"""One photograph → evenly spaced square crops, encoded."""

from __future__ import annotations

from math import ceil

import cv2
import numpy as np

from adacode_cli.errors import TrainingError
from adacode_cli.training.prepare.photos import Pixels
from adacode_cli.training.prepare.settings import Encoding

# Below this many crop sides two crops would share more than half of their pixels: one, in the middle, it is.
_TWO_FROM = 1.5
_JPEG = (
    cv2.IMWRITE_JPEG_QUALITY,
    95,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    cv2.IMWRITE_JPEG_OPTIMIZE,
    1,
)
# OpenCV's word for lossless.
_WEBP = (cv2.IMWRITE_WEBP_QUALITY, 101)


def starts(length: int, side: int) -> list[int]:
    """Where crops of `side` px begin on an axis of `length` ≥ `side` px: the fewest that cover it, evenly spaced.

    Neighbours overlap by half at most; for that, up to a quarter of a side at both ends of an axis shorter than 1.5
    sides is left out.
    """
    if length < _TWO_FROM * side:
        return [(length - side) // 2]
    count = ceil(length / side)
    return [i * (length - side) // (count - 1) for i in range(count)]


def places(height: int, width: int, side: int) -> list[tuple[int, int]]:
    """(y, x) of all crops of a photograph, row by row."""
    return [(y, x) for y in starts(height, side) for x in starts(width, side)]


def encode(pixels: Pixels, encoding: Encoding) -> bytes:
    """H×W×3 uint8 RGB → JPEG of quality 95 without chroma subsampling, or lossless WebP. Raises TrainingError."""
    suffix, parameters = (".jpg", _JPEG) if encoding == "jpeg" else (".webp", _WEBP)
    done, data = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), parameters)
    if not done:
        hint = "Install opencv-python-headless anew, or choose the other --encoding."
        raise TrainingError(f"OpenCV cannot encode {suffix} files", hint=hint)
    return np.asarray(data).tobytes()
