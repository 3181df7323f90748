"""TIFF without loss: deflate, depth and channels as they are, ICC and EXIF where TIFF readers look for them.

tifffile writes the file but no EXIF directories; those are appended and linked afterwards.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
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
_FRACTIONS = {5: "I", 10: "i"}
_XMP, _IPTC = 700, 33723
_PAGE = 2  # NewSubfileType: a page of a document
_NOTHING = exif.Sections((), (), ())
_MOST_WITHOUT_BIG = 2**32 - 2**25  # Offsets of 32 bits must reach the directories behind the pixels too.


def write(pages: Sequence[tuple[Samples, Metadata]]) -> bytes:
    """A TIFF file with a page for each H×W×C samples (uint8, uint16, float32) and their metadata.

    C = 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGB, alpha). Tags of an EXIF block that cannot be read are left out;
    `readable` says so beforehand.
    """
    buffer = BytesIO()
    big = sum(samples.nbytes for samples, _ in pages) > _MOST_WITHOUT_BIG
    found = [readable(said.exif) or _NOTHING for _, said in pages]
    with tifffile.TiffWriter(buffer, bigtiff=big, byteorder="<") as writer:
        for (samples, said), parts in zip(pages, found, strict=True):
            _write_page(writer, samples, said, parts, one_of_many=len(pages) > 1)
    return _with_directories(buffer.getvalue(), found) if any(p.exif or p.gps for p in found) else buffer.getvalue()


def _write_page(
    writer: tifffile.TiffWriter, samples: Samples, said: Metadata, parts: exif.Sections, *, one_of_many: bool
) -> None:
    channels, value = samples.shape[2], said.resolution
    writer.write(
        samples if channels > 1 else samples[..., 0],
        subfiletype=_PAGE if one_of_many else None,
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        # The predictor for floats is another one, which not every program knows.
        predictor=samples.dtype != np.float32,
        metadata=None,
        software=False,
        iccprofile=said.icc,
        resolution=(rational(value.across), rational(value.down)) if value is not None else None,
        resolutionunit=value.unit if value is not None else None,
        extratags=_extra_tags(parts, said),
        maxworkers=1,
    )


def readable(block: bytes | None) -> exif.Sections | None:
    """What of an EXIF block a TIFF can carry, or None for none."""
    try:
        return exif.sections(block) if block is not None else None
    except exif.DamagedExif:
        return None


def _extra_tags(parts: exif.Sections, said: Metadata) -> list[tuple[Any, int, int, Any, bool]]:
    tags = [_extra_tag(entry) for entry in parts.main if entry.code not in exif.RESOLUTION]
    tags += [(_XMP, _BYTE, 0, said.xmp, True)] if said.xmp is not None else []
    tags += [(_IPTC, _LONG, 0, iptc.in_whole_words(said.iptc), True)] if said.iptc is not None else []
    if parts != _NOTHING:
        tags.append((exif.ORIENTATION, _SHORT, 1, 1, True))
    # tifffile accepts the two pointers by name only.
    tags += [(_POINTERS[exif.EXIF_DIRECTORY], _LONG, 1, 0, True)] if parts.exif else []
    tags += [(_POINTERS[exif.GPS_DIRECTORY], _LONG, 1, 0, True)] if parts.gps else []
    return tags


def _extra_tag(entry: exif.Entry) -> tuple[Any, int, int, Any, bool]:
    if entry.dtype not in _FRACTIONS:
        return entry.code, entry.dtype, 0, entry.data, True
    # Of bytes, tifffile would count each fraction as two.
    numbers = struct.unpack(f"<{len(entry.data) // 4}{_FRACTIONS[entry.dtype]}", entry.data)
    return entry.code, entry.dtype, len(numbers) // 2, numbers, True


def _with_directories(data: bytes, pages: Sequence[exif.Sections]) -> bytes:
    """`data` with each page's directories behind it and its pointers, zero so far, turned to them."""
    file, big = bytearray(data), data[2] == 43
    for places, parts in zip(exif.value_places(data), pages, strict=True):
        for code, entries in ((exif.EXIF_DIRECTORY, parts.exif), (exif.GPS_DIRECTORY, parts.gps)):
            if entries:
                file += bytes(len(file) % 2)
                struct.pack_into("<I", file, places[code], len(file))
                if code == exif.EXIF_DIRECTORY:
                    file += exif.exif_directory(parts, at=len(file), big=big)
                else:
                    file += exif.packed(entries, at=len(file), big=big)
    return bytes(file)
