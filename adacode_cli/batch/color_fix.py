"""`--color-fix low-frequency`: the low frequencies of the input replace those of the result.

A network may shift the colours of an image slightly; what it restores is in the high frequencies. Fully transparent
pixels and holes contain no information about colours and are not changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adacode_cli.batch.comparison import counted, grown, local_mean, shrunk, unit
from adacode_cli.batch.restoring import Restore, Restored
from adacode_cli.geometry import Hole
from adacode_cli.imaging.image import Decoded

WINDOW_PX = 31
"""In pixels of the input: changes within smaller windows are left to the network."""


def with_low_frequencies(before: Decoded, after: Decoded, hole: Hole | None = None) -> Decoded:
    """`after` with the low frequencies of `before` where both must look alike; same size, depth and layout."""
    weight = counted(before, hole)
    result = unit(after.pixels)
    means, _ = local_mean(unit(before.pixels) - shrunk(result, before.size), weight, WINDOW_PX)
    correction = means * weight[..., None]
    return replace(after, pixels=_as(result + grown(correction, after.size), after.pixels))


@dataclass(frozen=True)
class ColorFixed:
    """A `Restore` whose results get the low frequencies of their inputs."""

    restore: Restore

    def __call__(self, image: Decoded, hole: Hole | None) -> tuple[Decoded, Restored]:
        """The restored image with corrected colours."""
        after, restored = self.restore(image, hole)
        return with_low_frequencies(image, after, hole), restored


def _as(values: NDArray[np.float32], like: NDArray[Any]) -> NDArray[Any]:
    """Values with full scale at 1 in the layout and depth of `like`."""
    clipped = np.clip(values, 0.0, 1.0).reshape(like.shape)
    if np.issubdtype(like.dtype, np.floating):
        return clipped.astype(like.dtype)
    return np.rint(clipped * np.iinfo(like.dtype).max).astype(like.dtype)
