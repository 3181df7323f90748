"""JPEG, WebP, BMP and 8-bit PNG through Pillow's writers, with the metadata that each of them has a place for."""

from __future__ import annotations

import struct
from dataclasses import replace
from io import BytesIO
from typing import Any

from PIL import Image

from adacode_cli.errors import OutputError
from adacode_cli.imaging import iptc, xmp_editing
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.parsing import TITLES
from adacode_cli.imaging.resolution import CENTIMETRE, INCH, NO_UNIT, Resolution, whole

_FULL_COLOR_QUALITY = 90  # From here on a person asks for detail, and JPEG keeps colour at full resolution.
_MAX_SEGMENT = 65533  # of JPEG: the length field counts itself
_MAX_EXIF = _MAX_SEGMENT - len(b"Exif\0\0")
_MAX_XMP = _MAX_SEGMENT - len(b"http://ns.adobe.com/xap/1.0/\0")
_MAX_IPTC = _MAX_SEGMENT - len(iptc.SIGNATURE) - 13
_DENSITY_AT = 13  # in Pillow's JPEG: behind SOI, the APP0 marker, its length, "JFIF\0" and the version
_MAX_U16, _MAX_I32 = 65535, 2**31 - 1


def within_jpeg(said: Metadata) -> Metadata:
    """What fits into JPEG's segments of 64 kB each; XMP's blanks for editing in place give way first."""
    packet = said.xmp
    if packet is not None and len(packet) > _MAX_XMP:
        packet = xmp_editing.compacted(packet)
    return replace(
        said,
        exif=said.exif if said.exif is None or len(said.exif) <= _MAX_EXIF else None,
        xmp=packet if packet is None or len(packet) <= _MAX_XMP else None,
        iptc=said.iptc if said.iptc is None or len(said.iptc) <= _MAX_IPTC else None,
    )


def write_png(samples: Samples) -> bytes:
    """A PNG file of H×W×C uint8 samples, without metadata."""
    return _saved(_picture(samples), "png", {})


def write(samples: Samples, format: str, quality: int, said: Metadata) -> bytes:
    """A JPEG, WebP or BMP file of H×W×C uint8 samples with all of `said`, which fits. Raises OutputError."""
    if format == "jpeg":
        return _jpeg(samples, quality, said)
    if format == "webp":
        # exact: colours under full transparency stay, as in the other formats that have alpha.
        options = {"quality": quality, "method": 4, "exact": True} | _common(said)
        picture = _picture(samples)
        return _saved(picture.convert("RGBA" if picture.mode in ("LA", "RGBA") else "RGB"), format, options)
    by_centimetre = said.resolution.per(CENTIMETRE) if said.resolution is not None else None
    by_metre = [whole(n * 100, _MAX_I32) for n in by_centimetre] if by_centimetre is not None else [0, 0]
    data = bytearray(_saved(_picture(samples), format, {}))
    struct.pack_into("<2i", data, 38, *by_metre)  # Pillow would write 96 dpi where nobody has said so.
    return bytes(data)


def _jpeg(samples: Samples, quality: int, said: Metadata) -> bytes:
    # Not optimize=True: Pillow then needs the whole file in one buffer, and its guess is too small for noise.
    options = {"quality": quality, "subsampling": 0 if quality >= _FULL_COLOR_QUALITY else 2} | _common(said)
    if said.iptc is not None:
        body = iptc.SIGNATURE + iptc.wrapped(said.iptc)
        options["extra"] = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    data = _saved(_picture(samples), "jpeg", options)
    return _with_density(data, said.resolution) if said.resolution is not None else data


def _with_density(data: bytes, value: Resolution) -> bytes:
    """With whole dots per inch, or per centimetre where it was said so."""
    pair = value.per(value.unit) or (value.across, value.down)
    unit = {NO_UNIT: 0, INCH: 1, CENTIMETRE: 2}[value.unit]
    if unit == 2 and max(n.denominator for n in pair) > 1:
        pair, unit = value.per(INCH) or pair, 1  # 118.11 a centimetre are 300 an inch, but not 118 a centimetre.
    if unit == 0 and max(n.denominator for n in pair) > 1:
        pair = (pair[0] * 1000 / max(pair), pair[1] * 1000 / max(pair))
    body = struct.pack(">B2H", unit, *(whole(n, _MAX_U16) for n in pair))
    return data[:_DENSITY_AT] + body + data[_DENSITY_AT + len(body) :]


def _common(said: Metadata) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if said.icc is not None:
        options["icc_profile"] = said.icc
    if said.exif is not None:
        options["exif"] = b"Exif\0\0" + said.exif
    if said.xmp is not None:
        options["xmp"] = said.xmp
    return options


def _picture(samples: Samples) -> Image.Image:
    return Image.fromarray(samples if samples.shape[2] > 1 else samples[..., 0])


def _saved(picture: Image.Image, format: str, options: dict[str, Any]) -> bytes:
    buffer = BytesIO()
    try:
        picture.save(buffer, TITLES[format].upper(), **options)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot be written as {TITLES[format]}: {error}", hint="Choose another format.") from error
    return buffer.getvalue()
