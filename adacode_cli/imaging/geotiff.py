"""Adapts the geographic position of pixels (GeoTIFF 1.1) when an image is enlarged.

Coordinates refer to the corners of pixels or, if the keys declare that each pixel is a point, to their centres, which
move by a fraction of a pixel when it is divided. Only TIFF has these tags, and they are kept only for an image that was
stored upright, because other programs apply them to rows and columns as stored.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction

from adacode_cli.imaging import exif, exif_editing

_SCALE, _TIE_POINTS, _TRANSFORMATION, _KEYS = 33550, 33922, 34264, 34735
_DOUBLE, _SHORT = 12, 3
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2
_HALF = Fraction(1, 2)


def is_in(block: bytes) -> bool:
    """Whether an EXIF block has GeoTIFF tags; False for a damaged one."""
    try:
        layout, first = exif.header(block)
        entries, _, _ = exif.directory(block, first, layout)
    except exif.DamagedExif:
        return False
    return any(entry.code in exif.GEOGRAPHY for entry in entries)


def without(block: bytes) -> bytes:
    """The EXIF block without GeoTIFF tags; unchanged if it has none or is damaged."""
    return exif_editing.with_tags(block, (), without=exif.GEOGRAPHY) if is_in(block) else block


def resized(block: bytes, *, across: Fraction, down: Fraction) -> bytes:
    """The EXIF block of an image that is now `across` times as wide and `down` times as high. Raises DamagedExif."""
    layout, first = exif.header(block)
    entries, _, _ = exif.directory(block, first, layout)
    tags = {entry.code: entry for entry in entries if entry.code in exif.GEOGRAPHY}
    if not tags or across == down == 1:
        return block
    patched = bytearray(block)
    # A centre at 0 is half a pixel from the corner, before and after.
    centre = _HALF if _is_point(tags.get(_KEYS), layout) else Fraction(0)
    moves = [(centre * factor - centre, factor) for factor in (across, down)]
    for code, changed in ((_SCALE, _scale), (_TIE_POINTS, _tie_points), (_TRANSFORMATION, _transformation)):
        entry = tags.get(code)
        if entry is not None and entry.dtype == _DOUBLE:
            form = f"{layout.order}{len(entry.data) // 8}d"
            values = changed(list(struct.unpack(form, entry.data)), moves)
            struct.pack_into(form, patched, entry.at, *values)
    return bytes(patched)


Moves = Sequence[tuple[Fraction, Fraction]]
"""For columns and rows: (the new coordinate of the old coordinate 0, the factor)."""


def _scale(values: list[float], moves: Moves) -> list[float]:
    """The size of a pixel in units of the map: across, down and up."""
    return [value / float(move[1]) for value, move in zip(values[:2], moves, strict=False)] + values[2:]


def _tie_points(values: list[float], moves: Moves) -> list[float]:
    """For each point: column, row, height in the image, and three numbers on the map."""
    for at in range(0, len(values) - 5, 6):
        for axis, (start, factor) in enumerate(moves):
            values[at + axis] = values[at + axis] * float(factor) + float(start)
    return values


def _transformation(values: list[float], moves: Moves) -> list[float]:
    """Four rows of a matrix, each with factors for column, row and height, and an offset."""
    for at in range(0, len(values) - 3, 4):
        for axis, (start, factor) in enumerate(moves):
            values[at + axis] /= float(factor)
            values[at + 3] -= values[at + axis] * float(start)
    return values


def _is_point(entry: exif.Entry | None, layout: exif.Layout) -> bool:
    """Whether the keys, of four numbers each, declare that pixels are points."""
    if entry is None or entry.dtype != _SHORT:
        return False
    numbers = struct.unpack(f"{layout.order}{len(entry.data) // 2}H", entry.data)
    return any(
        numbers[at] == _RASTER_TYPE and numbers[at + 3] == _PIXEL_IS_POINT for at in range(4, len(numbers) - 3, 4)
    )
