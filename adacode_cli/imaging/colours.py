"""Selects the description of the colours of an image: an ICC profile, CICP, or tags of the camera.

Pixels are not converted. When an image is read, one of the descriptions in its file is selected; when it is
written, CICP is replaced by an equivalent profile if the format cannot hold it.
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

ADOBE_RGB_NOTE = "its EXIF declares Adobe RGB colours: an equivalent ICC profile was added"

_COLOR_SPACE, _INTEROPERABILITY_INDEX = 40961, 1
_SRGB_SPACE, _ADOBE_SPACE, _UNCALIBRATED = 1, 2, 65535
_ADOBE_INDEX = b"R03"
# The names of images in Adobe RGB according to DCF, the standard for file names of cameras.
_ADOBE_NAME = re.compile(r"_[A-Za-z0-9_]{3}\d{4}\.\w+")
_SRGB_GAMMA = 1 / 2.2
_MIN_GAMMA, _MAX_GAMMA = 0.1, 10.0


def chosen(metadata: Metadata, format: Format, *, name: str, grey: bool) -> tuple[Metadata, tuple[str, ...]]:
    """(the metadata with one description of colours, notes) of a file of `format` with the name `name`.

    In PNG, CICP overrules a profile; in other formats a profile overrules CICP, except for HDR, which no profile here
    can express. Both overrule the tags of the camera. CICP for sRGB is left out, because sRGB is assumed for images
    without a description.
    """
    cicp = metadata.cicp
    if cicp is None and metadata.icc is None and states_adobe_rgb(metadata.exif, name):
        return replace(metadata, icc=icc_profile.adobe_rgb(grey=grey)), (ADOBE_RGB_NOTE,)
    if cicp is None or cicp.is_hdr or (format.cicp == "beside" and metadata.icc is not None):
        return metadata, ()
    return (replace(metadata, cicp=None) if cicp.is_srgb or metadata.icc is not None else metadata), ()


def placed(metadata: Metadata, format: Format | None, *, grey: bool) -> Metadata:
    """The metadata with a description of colours that `format` can hold, or none. grey: the written image is grey.

    `format` is None for a file of codes, which can only hold a profile.
    """
    cicp = metadata.cicp
    if cicp is None:
        return metadata
    holds = format.cicp if format is not None else "no"
    if holds != "no" and (cicp.full_range or holds == "beside"):
        # Readers of AVIF and HEIC would use the profile; the writer of HEIC accepts only one of the two.
        keeps_profile = holds == "beside" or (holds == "hdr" and cicp.is_hdr)
        return metadata if keeps_profile else replace(metadata, icc=None)
    return replace(metadata, cicp=None, icc=cicp.profile(grey=grey) or metadata.icc)


def lost(metadata: Metadata, kept: Metadata) -> tuple[str, ...]:
    """The losses of the description of colours in the `kept` metadata; sRGB needs no description."""
    neither = kept.icc is None and kept.cicp is None
    profile = (TITLES["icc"],) if metadata.icc is not None and neither else ()
    if metadata.cicp is None or metadata.cicp.is_srgb:
        return profile
    replaced = kept.icc is not None and metadata.cicp.profile(grey=False) is not None
    return () if kept.cicp is not None or replaced else (metadata.cicp.title, *profile)


def states_adobe_rgb(block: bytes | None, name: str) -> bool:
    """Whether an EXIF block states Adobe RGB for the file `name`, in one of the ways of cameras."""
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
    """The metadata with gAMA and cHRM of a PNG as a profile or as sRGB; None if their values are invalid."""
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
