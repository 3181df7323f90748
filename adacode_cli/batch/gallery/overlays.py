"""What the gallery draws over a picture: which basis weighs how much where, and the hole that was filled.

Both are PNG files with a palette, because a page of file:// may not read the pixels of an image and colour them.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adacode_cli.batch.restoring import Restored
from adacode_cli.batch.weights_map import color_of, range_of
from adacode_cli.codes.image import Codes

Pixels = NDArray[np.uint8]

_MAP_PX = 128  # the longer side of a map of weights
_HOLE_PX = 1024
_COMPRESSION = 1  # of zlib: 6 takes more than twice as long for an eighth less
_MOST_LEVELS = 8  # of one basis
_PALETTE_COLORS = 256
_MOST_BASES = _PALETTE_COLORS // 3
# Inside and edge of a hole: red, green, blue, alpha.
_TINT, _EDGE = (255, 0, 170, 105), (255, 0, 170, 255)
HOLE_COLOR = "#ff00aa"


def bases_of(restored: Restored | None, codes: Codes | None = None) -> list[dict[str, Any]]:
    """Each basis codebook with its share of the latent cells in which it weighs most, the largest first.

    panel: the number of its panel in `bases_png`. color: in which it is drawn. used, size: how many of its codes the
    image uses, and how many there are, if `codes` are known (of several levels, of the first).
    """
    if restored is None or not restored.mixing_weights.size:
        return []
    dominant = np.argmax(restored.mixing_weights, axis=0)
    shares = np.bincount(dominant.ravel(), minlength=len(restored.categories)) / dominant.size
    named: list[dict[str, Any]] = [
        {"name": name, "share": round(float(share), 4), "panel": index + 1, "color": _hex(color_of(index))}
        for index, (name, share) in enumerate(zip(restored.categories, shares, strict=True))
    ]
    if codes is not None and len(codes.steps_KHW) == len(named):
        for one, plane, size in zip(named, codes.codes_KHW, codes.book_sizes, strict=False):
            one |= {"used": len(np.unique(plane)), "size": size}
    return sorted(named, key=lambda one: -float(one["share"]))


def bases_png(restored: Restored | None) -> bytes | None:
    """Panels side by side: the colour of the basis that weighs most, then for each basis how much it weighs.

    None if there are no mixing weights, or those of more bases than a palette has room for.
    """
    if restored is None or not restored.mixing_weights.size or len(restored.categories) > _MOST_BASES:
        return None
    planes = np.stack([_reduced(plane, _MAP_PX) for plane in restored.mixing_weights])
    count = len(planes)
    levels = max(2, min(_MOST_LEVELS, _PALETTE_COLORS // count - 1))
    low, high = range_of(planes)
    steps = np.rint((planes - low) / (high - low) * (levels - 1)).clip(0, levels - 1).astype(np.int64)
    panels = [np.argmax(planes, axis=0), *(count + index * levels + steps[index] for index in range(count))]
    opaque = [(*color_of(index), 255) for index in range(count)]
    shades = [
        (*color_of(index), round(255 * level / (levels - 1))) for index in range(count) for level in range(levels)
    ]
    return _png(np.hstack(panels).astype(np.uint8), [*opaque, *shades])


def reduced_hole(mask: NDArray[np.bool_]) -> Pixels:
    """H×W: 1 in the hole of a mask, of at most 1024 pixels; the smallest mark stays visible."""
    return (_reduced(mask.astype(np.float32), _HOLE_PX) > 0).astype(np.uint8)


def hole_png(hole: Pixels) -> bytes:
    """A tint of what `reduced_hole` has made, with an outline."""
    inner = cv2.erode(hole, np.ones((3, 3), np.uint8), borderValue=0)
    return _png(np.where(hole > inner, 2, hole).astype(np.uint8), [(0, 0, 0, 0), _TINT, _EDGE])


def _reduced(plane: NDArray[np.float32], long_side: int) -> NDArray[np.float32]:
    height, width = plane.shape
    scale = long_side / max(height, width)
    if scale >= 1:
        return plane
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


def _png(indices: Pixels, colors: Sequence[tuple[int, int, int, int]]) -> bytes:
    """An image of colours with alpha by their numbers."""
    image, buffer = Image.fromarray(indices, "P"), BytesIO()
    image.putpalette([value for color in colors for value in color[:3]])
    image.save(buffer, "png", compress_level=_COMPRESSION, transparency=bytes(color[3] for color in colors))
    return buffer.getvalue()


def _hex(color: tuple[int, int, int]) -> str:
    return "#" + bytes(color).hex()
