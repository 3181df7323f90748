"""Edits EXIF blocks: values on the size of the image are changed and tags are added; all other data keep their place.

Numbers are overwritten in place. If this is not possible, the first directory is written again at the end of the block:
values and the other directories keep their offsets, because maker notes contain undocumented offsets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Set
from dataclasses import dataclass
from fractions import Fraction

from adacode_cli.imaging import exif
from adacode_cli.imaging.resolution import INCH, Resolution, rational, resolution

SOFTWARE = 305
_MAX_NAME = 1000  # bytes of a program's name that are read
_ACROSS, _DOWN, _UNIT = 282, 283, 296
_WIDTHS, _HEIGHTS = (256, 40962), (257, 40963)
_PLANE_ACROSS, _PLANE_DOWN = 41486, 41487  # of the sensor: more pixels on the same area
_ASCII, _SHORT, _LONG, _RATIONAL = 2, 3, 4, 5
_EMPTY = struct.pack("<2sHIHI", b"II", 42, 8, 0, 0)


@dataclass(frozen=True)
class Tag:
    """A tag to be set: text, or integers of type 3 (16 bits), 4 (32 bits) or 5 (fractions, as pairs)."""

    code: int
    dtype: int
    value: str | tuple[int, ...]

    def data(self, order: str) -> bytes:
        """As stored in the byte order "<" or ">"."""
        if isinstance(self.value, str):
            # A name may contain lone surrogates, as file names do, which UTF-8 cannot encode.
            return self.value.encode("utf-8", "replace").replace(b"\0", b"") + b"\0"
        kind = "H" if self.dtype == _SHORT else "I"
        return struct.pack(f"{order}{len(self.value)}{kind}", *self.value)


def software(name: str) -> Tag:
    """The Software tag."""
    return Tag(SOFTWARE, _ASCII, name)


def resolution_tags(value: Resolution) -> tuple[Tag, ...]:
    """XResolution, YResolution, ResolutionUnit."""
    across, down = (Tag(code, _RATIONAL, rational(n)) for code, n in ((_ACROSS, value.across), (_DOWN, value.down)))
    return across, down, Tag(_UNIT, _SHORT, (value.unit,))


def software_of(block: bytes) -> str | None:
    """The value of the Software tag, or None."""
    for entry in _entries(block):
        if entry.code == SOFTWARE and entry.dtype == _ASCII:
            return entry.data[:_MAX_NAME].partition(b"\0")[0].decode("utf-8", "replace").strip() or None
    return None


def with_resolution(block: bytes | None, value: Resolution | None) -> bytes | None:
    """The block with this resolution; a new block if there is none. Unchanged if it is damaged, or for None."""
    if value is None or (block is not None and resolution_of(block) == value):
        return block
    try:
        return with_tags(block, resolution_tags(value))
    except exif.DamagedExif:
        return block


def resolution_of(block: bytes) -> Resolution | None:
    """The resolution in dots per inch or centimetre, or as the aspect ratio of pixels; None if there is none."""
    try:
        order = exif.header(block)[0].order
        tags = {entry.code: entry for entry in _entries(block)}
    except exif.DamagedExif:
        return None
    pairs = [_fraction(tags.get(code), order) for code in (_ACROSS, _DOWN)]
    if pairs[0] is None or pairs[1] is None:
        return None
    unit = tags[_UNIT].number(order) if _UNIT in tags else INCH
    return resolution((pairs[0], pairs[1]), unit or INCH)


def turned(block: bytes) -> bytes:
    """The block with the values for rows and columns exchanged."""
    patched = bytearray(block)
    order = exif.header(block)[0].order
    tags = {entry.code: entry for entry in _all_entries(block)}
    for one, other in ((_ACROSS, _DOWN), (_PLANE_ACROSS, _PLANE_DOWN)):
        first, second = tags.get(one), tags.get(other)
        if _fraction(first, order) is not None and _fraction(second, order) is not None:
            assert first is not None, "a fraction was read from it"
            assert second is not None, "a fraction was read from it"
            patched[first.at : first.at + 8], patched[second.at : second.at + 8] = second.data, first.data
    return bytes(patched)


def resized(block: bytes, *, across: Fraction, down: Fraction, size: tuple[int, int]) -> bytes:
    """The block for an image that is now `across` times as wide and `down` times as high, of `size` (H, W) pixels."""
    patched = bytearray(block)
    order = exif.header(block)[0].order
    factors = {_ACROSS: across, _PLANE_ACROSS: across, _DOWN: down, _PLANE_DOWN: down}
    sides = dict.fromkeys(_HEIGHTS, size[0]) | dict.fromkeys(_WIDTHS, size[1])
    for entry in _all_entries(block):
        value = _fraction(entry, order)
        if entry.code in factors and value is not None and factors[entry.code] != 1:
            struct.pack_into(f"{order}2I", patched, entry.at, *rational(value * factors[entry.code]))
        elif entry.code in sides and entry.dtype == _LONG and len(entry.data) == 4:
            struct.pack_into(f"{order}I", patched, entry.at, sides[entry.code])
        elif entry.code in sides and entry.dtype == _SHORT and len(entry.data) == 2 and sides[entry.code] < 1 << 16:
            struct.pack_into(f"{order}H", patched, entry.at, sides[entry.code])
    return bytes(patched)


def with_tags(block: bytes | None, tags: Iterable[Tag], without: Set[int] = frozenset()) -> bytes:
    """The block (None: a new one) with tags set in, or removed from, its first directory; all else keeps its place.

    A block of the BigTIFF layout is returned unchanged.
    """
    block = _EMPTY if block is None else block
    layout, first = exif.header(block)
    if layout.big:
        return block
    entries, following, _ = exif.directory(block, first, layout)
    old = [entry for entry in entries if entry.code not in without]
    new = {tag.code: tag for tag in tags}
    at = len(block) + len(block) % 2
    codes = sorted({entry.code for entry in old} | new.keys())
    values_at = at + 2 + 12 * len(codes) + 4
    records = {entry.code: _record(entry.code, entry.dtype, entry.data, entry.at, layout) for entry in old}
    values = bytearray()
    for tag in new.values():
        data = tag.data(layout.order)
        records[tag.code] = _record(tag.code, tag.dtype, data, values_at + len(values), layout)
        values += (data + bytes(len(data) % 2)) if len(data) > 4 else b""
    head = struct.pack(f"{layout.order}H", len(codes)) + b"".join(records[code] for code in codes)
    patched = bytearray(block.ljust(at, b"\0"))
    struct.pack_into(f"{layout.order}I", patched, 4, at)
    return bytes(patched) + head + struct.pack(f"{layout.order}I", following) + bytes(values)


def _record(code: int, dtype: int, data: bytes, at: int, layout: exif.Layout) -> bytes:
    where = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(f"{layout.order}I", at)
    return struct.pack(f"{layout.order}HHI4s", code, dtype, len(data) // exif.SIZES[dtype], where)


def _entries(block: bytes) -> list[exif.Entry]:
    layout, first = exif.header(block)
    return exif.directory(block, first, layout)[0]


def _all_entries(block: bytes) -> list[exif.Entry]:
    """The entries of the first directory and of the EXIF directory to which it refers."""
    layout, first = exif.header(block)
    entries = exif.directory(block, first, layout)[0]
    pointer = next((entry.number(layout.order) for entry in entries if entry.code == exif.EXIF_DIRECTORY), None)
    try:
        return entries + (exif.directory(block, pointer, layout)[0] if pointer else [])
    except exif.DamagedExif:
        return entries


def _fraction(entry: exif.Entry | None, order: str) -> Fraction | None:
    if entry is None or entry.dtype != _RATIONAL or len(entry.data) != 8:
        return None
    above, below = struct.unpack(f"{order}2I", entry.data)
    return Fraction(above, below) if above and below else None
