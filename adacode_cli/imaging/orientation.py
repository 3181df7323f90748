"""The eight EXIF orientations, applied once to samples so that row 0 is the top of the scene."""

from __future__ import annotations

import numpy as np

from adacode_cli.imaging.image import Samples


def turned(samples: Samples, orientation: int) -> Samples:
    """H×W or H×W×C samples stored with EXIF `orientation` (1–8) as a person should see them, C-contiguous.

    Any other number means "as stored": cameras without a position sensor write 0.
    """
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    # With rows and columns in place, what is left is from which end each of them counts.
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)
