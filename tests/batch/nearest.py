"""A small real restorer for tests: nearest-neighbour enlargement, holes filled with grey, no network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

CATEGORIES = ("architecture", "faces", "nature")
CELL_PX = 8  # of the input


@dataclass(frozen=True)
class NearestRestored:
    image: np.ndarray
    mixing_weights: np.ndarray
    categories: tuple[str, ...] = CATEGORIES
    notes: tuple[str, ...] = ()
    precision: str = "fp32"
    shrunk: np.ndarray | None = None
    alpha: np.ndarray | None = None
    found: np.ndarray | None = None
    weights_extent: tuple[float, float] = (1.0, 1.0)

    def with_found(self, mask):
        return replace(self, found=mask)


class NearestRestorer:
    """Does what `adacode_cli.engine.restorer.Restorer.restore` promises, in the simplest way there is."""

    def restore(self, task, image, *, alpha=None, scale=4.0, size=None, denoise=1.0, mask=None):
        size = size or tuple(round(side * scale) for side in image.shape[:2])
        out = {"sr": lambda: _enlarged(image, size), "inpaint": lambda: _filled(image, mask)}.get(task, image.copy)()
        if alpha is not None and task == "sr":
            alpha = _enlarged(alpha, size)
        if alpha is not None and mask is not None and mask.opaque:
            alpha = np.where(mask.mask, alpha.dtype.type(_opaque(alpha)), alpha)
        height, width = (-(-side // CELL_PX) for side in image.shape[:2])
        ramp = np.linspace(0, 1, width, dtype=np.float32)[None, :].repeat(height, axis=0)
        weights = np.stack([ramp, 1 - ramp, np.full_like(ramp, 0.3)])
        extent = tuple(CELL_PX * cells / side for cells, side in zip(ramp.shape, image.shape[:2], strict=True))
        return NearestRestored(out, weights, alpha=alpha, weights_extent=extent)


def _enlarged(image, size):
    height, width = size
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    return np.ascontiguousarray(image[rows][:, columns])


def _filled(image, hole):
    out = image.copy()
    out[hole.mask] = 128
    return out


def _opaque(alpha):
    return 1 if alpha.dtype == np.float32 else np.iinfo(alpha.dtype).max
