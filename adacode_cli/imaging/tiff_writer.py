"""TIFF without loss: deflate, depth and channels as they are, ICC and EXIF where TIFF readers look for them.

tifffile writes the file but no EXIF directories; those are appended and linked afterwards.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import tifffile

from adacode_cli.imaging import exif
from adacode_cli.imaging.image import Samples

_POINTERS = {exif.EXIF_DIRECTORY: "ExifTag", exif.GPS_DIRECTORY: "GPSTag"}
_LONG, _SHORT = 4, 3


def write(samples: Samples, *, icc: bytes | None, block: bytes | None) -> bytes:
    """A TIFF file of H×W×C samples (uint8, uint16, float32), C = 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGB, alpha).

    Tags of `block` that cannot be read are left out; `readable` says so beforehand.
    """
    parts = readable(block) or exif.Sections((), (), ())
    channels = samples.shape[2]
    resolution, unit = _resolution(parts)
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
        iccprofile=icc,
        resolution=resolution,
        resolutionunit=unit,
        extratags=_extra_tags(parts),
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


def _extra_tags(parts: exif.Sections) -> list[tuple[Any, int, int, Any, bool]]:
    tags: list[tuple[Any, int, int, Any, bool]] = [
        (entry.code, entry.dtype, 0, entry.data, True) for entry in parts.main if entry.code not in exif.RESOLUTION
    ]
    if parts != exif.Sections((), (), ()):
        tags.append((exif.ORIENTATION, _SHORT, 1, 1, True))
    # tifffile accepts the two pointers by name only.
    tags += [(_POINTERS[exif.EXIF_DIRECTORY], _LONG, 1, 0, True)] if parts.exif else []
    tags += [(_POINTERS[exif.GPS_DIRECTORY], _LONG, 1, 0, True)] if parts.gps else []
    return tags


def _resolution(parts: exif.Sections) -> tuple[tuple[tuple[int, int], tuple[int, int]] | None, int | None]:
    found = {entry.code: entry for entry in parts.main}
    across, down, unit = (found.get(code) for code in (282, 283, 296))
    if across is None or down is None or len(across.data) != 8 or len(down.data) != 8:
        return None, None
    x, y = struct.unpack("<2I", across.data), struct.unpack("<2I", down.data)
    if 0 in (*x, *y):
        return None, None
    number = unit.number("<") if unit is not None else 2
    return ((x[0], x[1]), (y[0], y[1])), number if number in (1, 2, 3) else 2


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
