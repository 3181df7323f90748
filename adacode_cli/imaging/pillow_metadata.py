"""What Pillow has read beside the pixels, whichever plugin read it, as one `Metadata`."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from adacode_cli.imaging import iptc, png_chunks, xmp_editing
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.resolution import CENTIMETRE, INCH, NO_UNIT, Resolution, resolution

_JFIF_UNITS = {0: NO_UNIT, 1: INCH, 2: CENTIMETRE}
_INCHES_A_METRE = 39.3701  # with as many digits as Pillow's own conversion has
_SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_SRGB_GAMMA = 1 / 2.2


def metadata_of(picture: Image.Image, format: str) -> tuple[Metadata, tuple[str, ...]]:
    """(the metadata of an opened and loaded `format` file, what of it is lost)."""
    info = picture.info
    packet = _packet(info)
    lost = _colour_lost(info) + _texts_lost(picture, format)
    with suppress(xmp_editing.DamagedXmp):  # It is kept as it is, and `metadata.upright` says so.
        lost += ("the extended part of its XMP",) if packet is not None and xmp_editing.is_extended(packet) else ()
    exif = info.get("exif") or png_chunks.raw_profile(info, "exif", "APP1")
    # Some writers put the JPEG prefix into PNG and WebP too, and some put it twice.
    while isinstance(exif, bytes) and exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    records = _records(info)
    return Metadata(info.get("icc_profile") or None, exif or None, packet, records, _resolution(info, format)), lost


def _packet(info: dict[Any, Any]) -> bytes | None:
    packet = info.get("xmp") or png_chunks.raw_profile(info, "xmp")
    return packet.encode() if isinstance(packet, str) else packet or None


def _records(info: dict[Any, Any]) -> bytes | None:
    resources = info.get("photoshop")
    if isinstance(resources, dict):
        found = resources.get(iptc.RESOURCE)
        return found if isinstance(found, bytes) and found else None
    profile = png_chunks.raw_profile(info, "iptc", "8bim")
    return iptc.unwrapped(profile) if profile is not None else None


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


def _texts_lost(picture: Image.Image, format: str) -> tuple[str, ...]:
    """Comments and texts that have no place in the other formats, and so none here."""
    if format == "jpeg" and picture.info.get("comment"):
        return ("its comment",)
    if not isinstance(picture, PngImageFile):
        return ()
    others = [key for key in picture.text if key != "XML:com.adobe.xmp" and not key.startswith("Raw profile type ")]
    return (f"texts ({', '.join(sorted(others)[:5])})",) if others else ()


def _colour_lost(info: dict[Any, Any]) -> tuple[str, ...]:
    """PNG can describe its colours in numbers. They are carried only where they say no more than that it is sRGB."""
    if info.get("icc_profile") or "srgb" in info:
        return ()
    primaries, gamma = info.get("chromaticity", _SRGB_PRIMARIES), info.get("gamma", _SRGB_GAMMA)
    near = all(abs(a - b) < 0.002 for a, b in zip((*primaries, gamma), (*_SRGB_PRIMARIES, _SRGB_GAMMA), strict=False))
    return () if near else ("gamma and primaries (they are no profile)",)
