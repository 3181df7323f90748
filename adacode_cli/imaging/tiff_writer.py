"""TIFF without loss: deflate, depth and channels as they are, ICC and EXIF where TIFF readers look for them.

tifffile writes the file but no EXIF directories; those are appended and linked afterwards.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import tifffile

from adacode_cli.imaging import exif, iptc
from adacode_cli.imaging.image import Samples
from adacode_cli.imaging.metadata import Metadata
from adacode_cli.imaging.resolution import rational

_POINTERS = {exif.EXIF_DIRECTORY: "ExifTag", exif.GPS_DIRECTORY: "GPSTag"}
_BYTE, _SHORT, _LONG = 1, 3, 4
_XMP, _IPTC = 700, 33723


def write(samples: Samples, said: Metadata) -> bytes:
    """A TIFF file of H×W×C samples (uint8, uint16, float32), C = 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGB, alpha).

    Tags of the EXIF block that cannot be read are left out; `readable` says so beforehand.
    """
    parts = readable(said.exif) or exif.Sections((), (), ())
    channels = samples.shape[2]
    value = said.resolution
    buffer = BytesIO()
    tifffile.imwrite(
        buffer,
        samples if channels > 1 else samples[..., 0],
        byteorder="<",
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        # The predictor for floats needs a codec package that is a hundred times the size of ours.
        predictor=samples.dtype != np.float32,
        metadata=None,
        software=False,
        iccprofile=said.icc,
        resolution=(rational(value.across), rational(value.down)) if value is not None else None,
        resolutionunit=value.unit if value is not None else None,
        extratags=_extra_tags(parts, said),
        maxworkers=1,
    )
    directories = {exif.EXIF_DIRECTORY: parts.exif, exif.GPS_DIRECTORY: parts.gps}
    return _with_directories(buffer.getvalue(), directories) if any(directories.values()) else buffer.getvalue()


def readable(block: bytes | None) -> exif.Sections | None:
    """What of an EXIF block a TIFF can carry, or None for none."""
    try:
        return exif.sections(block) if block is not None else None
    except exif.DamagedExif:
        return None


def _extra_tags(parts: exif.Sections, said: Metadata) -> list[tuple[Any, int, int, Any, bool]]:
    tags: list[tuple[Any, int, int, Any, bool]] = [
        (entry.code, entry.dtype, 0, entry.data, True) for entry in parts.main if entry.code not in exif.RESOLUTION
    ]
    tags += [(_XMP, _BYTE, 0, said.xmp, True)] if said.xmp is not None else []
    tags += [(_IPTC, _LONG, 0, iptc.in_whole_words(said.iptc), True)] if said.iptc is not None else []
    if parts != exif.Sections((), (), ()):
        tags.append((exif.ORIENTATION, _SHORT, 1, 1, True))
    # tifffile accepts the two pointers by name only.
    tags += [(_POINTERS[exif.EXIF_DIRECTORY], _LONG, 1, 0, True)] if parts.exif else []
    tags += [(_POINTERS[exif.GPS_DIRECTORY], _LONG, 1, 0, True)] if parts.gps else []
    return tags


def _with_directories(data: bytes, directories: dict[int, tuple[exif.Entry, ...]]) -> bytes:
    """`data` with the directories behind it and its pointers, zero so far, turned to them."""
    places = exif.value_places(data)
    file = bytearray(data)
    for code, entries in directories.items():
        if entries:
            file += bytes(len(file) % 2)
            struct.pack_into("<I", file, places[code], len(file))
            file += exif.packed(entries, at=len(file), big=data[2] == 43)
    return bytes(file)
