"""Random holes for inpainting: brush strokes as in the paper, and the damage of prints and scans.

Damage is rarely limited to its mask: a scan blurs its border, and JPEG spreads it over whole blocks. `with_traces`
leaves such traces beside a hole, so that a network learns not to trust what lies next to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from adacode_cli.training.degradation.chain import gaussian_kernel
from adacode_cli.training.degradation.device_jpeg import jpeg_batch
from adacode_cli.training.degradation.settings import refuse

Mask = npt.NDArray[np.uint8]

MAX_HOLE_SHARE = 0.6
KINDS = ("stroke", "scratch", "dust", "rectangle", "corner", "hair", "crease", "tape", "date")
# Of the damage whose traces are left: levels of light and of dark marks, largest difference between their channels,
# standard deviation in pixels of the blur at a border, opacity, JPEG quality, and the share of images with JPEG.
_LIGHT, _DARK, _TINT = (0.75, 1.0), (0.0, 0.3), 0.12
_BORDER_PX, _OPACITY, _QUALITY, _WITH_JPEG = (0.4, 1.6), (0.5, 1.0), (50, 95), 0.6


@dataclass(frozen=True)
class HoleSettings:
    """Ranges of the random holes; the defaults are `MIXED`. Raises UsageError for impossible ones.

    shares: how often a hole is of each of `KINDS`, together 1; kinds without a number do not occur.
    holes: smallest and largest number of them in an image.
    vertices: smallest and largest number of a stroke's vertices.
    width: of a stroke's brush, as parts of the image's side.
    step: smallest and largest way to a stroke's next vertex, as parts of the side.
    turn: largest change of direction there, in radians.
    turn_back: strokes turn back at the edge of the image instead of running along it.
    scratch_px: smallest and largest width of a scratch in pixels.
    redraws: how often the holes are drawn again when they leave too little of the image (less than
        1 - `MAX_HOLE_SHARE`), before they are replaced by a single scratch.
    traces: share of images in which the damage can be seen beside its hole.
    """

    shares: tuple[float, ...] = (0.62, 0.14, 0.08, 0.1, 0.06)
    holes: tuple[int, int] = (1, 3)
    vertices: tuple[int, int] = (2, 8)
    width: tuple[float, float] = (0.03, 0.22)
    step: tuple[float, float] = (0.1, 0.25)
    turn: float = 1.2
    turn_back: bool = False
    scratch_px: tuple[int, int] = (1, 3)
    redraws: int = 0
    traces: float = 0.0

    def __post_init__(self) -> None:
        shares, counts = self.shares, (self.holes, self.vertices, self.scratch_px)
        unfit = not 0 < len(shares) <= len(KINDS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6
        refuse(
            "these holes are",
            (unfit, f"shares are up to {len(KINDS)}, of {', '.join(KINDS)}, together 1"),
            (any(not 1 <= low <= high for low, high in counts), "holes, vertices and scratch_px are ranges from 1"),
            (not 0 < self.width[0] <= self.width[1] <= 1, "width is a range of parts of the side, above 0, up to 1"),
            (not 0 < self.step[0] <= self.step[1] <= 1, "step is a range of parts of the side, above 0, up to 1"),
            (not 0 <= self.turn <= np.pi, "turn is from 0 to pi"),
            (self.redraws < 0, "redraws are 0 or more"),
            (not 0 <= self.traces <= 1, "traces is from 0 to 1"),
        )


MIXED = HoleSettings()
"""Mostly wide strokes; what the compact weights of 2026-11-22 were trained with."""

DAMAGED_PRINTS = HoleSettings(shares=(0.46, 0.12, 0.06, 0.08, 0.05, 0.07, 0.06, 0.06, 0.04), holes=(1, 4), traces=0.5)
"""What people have: strokes over what they want to remove, and scratches, dust, stamps, torn corners, hairs, creases,
tape and printed dates, from 1 to 80 pixels wide on 512, half of them with traces beside the mask.
"""

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
            _DRAWN[KINDS[int(rng.choice(len(settings.shares), p=settings.shares))]](mask, rng, settings)
        if mask.any() and mask.mean() <= MAX_HOLE_SHARE:
            return mask.astype(bool)
    mask[:] = 0
    _scratch(mask, rng, MIXED)
    return mask.astype(bool)


def with_traces(
    image_BCHW: Tensor, hole_B1HW: Tensor, generators: Sequence[np.random.Generator], settings: HoleSettings
) -> Tensor:
    """Images in whose known parts the damage can be seen: its blurred border, and JPEG.

    image_BCHW: float RGB in [0, 1]; hole_B1HW: 1 = hole. One generator for each image; `settings.traces` of the images
    are changed. Without traces it is the same tensor.
    """
    if not settings.traces:
        return image_BCHW
    images = []
    for image, hole, rng in zip(image_BCHW, hole_B1HW, generators, strict=True):
        images.append(_marked(image, hole, rng) if rng.random() < settings.traces else image)
    return torch.stack(images)


def _marked(image_CHW: Tensor, hole_1HW: Tensor, rng: np.random.Generator) -> Tensor:
    colour = rng.uniform(*(_LIGHT if rng.random() < 0.6 else _DARK)) + rng.uniform(-_TINT, _TINT, 3)
    colour_C11 = torch.from_numpy(colour.clip(0, 1).astype(np.float32)).to(image_CHW.device).view(3, 1, 1)
    sigma = rng.uniform(*_BORDER_PX)
    kernel = torch.from_numpy(gaussian_kernel(sigma, sigma, 0.0)).to(image_CHW)
    covered = F.conv2d(F.pad(hole_1HW[None], (len(kernel) // 2,) * 4, mode="replicate"), kernel[None, None])[0]
    marked = torch.lerp(image_CHW, colour_C11.expand_as(image_CHW), covered * rng.uniform(*_OPACITY))
    if rng.random() < _WITH_JPEG:
        marked = jpeg_batch(marked[None], [int(rng.integers(*_QUALITY, endpoint=True))])[0]
    return marked


def _stroke(mask: Mask, rng: np.random.Generator, settings: HoleSettings) -> None:
    width = max(1, round(rng.uniform(*settings.width) * mask.shape[0]))
    vertices = int(rng.integers(*settings.vertices, endpoint=True))
    step, turn, turn_back = settings.step, settings.turn, settings.turn_back
    _polyline(mask, rng, vertices=vertices, width=width, step=step, turn=turn, turn_back=turn_back)


def _scratch(mask: Mask, rng: np.random.Generator, settings: HoleSettings) -> None:
    vertices, width = int(rng.integers(2, 6)), int(rng.integers(*settings.scratch_px, endpoint=True))
    _polyline(mask, rng, vertices=vertices, width=width, step=(0.1, 0.5), turn=0.25)


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


def _dust(mask: Mask, rng: np.random.Generator, _: HoleSettings) -> None:
    for _spot in range(int(rng.integers(1, 20))):
        centre = tuple(int(v) for v in rng.integers(0, mask.shape[0], 2))
        cv2.circle(mask, centre, int(rng.integers(0, 4)), 1, -1)


def _rectangle(mask: Mask, rng: np.random.Generator, _: HoleSettings) -> None:
    side = mask.shape[0]
    h, w = (max(1, int(v)) for v in rng.uniform(0.05, 0.4, 2) * side)
    y, x = int(rng.integers(side - h + 1)), int(rng.integers(side - w + 1))
    mask[y : y + h, x : x + w] = 1


def _corner(mask: Mask, rng: np.random.Generator, _: HoleSettings) -> None:
    last = mask.shape[0] - 1
    y, x = (last if rng.random() < 0.5 else 0 for _ in range(2))
    a, b = (int(v) for v in rng.uniform(0.1, 0.45, 2) * last)
    triangle = [(x, y), (abs(x - a), y), (x, abs(y - b))]
    cv2.fillPoly(mask, [np.array(triangle, np.int32)], (1,))


def _hair(mask: Mask, rng: np.random.Generator, _: HoleSettings) -> None:
    """A thin line whose curvature changes slowly."""
    side, num = mask.shape[0], 24
    step, curvature = rng.uniform(0.1, 0.8) * side / num, rng.normal(0, 0.1)
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(curvature + rng.normal(0, 0.06, num))
    path = rng.uniform(0, side, 2) + step * np.cumsum(np.stack((np.cos(angles), np.sin(angles)), 1), 0)
    cv2.polylines(mask, [path.round().astype(np.int32)], False, (1,), int(rng.integers(2, 6)))


def _crease(mask: Mask, rng: np.random.Generator, _: HoleSettings) -> None:
    """An almost straight line across the image, of uneven width."""
    side, num = mask.shape[0], 16
    angle, middle = rng.uniform(0, np.pi), rng.uniform(0.15, 0.85, 2) * side
    along = np.linspace(-1.5, 1.5, num)[:, None] * side * np.array([np.cos(angle), np.sin(angle)])
    path = (middle + along + rng.normal(0, side / 250, (num, 2))).round().astype(int).tolist()
    width = rng.uniform(1.5, 8)
    for start, end in pairwise(path):
        cv2.line(mask, start, end, 1, max(1, round(width * rng.uniform(0.5, 1.3))))


def _tape(mask: Mask, rng: np.random.Generator, _: HoleSettings) -> None:
    """A turned strip, also beyond the edge of the image."""
    side = mask.shape[0]
    size = rng.uniform(0.2, 0.9) * side, rng.uniform(0.03, 0.16) * side
    centre = rng.uniform(0, side, 2).tolist()
    corners = cv2.boxPoints((centre, size, float(rng.uniform(0, 180))))
    cv2.fillPoly(mask, [corners.round().astype(np.int32)], (1,))


def _date(mask: Mask, rng: np.random.Generator, _: HoleSettings) -> None:
    """Digits as cameras print them into a corner."""
    side, scale = mask.shape[0], rng.uniform(0.8, 2.2) * mask.shape[0] / 512
    text = " ".join(f"{rng.integers(1, 100):02d}" for _ in range(int(rng.integers(1, 4))))
    at = tuple(int(v * side) for v in (rng.uniform(0.02, 0.7), rng.uniform(0.1, 0.98)))
    cv2.putText(mask, text, at, cv2.FONT_HERSHEY_DUPLEX, scale, (1,), max(2, round(4 * scale) + int(rng.integers(3))))


# In the order of `KINDS`.
_DRAWERS = (_stroke, _scratch, _dust, _rectangle, _corner, _hair, _crease, _tape, _date)
_DRAWN: dict[str, Callable[[Mask, np.random.Generator, HoleSettings], None]] = dict(zip(KINDS, _DRAWERS, strict=True))
