"""The guard compares every result, reduced to the size of its input, with that input.

An overflow in half precision, damaged weights or a faulty driver give black, flat or wrongly coloured images without
any error. The bounds are several times the largest differences that the bundled weights cause in any image (0.024 for
the mean colour of an image, 0.027 for windows of 16 pixels, both for drawn lines), so that only a malfunction exceeds
them. Reconstructions are not compared, because they show how well codes represent the input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adacode_cli.batch.comparison import counted, largest, local_mean, shrunk, unit
from adacode_cli.batch.restoring import Restore, Restored
from adacode_cli.errors import QualityError
from adacode_cli.geometry import Hole
from adacode_cli.imaging.image import Decoded

MAX_DRIFT = 0.08
"""The largest change of the mean of a channel; the full scale is 1."""
MAX_LOCAL_DRIFT = 0.2
"""The largest change of the mean of a window."""
_WINDOW_PX = 16
_MIN_SHARE = 0.5  # of the pixels of a window that must be comparable
_MIN_SPREAD = 0.02  # standard deviation of an input that is not flat itself
_MIN_SPREAD_RATIO = 0.1  # of the input's standard deviation
_COMPARED_ROWS = 16
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Judgement:
    """What the guard found.

    defect: what is wrong with a result, in a few words; None if it agrees with its input. distance: between them, as a
    share of the largest one that is accepted; None if they cannot be compared.
    """

    defect: str | None = None
    distance: float | None = None


def defect(
    before: Decoded,
    after: Decoded,
    hole: Hole | None = None,
    means: NDArray[np.float32] | None = None,
) -> str | None:
    """What is wrong with a result, as in `judged`."""
    return judged(before, after, hole, means).defect


def judged(
    before: Decoded,
    after: Decoded,
    hole: Hole | None = None,
    means: NDArray[np.float32] | None = None,
) -> Judgement:
    """Compares a result with its input.

    means: of `after` over each pixel of `before`, H×W×C with full scale at 1, if the device computed them.
    """
    if means is not None and not _are_means_of(means, after):
        return Judgement("a part of it was lost during the transfer from the device")
    small = shrunk(unit(after.pixels), before.size) if means is None else means
    if not np.isfinite(small).all():  # A mean is not finite if one of its values is not.
        return Judgement("it holds values that are not finite numbers")
    weight = counted(before, hole)
    if not weight.any():
        return Judgement()
    source = unit(before.pixels)
    compared = weight > 0
    spread, result_spread = float(source[compared].std()), float(small[compared].std())
    if spread > _MIN_SPREAD and result_spread < _MIN_SPREAD_RATIO * spread:
        return Judgement("it is black" if small[compared].max() < _MIN_SPREAD else "it is flat")
    difference = small - source
    drift = float(np.abs(difference[compared].mean(axis=0)).max())
    windows, share = local_mean(difference, weight, _WINDOW_PX)
    judged = share >= _MIN_SHARE
    worst = float(np.abs(windows[judged]).max(initial=0.0))
    found = None
    if drift > MAX_DRIFT:
        found = f"its colours drift by {drift:.2f} (at most {MAX_DRIFT:g})"
    elif worst > MAX_LOCAL_DRIFT:
        found = f"a part of it differs by {worst:.2f} (at most {MAX_LOCAL_DRIFT:g})"
    return Judgement(found, max(drift / MAX_DRIFT, worst / MAX_LOCAL_DRIFT))


def _are_means_of(means: NDArray[np.float32], after: Decoded) -> bool:
    """Whether sampled rows of the image have the means that the device computed."""
    height, scale = means.shape[0], after.size[0] // means.shape[0]
    for row in np.unique(np.linspace(0, height - 1, _COMPARED_ROWS, dtype=int)):
        there = shrunk(unit(after.pixels[row * scale : (row + 1) * scale]), (1, means.shape[1]))
        if not np.allclose(there[0], means[row], rtol=0, atol=_ROUNDING, equal_nan=True):
            return False
    return True


@dataclass(frozen=True)
class Guarded:
    """A `Restore` whose results are checked. `careful` makes one in float32, when it is first needed."""

    restore: Restore
    careful: Callable[[], Restore]

    def __call__(self, image: Decoded, hole: Hole | None) -> tuple[Decoded, Restored]:
        """The restored image; if it fails the check, computed again in float32, with a note. Raises QualityError."""
        after, restored = self.restore(image, hole)
        first = judged(image, after, hole, restored.shrunk)
        if first.defect is None:
            return _with_distance(image, after, first), restored
        after, restored = self.careful()(image, hole)
        second = judged(image, after, hole, restored.shrunk)
        if second.defect is not None:
            hint = "Inspect it with --quarantine DIR. With --no-guard, results are not compared with inputs."
            raise QualityError(f"the result differs too much from the input: {second.defect}", hint=hint, image=after)
        after = replace(after, notes=(*after.notes, f"computed again in float32: {first.defect}"))
        return _with_distance(image, after, second), restored


def _with_distance(image: Decoded, after: Decoded, found: Judgement) -> Decoded:
    """The result with the largest distance so far, where the network runs several times."""
    return replace(after, distance=largest(image.distance, found.distance))
