"""Camera raw files for tests: a DNG with a Bayer mosaic, written by tifffile, whose developed colours are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

BLACK, WHITE = 1000, 61000
# From CIE XYZ (D65) to linear sRGB: the camera sees as sRGB does.
_FROM_XYZ = ((3.2406, -1.5372, -0.4986), (-0.9689, 1.8758, 0.0415), (0.0557, -0.2040, 1.0570))
_BYTE, _ASCII, _SHORT, _RATIONAL, _SIGNED_RATIONAL = 1, 2, 3, 5, 10
_CFA, _D65 = 32803, 21


def light(height: int, width: int) -> np.ndarray:
    """H×W×3 linear light in [0, 1]: red grows to the right, green downwards, blue is constant."""
    down, across = np.mgrid[0:height, 0:width]
    return np.dstack([0.05 + 0.8 * across / width, 0.05 + 0.8 * down / height, np.full((height, width), 0.5)])


def write_dng(path: Path, linear: np.ndarray, *, orientation: int = 1, preview: bool = False) -> Path:
    """A DNG of H×W×3 linear light, with the mosaic RG/GB, a make and a model.

    preview: the first directory holds a small grey image, and the mosaic is in a directory below it, as cameras do.
    """
    samples = np.rint(BLACK + linear * (WHITE - BLACK)).astype(np.uint16)
    mosaic = samples[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = samples[::2, ::2, 0], samples[1::2, 1::2, 2]
    matrix = [number for row in _FROM_XYZ for value in row for number in (round(value * 10000), 10000)]
    of_mosaic = [
        (33421, _SHORT, 2, (2, 2), True),  # its size, and its colours
        (33422, _BYTE, 4, (0, 1, 1, 2), True),
        (50714, _SHORT, 1, BLACK, True),
        (50717, _SHORT, 1, WHITE, True),
    ]
    of_camera = [
        (271, _ASCII, 0, "Somebody", True),
        (272, _ASCII, 0, "Pinhole", True),
        (274, _SHORT, 1, orientation, True),
        (50706, _BYTE, 4, (1, 4, 0, 0), True),  # DNG version, and the one that a reader must know
        (50707, _BYTE, 4, (1, 1, 0, 0), True),
        (50708, _ASCII, 0, "Somebody Pinhole", True),
        (50721, _SIGNED_RATIONAL, 9, matrix, True),
        (50728, _RATIONAL, 3, (1, 1) * 3, True),  # white balance: neutral
        (50778, _SHORT, 1, _D65, True),
    ]
    common = {"metadata": None, "software": False, "compression": None}
    with tifffile.TiffWriter(path) as file:
        if preview:
            small = np.zeros((12, 18), np.uint8)
            file.write(small, photometric=1, subfiletype=1, subifds=1, extratags=of_camera, **common)
        tags = of_mosaic if preview else [*of_camera, *of_mosaic]
        file.write(mosaic, photometric=_CFA, subfiletype=0, extratags=tags, **common)
    return path
