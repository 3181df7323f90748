"""A filled hole goes back into the picture that it was cut from; what lies outside stays bit for bit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adacode_cli.engine.arrays import Pixels


def composite(image: Pixels, filled: Pixels, weight_HW: npt.NDArray[np.float32]) -> Pixels:
    """`filled` where the weight is 1, `image` bit for bit where it is 0, a blend between."""
    result = image.copy()
    whole, part = weight_HW >= 1, (weight_HW > 0) & (weight_HW < 1)
    result[whole] = filled[whole]
    old, new = image[part].astype(np.float32), filled[part].astype(np.float32)
    share = weight_HW[part] if image.ndim == 2 else weight_HW[part][:, None]
    blended = old + share * (new - old)
    result[part] = blended if image.dtype == np.float32 else np.rint(blended)
    return result
