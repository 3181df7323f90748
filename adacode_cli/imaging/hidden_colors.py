"""Colours that nobody sees cannot bleed into those that are seen.

Under full transparency a file may hold any colour, often a garish one. Every enlargement mixes neighbours, so it would
draw that colour as a fringe around the visible part. Before it is enlarged, each hidden pixel therefore takes the
colour of the visible pixel nearest to it.
"""

from __future__ import annotations

import cv2
import numpy as np

from adacode_cli.imaging.image import Samples


def covered(pixels: Samples, alpha: Samples | None) -> Samples:
    """H×W or H×W×3 pixels with those of zero alpha (H×W) painted over; the very array where there are none, or only."""
    if alpha is None:
        return pixels
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    _, labels = cv2.distanceTransformWithLabels(
        hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros(int(labels.max()) + 1, np.int64)
    nearest[labels[~hidden]] = np.flatnonzero(~hidden)
    flat = pixels.reshape(hidden.size, -1)
    result = pixels.copy()
    result[hidden] = flat[nearest[labels[hidden]]].reshape(result[hidden].shape)
    return result
