"""Inks and L*a*b* → sRGB, by LittleCMS: Pillow has it for 8 bits, imagecodecs for all that is deeper."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Literal

import imagecodecs
import numpy as np
from PIL import Image, ImageCms

from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.raster import INKS_LOST, INKS_PROFILE_LOST
from adacode_cli.imaging.samples import quantise, rgb_by_ink_formula, to_depth, top_of

_LAB_WHITE = {False: 65535, True: 65280}  # of 16 bits, in the two ways in which a TIFF may store L*a*b*


def rgb_from_inks(inks: Samples, icc: bytes | None) -> tuple[Samples, str]:
    """(H×W×3, what is lost) of H×W×4 inks, dtype kept: by the profile where it works, else by the plain formula."""
    is_shallow = inks.dtype == np.uint8
    if icc is not None:
        try:
            found = _by_profile_of_8_bits(inks, icc) if is_shallow else _by_profile(inks, icc)
        except (ImageCms.PyCMSError, OSError, ImportError, imagecodecs.CmsError, ValueError):
            pass  # a damaged profile, one for other colours, or a Pillow built without LittleCMS
        else:
            return found, INKS_PROFILE_LOST
    # Both are one formula, and Pillow is faster.
    return np.array(_picture("CMYK", inks).convert("RGB")) if is_shallow else rgb_by_ink_formula(inks), INKS_LOST


def _by_profile_of_8_bits(inks: Samples, icc: bytes) -> Samples:
    found = ImageCms.profileToProfile(
        _picture("CMYK", inks),
        ImageCms.ImageCmsProfile(BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return np.array(found)


def _by_profile(inks: Samples, icc: bytes) -> Samples:
    found = imagecodecs.cms_transform(
        np.ascontiguousarray(to_depth(inks, np.uint16)),
        icc,
        _profile("sRGB"),
        colorspace="cmyk",
        outcolorspace="rgb",
        intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
        flags=imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION,
    )
    return to_depth(np.asarray(found), inks.dtype)


def rgb_from_lab(lab: Samples, *, is_offset: bool) -> Samples:
    """H×W×3 sRGB of L*a*b* (D50) as uint8 or uint16, dtype kept.

    a and b are in two's complement or, where `is_offset`, have their zero in the middle, as ICC profiles have them.
    """
    if lab.dtype == np.uint8:
        return np.array(_picture("LAB", lab ^ np.array([0, 128, 128], np.uint8) if is_offset else lab).convert("RGB"))
    chroma = lab[..., 1:] ^ np.uint16(0x8000) if is_offset else lab[..., 1:]
    values = np.empty(lab.shape, np.float32)
    values[..., 0] = lab[..., 0] * np.float32(100 / _LAB_WHITE[is_offset])
    values[..., 1:] = chroma.astype(np.int16) / np.float32(256)
    found = imagecodecs.cms_transform(
        values, _profile("LAB"), _profile("sRGB"), colorspace="lab", outcolorspace="rgb", outdtype=np.float32
    )
    return quantise(found * np.float32(top_of(lab.dtype)), lab.dtype)


def _picture(mode: str, packed: Samples) -> Image.Image:
    size = (packed.shape[1], packed.shape[0])
    return Image.frombuffer(mode, size, np.ascontiguousarray(packed), "raw", mode, 0, 1)


@cache
def _profile(kind: Literal["LAB", "sRGB"]) -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes())
