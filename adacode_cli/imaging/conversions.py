"""Conversions of CMYK, L*a*b*, and luma with chroma to RGB; formulas are computed band by band.

Profiles are applied by LittleCMS: through Pillow for 8 bits, through imagecodecs for deeper samples. TIFF and JPEG 2000
store L*a*b* and chroma in different ranges, so each has its own function; those of JPEG 2000 are the formulas of the
standard (ISO 15444-1 and -2, annexes on colour) for integers of full range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Literal

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from adacode_cli.imaging.image import INKS_LOST, INKS_PROFILE_LOST, Samples
from adacode_cli.imaging.samples import by_bands, quantise, to_depth, top_of

_Floats = npt.NDArray[np.float64]

ILLUMINANTS = {
    b"\0D50": (
        np.array([0.9642, 1.0, 0.8249]),
        np.array(
            [
                [3.1338561, -1.6168667, -0.4906146],
                [-0.9787684, 1.9161415, 0.0334540],
                [0.0719453, -0.2289914, 1.4052427],
            ]
        ),
    ),
    b"\0D65": (
        np.array([0.95047, 1.0, 1.08883]),
        np.array(
            [
                [3.2404542, -1.5371385, -0.4985314],
                [-0.9692660, 1.8760108, 0.0415560],
                [0.0556434, -0.2040259, 1.0572252],
            ]
        ),
    ),
}
"""Name of an illuminant in the standard → (white point, matrix from XYZ to linear sRGB; D50: Bradford adaptation)."""

_LAB_WHITE = {False: 65535, True: 65280}  # of 16 bits, for the two encodings of L*a*b* in TIFF


def rgb_from_cmyk(inks: Samples, icc: bytes | None) -> tuple[Samples, str]:
    """(H×W×3 RGB, the loss) of H×W×4 CMYK, same dtype: with the profile if it is usable, else by a simple formula."""
    is_shallow = inks.dtype == np.uint8
    if icc is not None:
        try:
            pixels = _by_profile_of_8_bits(inks, icc) if is_shallow else _by_profile(inks, icc)
        except (ImageCms.PyCMSError, OSError, ImportError, imagecodecs.CmsError, ValueError):
            pass  # The profile is damaged or for other colours, or Pillow was built without LittleCMS.
        else:
            return pixels, INKS_PROFILE_LOST
    # Both use the same formula; Pillow is faster.
    return np.array(_pillow_image("CMYK", inks).convert("RGB")) if is_shallow else _by_cmyk_formula(inks), INKS_LOST


def _by_profile_of_8_bits(inks: Samples, icc: bytes) -> Samples:
    converted = ImageCms.profileToProfile(
        _pillow_image("CMYK", inks),
        ImageCms.ImageCmsProfile(BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return np.array(converted)


def _by_profile(inks: Samples, icc: bytes) -> Samples:
    converted = imagecodecs.cms_transform(
        np.ascontiguousarray(to_depth(inks, np.uint16)),
        icc,
        _profile("sRGB"),
        colorspace="cmyk",
        outcolorspace="rgb",
        intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
        flags=imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION,
    )
    return to_depth(np.asarray(converted), inks.dtype)


def rgb_from_lab(lab: Samples, *, is_offset: bool) -> Samples:
    """H×W×3 sRGB of L*a*b* (D50) as uint8 or uint16, dtype kept.

    a and b are in two's complement or, with `is_offset`, have their zero in the middle, as in ICC profiles.
    """
    if lab.dtype == np.uint8:
        return np.array(
            _pillow_image("LAB", lab ^ np.array([0, 128, 128], np.uint8) if is_offset else lab).convert("RGB")
        )
    chroma = lab[..., 1:] ^ np.uint16(0x8000) if is_offset else lab[..., 1:]
    values = np.empty(lab.shape, np.float32)
    values[..., 0] = lab[..., 0] * np.float32(100 / _LAB_WHITE[is_offset])
    values[..., 1:] = chroma.astype(np.int16) / np.float32(256)
    rgb = imagecodecs.cms_transform(
        values, _profile("LAB"), _profile("sRGB"), colorspace="lab", outcolorspace="rgb", outdtype=np.float32
    )
    return quantise(rgb * np.float32(top_of(lab.dtype)), lab.dtype)


def _by_cmyk_formula(inks: Samples) -> Samples:
    """H×W×4 cyan, magenta, yellow, black (0 = no ink) → H×W×3 RGB, same dtype, without a profile."""
    top = top_of(inks.dtype)

    def convert(rows: slice) -> Samples:
        paper = 1.0 - inks[rows] / top
        return quantise(top * paper[..., :3] * paper[..., 3:], inks.dtype)

    return by_bands((*inks.shape[:2], 3), inks.dtype, convert)


def rgb_from_ranged_lab(lab: Samples, ranges: tuple[tuple[float, float], ...], illuminant: bytes) -> Samples:
    """H×W×3 sRGB of L*a*b* as stored in JPEG 2000, same dtype.

    ranges: (smallest value, range) of L*, a* and b*. illuminant: a key of ILLUMINANTS.
    """
    white, matrix = ILLUMINANTS[illuminant]

    def convert(band: _Floats) -> _Floats:
        lightness, a, b = (low + extent * band[..., index] for index, (low, extent) in enumerate(ranges))
        y = (lightness + 16) / 116
        cubes = np.stack([y + a / 500, y, y - b / 200], axis=-1)
        xyz = np.where(cubes > 6 / 29, cubes**3, 3 * (6 / 29) ** 2 * (cubes - 4 / 29)) * white
        linear = np.clip(xyz @ matrix.T, 0, 1)
        return np.asarray(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))

    return _of_unit_range(lab, convert)


def rgb_from_ycc(pixels: Samples, bits: int) -> Samples:
    """H×W×3 RGB of luma, blue and red difference as stored in JPEG 2000 with `bits` bits, same dtype."""
    # Neutral chroma is half of the number of values, not half of the largest value: 128 of 255.
    middle = (1 << (bits - 1)) / ((1 << bits) - 1)

    def convert(band: _Floats) -> _Floats:
        luma, blue, red = band[..., 0], band[..., 1] - middle, band[..., 2] - middle
        return np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=-1)

    return _of_unit_range(pixels, convert)


def _of_unit_range(pixels: Samples, convert: Callable[[_Floats], _Floats]) -> Samples:
    """Applies `convert` to all pixels, scaled to [0, 1]; same dtype."""
    top = top_of(pixels.dtype)

    def band(rows: slice) -> Samples:
        return quantise(convert(pixels[rows].astype(np.float64) / top) * top, pixels.dtype)

    return by_bands(pixels.shape, pixels.dtype, band)


@dataclass(frozen=True)
class LumaScale:
    """How luma and chroma of `bits` bits encode colours.

    weights: of red, green and blue in luma.
    ranges: black and white, and for each chroma the neutral and the largest value.
    """

    weights: tuple[float, ...]
    ranges: tuple[float, ...]
    bits: int

    @classmethod
    def of_bits(cls, bits: int) -> LumaScale:
        """The scale of JPEG files: ITU-R BT.601, full range."""
        top, middle = (1 << bits) - 1, 1 << (bits - 1)
        return cls((0.299, 0.587, 0.114), (0, top, middle, top, middle, top), bits)


def rgb_from_luma(samples: Samples, scale: LumaScale, dtype: npt.DTypeLike) -> Samples:
    """H×W×3 luma, blue and red difference as stored → H×W×3 RGB of `dtype`."""
    red, green, blue = scale.weights
    low, high = np.array(scale.ranges[::2]), np.array(scale.ranges[1::2])
    if min(red, green, blue) <= 0 or (high == low).any():
        raise ValueError("impossible weights or ranges of luma and chroma")
    # The range of chroma above the middle is one step smaller than the range below it.
    half = ((1 << (scale.bits - 1)) - 1) / ((1 << scale.bits) - 1)
    top = top_of(dtype)

    def convert(rows: slice) -> Samples:
        luma, to_blue, to_red = np.moveaxis((samples[rows] - low) / (high - low) * (1, half, half), -1, 0)
        r, b = luma + (2 - 2 * red) * to_red, luma + (2 - 2 * blue) * to_blue
        return quantise(np.stack([r, (luma - red * r - blue * b) / green, b], -1) * top, dtype)

    return by_bands(samples.shape, dtype, convert)


def _pillow_image(mode: str, packed: Samples) -> Image.Image:
    size = (packed.shape[1], packed.shape[0])
    return Image.frombuffer(mode, size, np.ascontiguousarray(packed), "raw", mode, 0, 1)


@cache
def _profile(kind: Literal["LAB", "sRGB"]) -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes())
