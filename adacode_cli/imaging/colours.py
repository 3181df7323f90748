"""By what the colours of an image are described: an ICC profile, numbers (CICP), or its camera's word.

Pixels are never converted. When an image is read, one description is chosen of those that its file has; when it is
written, the numbers become a profile where the format has no place for them and a profile can say the same.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from adacode_cli.formats import Format
from adacode_cli.imaging import exif, icc_profile
from adacode_cli.imaging.cicp import SRGB
from adacode_cli.imaging.icc_profile import SRGB_PRIMARIES, Chromaticities, Curve
from adacode_cli.imaging.metadata import TITLES, Metadata

ADOBE_RGB_NOTE = "its EXIF says that its colours are Adobe RGB: a profile that says the same was attached"

_COLOR_SPACE, _INTEROPERABILITY_INDEX = 40961, 1
_SRGB_SPACE, _ADOBE_SPACE, _UNCALIBRATED = 1, 2, 65535
_ADOBE_INDEX = b"R03"
# Of the names that the rule for cameras' files (DCF) gives, those of images in Adobe RGB.
_ADOBE_NAME = re.compile(r"_[A-Za-z0-9_]{3}\d{4}\.\w+")
_SRGB_GAMMA = 1 / 2.2
_MIN_GAMMA, _MAX_GAMMA = 0.1, 10.0


def chosen(metadata: Metadata, format: Format, *, name: str, grey: bool) -> tuple[Metadata, tuple[str, ...]]:
    """(the metadata with one description of colours, notes) of a file of `format` that is called `name`.

    Numbers overrule a profile in PNG, and a profile numbers in the others, but for HDR, which no profile here can say.
    Both of them overrule the camera, which is asked last. Numbers that say sRGB are left out, as that is
    assumed of images without a description.
    """
    cicp = metadata.cicp
    if cicp is None and metadata.icc is None and states_adobe_rgb(metadata.exif, name):
        return replace(metadata, icc=icc_profile.adobe_rgb(grey=grey)), (ADOBE_RGB_NOTE,)
    if cicp is None or cicp.is_hdr or (format.cicp == "beside" and metadata.icc is not None):
        return metadata, ()
    return (replace(metadata, cicp=None) if cicp.is_srgb or metadata.icc is not None else metadata), ()


def placed(metadata: Metadata, format: Format | None, *, grey: bool) -> Metadata:
    """With that description of the colours for which `format` has a place, or neither; `grey`: as it is written.

    `format` is None for a file of codes, which has a place for a profile alone.
    """
    cicp = metadata.cicp
    if cicp is None:
        return metadata
    holds = format.cicp if format is not None else "no"
    if holds != "no" and (cicp.full_range or holds == "beside"):
        # Readers of AVIF and HEIC would follow the profile; the writer of HEIC takes one of the two.
        keeps_profile = holds == "beside" or (holds == "hdr" and cicp.is_hdr)
        return metadata if keeps_profile else replace(metadata, icc=None)
    return replace(metadata, cicp=None, icc=cicp.profile(grey=grey) or metadata.icc)


def lost(metadata: Metadata, kept: Metadata) -> tuple[str, ...]:
    """What of the description is in neither field of what is `kept`; sRGB needs none."""
    neither = kept.icc is None and kept.cicp is None
    profile = (TITLES["icc"],) if metadata.icc is not None and neither else ()
    if metadata.cicp is None or metadata.cicp.is_srgb:
        return profile
    replaced = kept.icc is not None and metadata.cicp.profile(grey=False) is not None
    return () if kept.cicp is not None or replaced else (metadata.cicp.title, *profile)


def states_adobe_rgb(block: bytes | None, name: str) -> bool:
    """Whether an EXIF block says so of the image in the file `name`, in one of the ways in which cameras do."""
    if block is None:
        return False
    try:
        parts = exif.sections(block)
    except exif.DamagedExif:
        return False
    space = next((entry.number("<") for entry in parts.exif if entry.code == _COLOR_SPACE), None)
    index = next((entry.data for entry in parts.interoperability if entry.code == _INTEROPERABILITY_INDEX), b"")
    if space in (_SRGB_SPACE, _ADOBE_SPACE):
        return space == _ADOBE_SPACE
    if index:
        return index.startswith(_ADOBE_INDEX)
    return space == _UNCALIBRATED and _ADOBE_NAME.fullmatch(Path(name).name) is not None


def from_gamma(
    metadata: Metadata, gamma: float | None, primaries: Chromaticities | None, *, grey: bool
) -> Metadata | None:
    """With what a PNG says by gAMA and cHRM, as a profile or as sRGB; None where that makes no sense."""
    if gamma is None and primaries is None:
        return metadata
    stated = (*(primaries or SRGB_PRIMARIES), _SRGB_GAMMA if gamma is None else gamma)
    if all(abs(a - b) < 0.002 for a, b in zip(stated, (*SRGB_PRIMARIES, _SRGB_GAMMA), strict=True)):
        return replace(metadata, cicp=SRGB)
    if gamma is not None and not _MIN_GAMMA <= gamma <= _MAX_GAMMA:
        return None
    curve = Curve(1 / gamma) if gamma is not None else icc_profile.SRGB_CURVE
    profile = icc_profile.profile("PNG gamma and primaries", primaries or SRGB_PRIMARIES, curve, grey=grey)
    return replace(metadata, icc=profile) if profile is not None else None
