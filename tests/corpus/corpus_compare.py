"""One file of a collection: our reading held against those of other programs, and the outcome of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from corpus_readers import Reading

from adacode_cli.imaging.image import Decoded, Samples

SAME = "same"
SAME_DAMAGED = "same, with a complaint"
DISPUTED = "programs disagree, one reads as we do"
DIFFERS = "differs"
FAULT = "fault of ours"
ONLY_OURS = "only we read it"
ONLY_THEIRS = "only they read it"
ONLY_THEIRS_DAMAGED = "only they read it, with a complaint"
NEITHER = "both refuse"
NOT_COMPARED = "not comparable"
OUTCOMES = (
    SAME,
    SAME_DAMAGED,
    DISPUTED,
    DIFFERS,
    FAULT,
    ONLY_OURS,
    ONLY_THEIRS,
    ONLY_THEIRS_DAMAGED,
    NEITHER,
    NOT_COMPARED,
)

LARGEST_PIXELS = 64_000_000
# A part of the image (of 8 × 8) may differ by so many times more than the whole: edges where chroma is enlarged.
_PART_ALLOWANCE = 6.0
_PARTS = 8
_SMALLEST_PART = 16
_BAND_ROWS = 64


@dataclass(frozen=True)
class Difference:
    """Of two readings: means over the visible parts, on a scale of 0 to 1, and what does not fit at all, in words."""

    reader: str
    mean: float | None = None
    worst_part: float | None = None
    alpha_mean: float | None = None
    problems: tuple[str, ...] = ()
    complaint: str = ""


@dataclass(frozen=True)
class Verdict:
    """The outcome for one file: `ours` and each of `differences` say what was seen, in a form that JSON takes."""

    outcome: str
    ours: dict[str, Any]
    differences: tuple[Difference, ...] = ()
    refused_by: dict[str, str] = field(default_factory=dict)


def facts_of(decoded: Decoded) -> dict[str, Any]:
    """What lists show of our result: size, depth, channels, pages."""
    height, width = decoded.size
    return {
        "size": f"{width}×{height}",
        "depth": depth_of(decoded),
        "channels": ("grey" if decoded.pixels.ndim == 2 else "RGB") + ("" if decoded.alpha is None else " and alpha"),
        "pages": len(decoded.pages),
        "profile": decoded.icc is not None,
        "lost": list(decoded.lost),
    }


def depth_of(decoded: Decoded) -> int:
    """Bits of a sample as our reading has them."""
    return decoded.bits or decoded.pixels.dtype.itemsize * 8


def difference(decoded: Decoded, theirs: Reading, tolerance: float) -> Difference:
    """Compares our reading with that of another program, which must have made one."""
    assert theirs.pixels is not None
    if decoded.size != theirs.pixels.shape[:2]:
        height, width = theirs.pixels.shape[:2]
        return Difference(theirs.reader, problems=(f"size: theirs is {width}×{height}",), complaint=theirs.complaint)
    off, alpha_off = _off(decoded, theirs)
    mean, worst, alpha_mean = float(off.mean()), _worst_part(off), float(alpha_off.mean())
    problems = []
    if mean > tolerance or worst > tolerance * _PART_ALLOWANCE:
        problems.append(f"pixels: mean difference {mean:.4f}, {worst:.4f} in the worst part")
    if alpha_mean > tolerance or _worst_part(alpha_off) > tolerance * _PART_ALLOWANCE:
        whose = (
            "we have none" if decoded.alpha is None else "they have none" if theirs.alpha is None else "both have it"
        )
        problems.append(f"alpha: mean difference {alpha_mean:.4f} ({whose})")
    if theirs.depth is not None and theirs.depth > 8 and depth_of(decoded) <= 8:
        problems.append(f"depth: {depth_of(decoded)} bits of {theirs.depth}")
    return Difference(theirs.reader, mean, worst, alpha_mean, tuple(problems), theirs.complaint)


def _off(decoded: Decoded, theirs: Reading) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """H×W differences of colour, where either shows the pixel as far as it does, and of alpha."""
    assert theirs.pixels is not None
    height, width = decoded.size
    colour = np.zeros((height, width), np.float32)
    alpha = np.zeros((height, width), np.float32)
    for top in range(0, height, _BAND_ROWS):
        rows = slice(top, top + _BAND_ROWS)
        ours_here, theirs_here = _colours(decoded.pixels[rows]), _colours(theirs.pixels[rows])
        covers = [_cover(decoded.alpha, rows), _cover(theirs.alpha, rows)]
        colour[rows] = np.abs(ours_here - theirs_here).mean(-1) * np.maximum(*covers)
        alpha[rows] = np.abs(np.subtract(*covers))
    return colour, alpha


def _colours(samples: Samples) -> npt.NDArray[np.float32]:
    scaled = _scaled(samples)
    return scaled if scaled.ndim == 3 else scaled[..., None]


def _cover(alpha: Samples | None, rows: slice) -> npt.NDArray[np.float32]:
    return np.ones(1, np.float32) if alpha is None else _scaled(alpha[rows])


def _scaled(samples: Samples) -> npt.NDArray[np.float32]:
    top = np.iinfo(samples.dtype).max if samples.dtype.kind == "u" else 1.0
    return np.clip(np.nan_to_num(samples.astype(np.float32) / np.float32(top)), 0.0, 1.0)


def _worst_part(off: npt.NDArray[np.float32]) -> float:
    """The largest mean among up to 8 × 8 equal parts, each of 16 pixels a side or more."""
    edges = []
    for length in off.shape:
        count = max(1, min(_PARTS, length // _SMALLEST_PART))
        edges.append(np.linspace(0, length, count, endpoint=False).astype(int))
    sums = np.add.reduceat(np.add.reduceat(off.astype(np.float64), edges[0], 0), edges[1], 1)
    sizes = [np.diff([*edge, length]) for edge, length in zip(edges, off.shape, strict=True)]
    return float((sums / np.outer(*sizes)).max())
