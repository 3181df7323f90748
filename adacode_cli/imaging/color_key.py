"""Finds the pixels of one colour in an image, as a viewer shows it: the colour profile of the image is applied.

The distance of two colours is that of CIE 1976: the Euclidean distance of their L*a*b* values (white point D65), about
2 where eyes begin to see a difference. CIEDE2000 is made for small differences: with a limit that finds as many pixels
that were painted in red or green before compression, it takes more pixels of photographs for paint (docs/log.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from adacode_cli.errors import UsageError
from adacode_cli.imaging.image import Decoded, Samples
from adacode_cli.imaging.samples import by_bands, to_depth

_COLOR = re.compile(r"#?([0-9a-fA-F]{6})")
_ROUNDED = 1.0  # A profile may change a value by one, which is a distance of less than this.
_LINEAR = np.array(
    [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.arange(256) / 255], np.float32
)
_WHITE = np.array([[0.95047], [1.0], [1.08883]])
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
)
_TO_LAB = np.array([[0, 116, 0, -16], [500, -500, 0, 0], [0, 200, -200, 0]], np.float32)
_CUBE = (6 / 29) ** 3


class ColorKey:
    """The distances of the pixels of an image from the colour `color`, "#rrggbb" in sRGB.

    Values of 16 bits and floats are rounded to 8 bits. Pixels of an image with a usable ICC profile, or with CICP
    numbers that a profile can express, are converted to sRGB; HDR is compared as it is stored. Raises UsageError for a
    text that is not a colour.
    """

    def __init__(self, image: Decoded, color: str) -> None:
        self._color = _parsed(color)
        self._pixels = to_depth(image.pixels, np.uint8)
        self._is_hidden = image.alpha == 0 if image.alpha is not None else None
        self._shown = _to_srgb(image)

    def within(self, tolerance: float) -> npt.NDArray[np.bool_]:
        """bool H×W: True at pixels at most `tolerance` away from the colour; 0 means equal.

        What a profile has converted may differ by rounding. A fully transparent pixel has no colour.
        """
        if tolerance == 0 and self._shown is None:
            matches = by_bands(self._pixels.shape[:2], np.bool_, self._equal)
        else:
            limit = max(tolerance, _ROUNDED) if self._shown else tolerance
            matches = by_bands(self._pixels.shape[:2], np.bool_, lambda rows: self._distances(rows) <= limit)
        return matches if self._is_hidden is None else matches & ~self._is_hidden

    def nearest(self) -> tuple[str, float] | None:
        """The colour of the image that is nearest, as "#rrggbb" in sRGB, and its distance; None if all is hidden."""
        distances = by_bands(self._pixels.shape[:2], np.float32, self._distances)
        if self._is_hidden is not None:
            distances[self._is_hidden] = np.inf
        row, column = divmod(int(distances.argmin()), distances.shape[1])
        distance = float(distances[row, column])
        pixel = self._rgb(slice(row, row + 1))[0, column]
        return (f"#{bytes(pixel).hex()}", distance) if np.isfinite(distance) else None

    def _equal(self, rows: slice) -> npt.NDArray[np.bool_]:
        return np.asarray((self._rgb(rows) == self._color).all(axis=2))

    def _distances(self, rows: slice) -> npt.NDArray[np.float32]:
        difference = lab_of(self._rgb(rows)) - lab_of(self._color[None, None])
        return np.asarray(np.sqrt(np.square(difference).sum(axis=2)))

    def _rgb(self, rows: slice) -> Samples:
        """H×W×3 uint8 in sRGB."""
        pixels = self._pixels[rows]
        if self._shown is not None:
            return self._shown(pixels)
        return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def _parsed(color: str) -> npt.NDArray[np.uint8]:
    match = _COLOR.fullmatch(color.strip())
    if match is None:
        raise UsageError(f"{color!r} is not a colour", hint="Write it as '#rrggbb', for example '#ffffff' for white.")
    return np.frombuffer(bytes.fromhex(match[1]), np.uint8)


def _to_srgb(image: Decoded) -> Callable[[Samples], Samples] | None:
    """Converts H×W or H×W×3 uint8 to H×W×3 in sRGB; None if the image has no usable description of its colours."""
    is_grey = image.pixels.ndim == 2
    icc = image.icc if image.cicp is None else (None if image.cicp.is_hdr else image.cicp.profile(grey=is_grey))
    if icc is None:
        return None
    mode, intent = "L" if is_grey else "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
    try:
        source, srgb = ImageCms.ImageCmsProfile(BytesIO(icc)), ImageCms.createProfile("sRGB")
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        transform = ImageCms.buildTransform(source, srgb, mode, "RGB", intent, flags)
    except (ImageCms.PyCMSError, OSError, ImportError, ValueError):
        return None  # The profile is damaged or for other colours, or Pillow was built without LittleCMS.

    def convert(pixels: Samples) -> Samples:
        converted = ImageCms.applyTransform(Image.fromarray(np.ascontiguousarray(pixels)), transform)
        assert converted is not None, "it is not converted in place"
        return np.asarray(converted)

    return convert


def lab_of(rgb: Samples) -> npt.NDArray[np.float32]:
    """H×W×3 uint8 in sRGB → L*a*b*. OpenCV's conversion interpolates in a table, with errors up to 0.5."""
    xyz = cv2.transform(_LINEAR[rgb], (_TO_XYZ / _WHITE).astype(np.float32))
    cubes = np.where(xyz > _CUBE, np.cbrt(xyz), xyz * np.float32(841 / 108) + np.float32(4 / 29))
    return np.asarray(cv2.transform(cubes.astype(np.float32), _TO_LAB))
