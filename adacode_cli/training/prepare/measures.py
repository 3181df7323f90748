"""The measures that decide which photographs are left out; each is a number with an intuitive unit.

All measures take H×W float32 luma in levels (0 to 255) and are exact functions of it: no random numbers, no threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Luma = npt.NDArray[np.float32]
# Widths (σ, px) of the two Gaussians whose gradients are compared.
_FINE, _COARSE = 1.0, 2.0
# An edge has at least this slope (levels a pixel) at the fine width; sensor noise of σ = 10 levels stays below.
_EDGE_SLOPE = 4.0
# The sharpest quarter of the edges counts: backgrounds may be out of focus.
_SHARPEST = 0.75
# With a smaller share of edge pixels, sharpness cannot be measured.
_MIN_EDGES = 1e-4
_MAX_BLUR = 10.0
_ACROSS, _DOWN = np.ones((1, 3), np.uint8), np.ones((3, 1), np.uint8)
_BLOCK = 16
_DETAILED_QUARTER = 0.75
_HASH_SIDE, _HASH_LOW = 32, 8
_JPEG_BLOCK = 8
# Larger differences are content; visible block edges are weaker.
_MAX_BLOCK_EDGE = 12.0
# Luminance quantisation of quality 50, ITU-T T.81 annex K.1.
_STANDARD_TABLE_SUM = 3688


def luma_of(rgb: npt.NDArray[np.uint8]) -> Luma:
    """H×W×3 uint8 RGB → H×W float32 luma (BT.601), 0 to 255."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32)


def blur_px(luma: Luma) -> float:
    """The width (σ of a Gaussian, px) that only the sharpest quarter of the edges is below; 10, the maximum, without
    edges.

    An ideal edge blurred by σ has a slope of A / √(2π(σ² + s²)) after smoothing with width s, so the ratio of its
    slopes at two widths gives σ for any contrast A (Zhuo and Sim 2011, "Defocus map estimation from a
    single image"). Unlike the variance of the Laplacian, it hardly depends on the content; fine lines measure as
    sharper than they are, so that a photograph blurred by 2 px measures about 1.3 and a sharp one below 0.7.
    """
    fine, coarse = _slope(luma, _FINE), _slope(luma, _COARSE)
    edges = fine >= _EDGE_SLOPE
    if np.count_nonzero(edges) < _MIN_EDGES * luma.size:
        return _MAX_BLUR
    # Beside an edge both slopes fall and do not show its width: only local maxima count.
    edges &= (fine >= cv2.dilate(fine, _ACROSS)) | (fine >= cv2.dilate(fine, _DOWN))
    ratio = float(np.quantile(fine[edges] / np.maximum(coarse[edges], 1e-6), _SHARPEST))
    if ratio >= _COARSE / _FINE:
        return 0.0
    if ratio <= 1.0:
        return _MAX_BLUR
    variance = (_COARSE**2 - ratio**2 * _FINE**2) / (ratio**2 - 1)
    return min(float(np.sqrt(max(variance, 0.0))), _MAX_BLUR)


def detail(luma: Luma) -> float:
    """Standard deviation in levels that a quarter of the 16×16 blocks reach: near 0 for sky, walls and fog.

    Noise is smoothed away first (σ = 1 px), as it is no detail. Sides are at least 16 px.
    """
    smooth = cv2.GaussianBlur(luma, (0, 0), _FINE)
    rows, columns = (n // _BLOCK for n in luma.shape)
    blocks = smooth[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    return float(np.quantile(blocks.std(axis=(1, 3)), _DETAILED_QUARTER))


def perceptual_hash(luma: Luma) -> int:
    """64 bits: signs, about their median, of the lowest 8×8 frequencies of the image shrunk to 32×32.

    The DCT hash of Zauner 2010 ("Implementation and benchmarking of perceptual image hash functions"). Resizing and
    compression change a few bits, another image about half of them.
    """
    small = cv2.resize(luma, (_HASH_SIDE, _HASH_SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small)[:_HASH_LOW, :_HASH_LOW].ravel()
    # The mean (first coefficient) is much larger than the rest and independent of the content.
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def blockiness(luma: Luma) -> float:
    """How much stronger, in levels, steps are on the lines of an 8×8 grid than off them; about 0 without a grid.

    A step counts for what it exceeds its neighbours by, after Wang, Sheikh and Bovik 2002 ("No-reference perceptual
    quality assessment of JPEG compressed images"); all eight positions of the grid are tried, because an image
    may have been cropped since. The weaker direction counts: real scenes may have stripes, but rarely grids.
    """
    return min(_excess(luma), _excess(np.ascontiguousarray(luma.T)))


def jpeg_quality(table: Sequence[int]) -> float:
    """The libjpeg quality (1 to 100) whose luminance quantisation table has this one's mean.

    Inverts libjpeg's scaling of the tables of ITU-T T.81, annex K; for other encoders the nearest equivalent.
    Below 20, where libjpeg clips the table, the answer is a little high.
    """
    scale = 100.0 * sum(table) / _STANDARD_TABLE_SUM
    quality = 5000.0 / scale if scale > 100 else (200.0 - scale) / 2
    return float(min(max(quality, 1.0), 100.0))


def _slope(luma: Luma, width: float) -> Luma:
    smooth = cv2.GaussianBlur(luma, (0, 0), width)
    # Central differences: a kernel of (-1, 0, 1) / 2.
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _excess(luma: Luma) -> float:
    step = np.diff(luma, axis=1)
    # A step with similar neighbours is a slope; the step of a block's edge is larger than both neighbours.
    alone = np.abs(step[:, 1:-1]) - (np.abs(step[:, :-2]) + np.abs(step[:, 2:])) / 2
    mean = np.clip(alone, 0.0, _MAX_BLOCK_EDGE).mean(axis=0, dtype=np.float64)
    usable = len(mean) // _JPEG_BLOCK * _JPEG_BLOCK
    phases = mean[:usable].reshape(-1, _JPEG_BLOCK).mean(axis=0)
    strongest = int(np.argmax(phases))
    return float(phases[strongest] - np.delete(phases, strongest).mean())
