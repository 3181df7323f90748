"""Random holes for inpainting: brush strokes as in the paper, scratches, dust, rectangles and torn corners."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]

MOST = 0.6


def random_hole(side: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """side×side bool, True = hole: between one pixel and `MOST` of the picture (side: 32 px or more)."""
    draws, shares = (_stroke, _scratch, _dust, _rectangle, _corner), (0.62, 0.14, 0.08, 0.1, 0.06)
    mask = np.zeros((side, side), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        draws[int(rng.choice(len(draws), p=shares))](mask, rng)
    if not mask.any() or mask.mean() > MOST:
        mask[:] = 0
        _scratch(mask, rng)
    return mask.astype(bool)


def _stroke(mask: Mask, rng: np.random.Generator) -> None:
    side = mask.shape[0]
    width = max(1, round(rng.uniform(0.03, 0.22) * side))
    _polyline(mask, rng, vertices=int(rng.integers(2, 9)), width=width, step=0.25, turn=1.2)


def _scratch(mask: Mask, rng: np.random.Generator) -> None:
    _polyline(mask, rng, vertices=int(rng.integers(2, 6)), width=int(rng.integers(1, 4)), step=0.5, turn=0.25)


def _polyline(mask: Mask, rng: np.random.Generator, *, vertices: int, width: int, step: float, turn: float) -> None:
    side = mask.shape[0]
    p, angle = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi)
    for _ in range(vertices):
        angle += rng.uniform(-turn, turn)
        q = np.clip(p + rng.uniform(0.1, step) * side * np.array([np.cos(angle), np.sin(angle)]), 0, side - 1)
        start, end = (tuple(int(v) for v in point) for point in (p, q))
        cv2.line(mask, start, end, 1, width)
        cv2.circle(mask, end, width // 2, 1, -1)
        p = q


def _dust(mask: Mask, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 20))):
        centre = tuple(int(v) for v in rng.integers(0, mask.shape[0], 2))
        cv2.circle(mask, centre, int(rng.integers(0, 4)), 1, -1)


def _rectangle(mask: Mask, rng: np.random.Generator) -> None:
    side = mask.shape[0]
    h, w = (max(1, int(v)) for v in rng.uniform(0.05, 0.4, 2) * side)
    y, x = int(rng.integers(side - h + 1)), int(rng.integers(side - w + 1))
    mask[y : y + h, x : x + w] = 1


def _corner(mask: Mask, rng: np.random.Generator) -> None:
    last = mask.shape[0] - 1
    y, x = (last if rng.random() < 0.5 else 0 for _ in range(2))
    a, b = (int(v) for v in rng.uniform(0.1, 0.45, 2) * last)
    triangle = [(x, y), (abs(x - a), y), (x, abs(y - b))]
    cv2.fillPoly(mask, [np.array(triangle, np.int32)], (1,))
