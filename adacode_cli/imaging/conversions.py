"""Inks and L*a*b* → sRGB, by LittleCMS: Pillow has it for 8 bits, imagecodecs for all that is deeper."""

from __future__ import annotations

from functools import cache
from typing import Literal

import imagecodecs
import numpy as np
from PIL import Image, ImageCms

from adacode_cli.imaging import pillow_reader, samples
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.raster import INKS_LOST, INKS_PROFILE_LOST

_LAB_WHITE = {False: 65535, True: 65280}  # of 16 bits, in the two ways in which a TIFF may store L*a*b*


def rgb_from_inks(inks: Samples, icc: bytes | None) -> tuple[Samples, str]:
    """(H×W×3, what is lost) of H×W×4 inks, dtype kept: by the profile where it works, else by the plain formula."""
    if inks.dtype == np.uint8:
        picture, lost = pillow_reader.rgb_from_inks(_picture("CMYK", inks), icc)
        return np.array(picture), lost
    if icc is not None:
        try:
            found = imagecodecs.cms_transform(
                np.ascontiguousarray(samples.to_depth(inks, np.uint16)),
                icc,
                _profile("sRGB"),
                colorspace="cmyk",
                outcolorspace="rgb",
                intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
                flags=imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION,
            )
        except (imagecodecs.CmsError, ValueError):
            pass  # a damaged profile, or one for other colours
        else:
            return samples.to_depth(np.asarray(found), inks.dtype), INKS_PROFILE_LOST
    return samples.rgb_from_inks(inks), INKS_LOST


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
    return samples.quantise(found * np.float32(samples.top_of(lab.dtype)), lab.dtype)


def _picture(mode: str, packed: Samples) -> Image.Image:
    size = (packed.shape[1], packed.shape[0])
    return Image.frombuffer(mode, size, np.ascontiguousarray(packed), "raw", mode, 0, 1)


@cache
def _profile(kind: Literal["LAB", "sRGB"]) -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes())
