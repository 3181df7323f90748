"""Random holes for inpainting: brush strokes as in the paper, scratches, dust, rectangles and torn corners."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from adacode_cli.training.degradation.settings import refuse

Mask = npt.NDArray[np.uint8]

MAX_HOLE_SHARE = 0.6
KINDS = ("stroke", "scratch", "dust", "rectangle", "corner")


@dataclass(frozen=True)
class HoleSettings:
    """Ranges of the random holes; the defaults are `MIXED`. Raises UsageError for impossible ones.

    shares: how often a hole is of each of `KINDS`, together 1.
    holes: smallest and largest number of them in an image.
    vertices: smallest and largest number of a stroke's vertices.
    width: of a stroke's brush, as parts of the image's side.
    step: smallest and largest way to a stroke's next vertex, as parts of the side.
    turn: largest change of direction there, in radians.
    turn_back: strokes turn back at the edge of the image instead of running along it.
    scratch_px: smallest and largest width of a scratch in pixels.
    redraws: how often the holes are drawn again when they leave too little of the image (less than
        1 - `MAX_HOLE_SHARE`), before they are replaced by a single scratch.
    """

    shares: tuple[float, float, float, float, float] = (0.62, 0.14, 0.08, 0.1, 0.06)
    holes: tuple[int, int] = (1, 3)
    vertices: tuple[int, int] = (2, 8)
    width: tuple[float, float] = (0.03, 0.22)
    step: tuple[float, float] = (0.1, 0.25)
    turn: float = 1.2
    turn_back: bool = False
    scratch_px: tuple[int, int] = (1, 3)
    redraws: int = 0

    def __post_init__(self) -> None:
        shares, counts = self.shares, (self.holes, self.vertices, self.scratch_px)
        unfit = len(shares) != len(KINDS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6
        refuse(
            "these holes are",
            (unfit, f"shares are {len(KINDS)}, of {', '.join(KINDS)}, together 1"),
            (any(not 1 <= low <= high for low, high in counts), "holes, vertices and scratch_px are ranges from 1"),
            (not 0 < self.width[0] <= self.width[1] <= 1, "width is a range of parts of the side, above 0, up to 1"),
            (not 0 < self.step[0] <= self.step[1] <= 1, "step is a range of parts of the side, above 0, up to 1"),
            (not 0 <= self.turn <= np.pi, "turn is from 0 to pi"),
            (self.redraws < 0, "redraws are 0 or more"),
        )


MIXED = HoleSettings()
"""What the compact weights are trained with: the damage of old prints."""

PUBLISHED_STROKES = HoleSettings(
    shares=(1.0, 0.0, 0.0, 0.0, 0.0), vertices=(8, 28), width=(12 / 512, 80 / 512), turn_back=True, redraws=20
)
"""AdaCode's published inpainting: 1 to 3 brush strokes of 8 to 28 vertices, 12 to 80 pixels wide on 512, round joints.

The paper does not state the lengths and turns of their segments; these are those of `MIXED`.
"""


def random_hole(side: int, rng: np.random.Generator, settings: HoleSettings = MIXED) -> npt.NDArray[np.bool_]:
    """side×side bool, True = hole: between one pixel and `MAX_HOLE_SHARE` of the image (side: 32 px or more)."""
    mask = np.zeros((side, side), np.uint8)
    for _ in range(1 + settings.redraws):
        mask[:] = 0
        for _ in range(int(rng.integers(*settings.holes, endpoint=True))):
            _draw(KINDS[int(rng.choice(len(KINDS), p=settings.shares))], mask, rng, settings)
        if mask.any() and mask.mean() <= MAX_HOLE_SHARE:
            return mask.astype(bool)
    mask[:] = 0
    _draw("scratch", mask, rng, MIXED)
    return mask.astype(bool)


def _draw(kind: str, mask: Mask, rng: np.random.Generator, settings: HoleSettings) -> None:
    if kind == "stroke":
        width = max(1, round(rng.uniform(*settings.width) * mask.shape[0]))
        vertices = int(rng.integers(*settings.vertices, endpoint=True))
        step, turn, turn_back = settings.step, settings.turn, settings.turn_back
        _polyline(mask, rng, vertices=vertices, width=width, step=step, turn=turn, turn_back=turn_back)
    elif kind == "scratch":
        vertices, width = int(rng.integers(2, 6)), int(rng.integers(*settings.scratch_px, endpoint=True))
        _polyline(mask, rng, vertices=vertices, width=width, step=(0.1, 0.5), turn=0.25)
    elif kind == "dust":
        _dust(mask, rng)
    elif kind == "rectangle":
        _rectangle(mask, rng)
    else:
        _corner(mask, rng)


def _polyline(
    mask: Mask,
    rng: np.random.Generator,
    *,
    vertices: int,
    width: int,
    step: tuple[float, float],
    turn: float,
    turn_back: bool = False,
) -> None:
    side = mask.shape[0]
    p, angle = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi)
    for _ in range(vertices):
        angle += rng.uniform(-turn, turn)
        way = rng.uniform(*step) * side * np.array([np.cos(angle), np.sin(angle)])
        if turn_back:
            way = np.where((p + way < 0) | (p + way > side - 1), -way, way)
            angle = float(np.arctan2(way[1], way[0]))
        q = np.clip(p + way, 0, side - 1)
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
