"""`--strength`: results are mixed with their inputs, which bicubic interpolation enlarges.

The mean is one of stored values, as everywhere where this program makes images smaller or larger; one of linear light
looks the same (docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from adacode_cli.batch.restoring import Restore, Restored
from adacode_cli.geometry import Hole
from adacode_cli.imaging.image import Decoded, Samples


@dataclass(frozen=True)
class Mixed:
    """A `Restore` whose results have a share of their inputs. strength: of the network's result, from 0 to 1."""

    restore: Restore
    strength: float

    def __call__(self, image: Decoded, hole: Hole | None) -> tuple[Decoded, Restored]:
        """The restored image, mixed. Images that the network did not make are not mixed; nor is alpha."""
        after, restored = self.restore(image, hole)
        if after.without_network:
            return after, restored
        return replace(after, pixels=mixed(image.pixels, after.pixels, self.strength)), restored


def mixed(before: Samples, after: Samples, strength: float) -> Samples:
    """`strength` · after + (1 - strength) · before, which is enlarged to the size of `after`.

    Both are H×W or H×W×3, of the same dtype: uint8, uint16 or float32. Integers are rounded, and values stay in
    their range.
    """
    height, width = after.shape[:2]
    enlarged = cv2.resize(before, (width, height), interpolation=cv2.INTER_CUBIC)
    total = np.asarray(cv2.addWeighted(after, strength, enlarged, 1 - strength, 0), after.dtype)
    return total.clip(0, 1) if total.dtype == np.float32 else total
