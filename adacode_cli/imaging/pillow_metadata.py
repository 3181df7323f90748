"""What a file that Pillow reads says beside its pixels, whichever plugin reads it, as one `Metadata`."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import Any

from PIL import Image

from adacode_cli.imaging import bmp_header, colours, jpeg_segments, png_chunks, xmp_editing
from adacode_cli.imaging.cicp import SRGB
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.metadata_limits import MAX_BYTES
from adacode_cli.imaging.resolution import CENTIMETRE, INCH, NO_UNIT, Resolution, resolution

_JFIF_UNITS = {0: NO_UNIT, 1: INCH, 2: CENTIMETRE}
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B")
_INCHES_A_METRE = 39.3701  # with as many digits as Pillow's own conversion has
# Some writers put the JPEG prefix into PNG and WebP too, and some put it twice.
_PREFIXES = re.compile(rb"(?:Exif\0\0)*+")


def taken_apart(file: bytes, format: str) -> tuple[bytes, Metadata | None, tuple[str, ...]]:
    """(what Pillow is to read of a `format` file, metadata in the rest or None where that is all, what is lost).

    Raises ValueError for a damaged file.
    """
    if format == "jpeg":
        return jpeg_segments.taken_apart(file)
    if format == "bmp":
        return file, Metadata(icc=bmp_header.profile_in(file)), ()
    return png_chunks.taken_apart(file) if format == "png" else (file, None, ())


def metadata_of(picture: Image.Image, format: str, beside: Metadata | None = None) -> tuple[Metadata, tuple[str, ...]]:
    """(the metadata of an opened `format` file, what of it is lost); `beside`: what Pillow has not seen of it."""
    info = picture.info
    said = beside or Metadata(info.get("icc_profile") or None, info.get("exif") or None, info.get("xmp") or None)
    said, lost = _described(picture, said)
    if said.xmp is not None and len(said.xmp) <= MAX_BYTES["xmp"]:
        with suppress(xmp_editing.DamagedXmp):  # It is kept as it is, and `metadata.upright` says so.
            lost += ("the extended part of its XMP",) if xmp_editing.is_extended(said.xmp) else ()
    if said.exif is not None:
        prefixes = _PREFIXES.match(said.exif)
        said = replace(said, exif=said.exif[prefixes.end() if prefixes is not None else 0 :] or None)
    return replace(said, resolution=_resolution(info, format)), lost


def _resolution(info: dict[Any, Any], format: str) -> Resolution | None:
    if format == "png":
        return png_chunks.resolution_in(info)
    if format == "jpeg":
        return _of_jfif(info)
    if format == "bmp" and "dpi" in info:
        return resolution([Fraction(round(value * _INCHES_A_METRE), 100) for value in info["dpi"]], CENTIMETRE)
    return None


def _of_jfif(info: dict[Any, Any]) -> Resolution | None:
    if "jfif_density" not in info:
        return None
    return resolution(info["jfif_density"], _JFIF_UNITS.get(info["jfif_unit"], 0))


def _described(picture: Image.Image, said: Metadata) -> tuple[Metadata, tuple[str, ...]]:
    """(metadata with what a PNG says of its colours by gAMA, cHRM and sRGB, what of that is lost)."""
    info = picture.info
    if said.icc is not None or said.cicp is not None:
        return said, ()
    if "srgb" in info:
        return replace(said, cicp=SRGB), ()
    grey = picture.mode in _GREY_MODES
    found = colours.by_gamma(said, info.get("gamma"), info.get("chromaticity"), grey=grey)
    return (said, ("gamma and primaries (they make no sense)",)) if found is None else (found, ())
