"""EXIF blocks: reads their tags, and makes them upright; all bytes that do not describe the stored pixels are kept.

A block is patched in place (Orientation becomes 1, the old thumbnail is removed), because rewriting it would move the
maker notes, which contain undocumented offsets. Tags are copied only from and to TIFF, where EXIF is part of the file's
own directories; their bytes are copied unchanged, so that a UTF-8 name in an ASCII tag is preserved. There the maker
note keeps its distance from the header if possible (`maker_note`), because many of its offsets are relative to it.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass, replace
from mmap import mmap

import numpy as np

ORIENTATION = 274
EXIF_DIRECTORY = 34665
GPS_DIRECTORY = 34853
DATE_AND_ORIGIN = frozenset(
    {
        *(269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, 18249, *range(40091, 40096), 33432),
        *(11, 286, 287, 297, 318, 319, 337, 32781, 50341),  # place on paper, page, colours, printer, numbers
        *(37393, 37394, 37395, 50898, 50899),  # number, security and history of the image, its title
        # Some programs write tags of the EXIF directory here.
        *(33434, 33437, 34850, 34855, *range(34864, 34870), 36867, 36868, *range(37377, 37387), 41495),
        *(*range(41985, 41997), 42016, *range(42032, 42038), 42240),
    }
)
GEOGRAPHY = frozenset({33550, 33922, 34264, 34735, 34736, 34737})
"""Tags of GeoTIFF: the geographic position of the pixels."""

RESOLUTION = frozenset({282, 283, 296})
PREMULTIPLIED, PLAIN_ALPHA, ALPHA_BY_COREL = 1, 2, 999
ALPHA = (PREMULTIPLIED, PLAIN_ALPHA, ALPHA_BY_COREL)
"""The kinds of extra samples of a TIFF that are alpha."""

_DESCRIBING = DATE_AND_ORIGIN | GEOGRAPHY | RESOLUTION
_INTEROPERABILITY = 40965  # A third level of directories, with the DCF rules and colours of the file.
_THUMBNAIL_START, _THUMBNAIL_LENGTH = 513, 514
_MAKER_NOTE = 37500
_MAX_NOTE_AT = 1 << 13  # What is in front of it is copied to another place, and its old place stays empty.
_HEADER_BYTES = 8  # of a block
_MAX_BLOCK = 65_000  # bytes, which JPEG can hold
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_SWAP_SIZES = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MAX_BYTES = 1 << 24  # Without a limit, overlapping values could expand a small file to gigabytes.
_MAX_TAGS = 4096  # of a directory; regular files have less than a tenth
# Tags that this module, `exif_editing` or `geotiff` changes.
_EDITED = frozenset({ORIENTATION, 256, 257, 282, 283, 33550, 33922, 34264, 40962, 40963, 41486, 41487})


class DamagedExif(ValueError):  # noqa: N818 (the name describes the data, not an error of the code)
    """The block has no readable header and first directory."""


@dataclass(frozen=True)
class Layout:
    """Byte order ("<" or ">") and width of a TIFF structure."""

    order: str
    big: bool = False

    @property
    def number(self) -> str:
        """struct format of offsets."""
        return self.order + ("Q" if self.big else "I")

    @property
    def entry(self) -> str:
        """struct format of a directory entry."""
        return self.order + ("HHQ8s" if self.big else "HHI4s")

    @property
    def count(self) -> str:
        """struct format of a directory's number of entries."""
        return self.order + ("Q" if self.big else "H")


@dataclass(frozen=True)
class Entry:
    """One tag: `data` are its bytes as stored, `at` is their offset in the block."""

    code: int
    dtype: int
    data: bytes
    at: int = 0

    def number(self, order: str) -> int | None:
        """The first value, if it is an unsigned integer."""
        kind = INTEGERS.get(self.dtype)
        if kind is None or len(self.data) < struct.calcsize(kind):
            return None
        return int(struct.unpack_from(order + kind, self.data)[0])


@dataclass(frozen=True)
class Sections:
    """The tags that describe a photograph, little-endian, without those that describe stored pixels."""

    main: tuple[Entry, ...]
    exif: tuple[Entry, ...]
    gps: tuple[Entry, ...]
    interoperability: tuple[Entry, ...] = ()


def upright(block: bytes) -> tuple[bytes, int | None]:
    """(the block with Orientation 1 and without its thumbnail; its former orientation, or None).

    The thumbnail is removed because it shows the old image: not upright, and with objects that inpainting removes.
    Raises DamagedExif, also if this or a later edit would overwrite the tables of tags.
    """
    layout, first = header(block)
    entries, next_at, link_at = directory(block, first, layout)
    tables = _tables(block, layout, first, entries)
    patched, orientation = bytearray(block), None
    for entry in entries:
        value = entry.number(layout.order) if entry.code == ORIENTATION else None
        if value is not None:
            orientation = value
            struct.pack_into(layout.order + INTEGERS[entry.dtype], patched, entry.at, 1)
    if next_at:
        thumbnail = _thumbnail(block, next_at, layout)
        _check_apart(tables, [thumbnail])
        patched[thumbnail[0] : thumbnail[1]] = bytes(thumbnail[1] - thumbnail[0])
        struct.pack_into(layout.number, patched, link_at, 0)
    return bytes(patched), orientation


def _tables(block: bytes, layout: Layout, first: int, entries: list[Entry]) -> list[tuple[int, int]]:
    """[(begin, end)] of header and directories. Raises DamagedExif if they or values to be edited overlap."""
    head = struct.calcsize(layout.entry) - 4  # 8 bytes, or 16 in BigTIFF
    pointers = [entry.number(layout.order) for entry in entries if entry.code in (EXIF_DIRECTORY, GPS_DIRECTORY)]
    tables, edited = [(0, head)], []
    for index, at in enumerate((first, *pointers)):
        try:
            found, following, link_at = directory(block, at, layout) if at else ([], 0, 0)
        except DamagedExif:
            continue  # Only the first directory is known to be readable.
        if found and at is not None:
            room = struct.calcsize(layout.number)
            # Some cameras omit the link and store values there. Only the link of the first directory is used.
            end = link_at + (room if index == 0 and following else 0)
            span = at, end or len(block)
            _check_apart(tables, [span])
            tables.append(span)
            edited += [(e.at, e.at + len(e.data)) for e in found if e.code in _EDITED and len(e.data) > room]
    _check_apart(tables, edited)
    return tables


def _check_apart(tables: list[tuple[int, int]], spans: list[tuple[int, int]]) -> None:
    for begin, end in spans:
        if any(begin < table_end and table_begin < end for table_begin, table_end in tables):
            raise DamagedExif("its parts overlap")


def sections(block: bytes, at: int | None = None) -> Sections:
    """The describing tags of an EXIF block or of a TIFF file, from its directory at `at`, or else from the first.

    Of a tag that is there twice, the first one counts, as in libtiff: tifffile writes the shape of the pixels as a
    second ImageDescription after that of a person. Raises DamagedExif.
    """
    layout, first = header(block)
    entries, _, _ = directory(block, first if at is None else at, layout)
    directories: dict[int, tuple[Entry, ...]] = {}
    for entry in entries:
        pointer = entry.number(layout.order)
        if entry.code in (EXIF_DIRECTORY, GPS_DIRECTORY) and pointer:
            inner, _, _ = directory(block, pointer, layout)
            directories[entry.code] = tuple(_little(e, layout) for e in inner if e.code != _INTEROPERABILITY)
            third = next((e.number(layout.order) for e in inner if e.code == _INTEROPERABILITY), None)
            with suppress(DamagedExif):  # It contains little, so damage in it is ignored.
                if third and entry.code == EXIF_DIRECTORY:
                    directories[_INTEROPERABILITY] = tuple(
                        _little(e, layout) for e in directory(block, third, layout)[0]
                    )
    describing = {e.code: _little(e, layout) for e in reversed(entries) if e.code in _DESCRIBING}
    main = tuple(describing[code] for code in sorted(describing))
    return Sections(main, *(directories.get(code, ()) for code in (EXIF_DIRECTORY, GPS_DIRECTORY, _INTEROPERABILITY)))


def value_places(file: bytes | mmap) -> list[dict[int, int]]:
    """Tag → offset of its value, for each page of a TIFF file. Raises DamagedExif."""
    layout, at = header(file)
    places = []
    while at:
        entries, at, _ = directory(file, at, layout)
        places.append({entry.code: entry.at for entry in entries})
    return places


def maker_note(parts: Sections, *, header_bytes: int) -> Entry | None:
    """The maker note, if it can have its place (`Entry.at`) in a file that begins with a header of `header_bytes`.

    None where there is none, or where its place is too far behind the header.
    """
    note = next((entry for entry in parts.exif if entry.code == _MAKER_NOTE), None)
    is_alone = note is not None and len(note.data) > struct.calcsize("Q")  # Shorter values lie in the directory.
    return note if note is not None and is_alone and header_bytes <= note.at <= _MAX_NOTE_AT else None


def block_of(parts: Sections) -> bytes | None:
    """A self-contained little-endian block, or None if there are no tags."""
    if not (parts.main or parts.exif or parts.gps):
        return None
    note = maker_note(parts, header_bytes=_HEADER_BYTES)
    block = _block(parts, note)
    return block if note is None or len(block) <= _MAX_BLOCK else _block(parts, None)


def _block(parts: Sections, note: Entry | None) -> bytes:
    """The block of `parts`, in which the maker note `note` has its place."""
    pointers = [
        Entry(code, 4, bytes(4)) for code, inner in ((EXIF_DIRECTORY, parts.exif), (GPS_DIRECTORY, parts.gps)) if inner
    ]
    main = [*parts.main, Entry(ORIENTATION, 3, struct.pack("<H", 1)), *pointers]
    in_front = b"" if note is None else bytes(note.at - _HEADER_BYTES) + note.data
    in_front += bytes(len(in_front) % 2)
    start = _HEADER_BYTES + len(in_front)
    exif_at = start + len(packed(main, at=start))
    inner = [exif_directory(parts, at=exif_at, placed=note)] if parts.exif else []
    gps_at = exif_at + sum(map(len, inner))
    where = {EXIF_DIRECTORY: struct.pack("<I", exif_at), GPS_DIRECTORY: struct.pack("<I", gps_at)}
    main = [replace(entry, data=where.get(entry.code, entry.data)) for entry in main]
    inner += [packed(parts.gps, at=gps_at)] if parts.gps else []
    return b"".join([struct.pack("<2sHI", b"II", 42, start), in_front, packed(main, at=start), *inner])


def exif_directory(parts: Sections, *, at: int, big: bool = False, placed: Entry | None = None) -> bytes:
    """The EXIF directory as from `packed`, followed by the third level of directories."""
    if not parts.interoperability:
        return packed(parts.exif, at=at, big=big, placed=placed)
    form, dtype = ("<Q", 16) if big else ("<I", 4)
    pointer = Entry(_INTEROPERABILITY, dtype, bytes(struct.calcsize(form)))
    third_at = at + len(packed((*parts.exif, pointer), at=at, big=big, placed=placed))
    pointer = replace(pointer, data=struct.pack(form, third_at))
    inner = packed((*parts.exif, pointer), at=at, big=big, placed=placed)
    return inner + packed(parts.interoperability, at=third_at, big=big)


def packed(
    entries: list[Entry] | tuple[Entry, ...], *, at: int, big: bool = False, placed: Entry | None = None
) -> bytes:
    """A little-endian directory for the even offset `at`, followed by its values, without a next directory.

    The value of the entry `placed` is in its place already.
    """
    layout = Layout("<", big)
    ordered = sorted(entries, key=lambda entry: entry.code)
    room = struct.calcsize(layout.number)
    values_at = at + struct.calcsize(layout.count) + len(ordered) * struct.calcsize(layout.entry) + room
    head, values = [struct.pack(layout.count, len(ordered))], bytearray()
    for entry in ordered:
        count = len(entry.data) // SIZES[entry.dtype]
        inline = entry.data
        if entry is placed:
            inline = struct.pack(layout.number, entry.at)
        elif len(entry.data) > room:
            inline = struct.pack(layout.number, values_at + len(values))
            values += entry.data + bytes(len(entry.data) % 2)
        head.append(struct.pack(layout.entry, entry.code, entry.dtype, count, inline))
    return b"".join([*head, struct.pack(layout.number, 0), bytes(values)])


def header(block: bytes | mmap) -> tuple[Layout, int]:
    """(the layout, the offset of the first directory). Raises DamagedExif."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    try:
        magic = struct.unpack_from(f"{order}H", block, 2)[0] if order else 0
        if magic == 42:
            return Layout(order or ""), struct.unpack_from(f"{order}I", block, 4)[0]
        if magic == 43:
            return Layout(order or "", big=True), struct.unpack_from(f"{order}Q", block, 8)[0]
    except struct.error:
        pass
    raise DamagedExif("no TIFF header")


def directory(block: bytes | mmap, at: int, layout: Layout) -> tuple[list[Entry], int, int]:
    """(entries, offset of the next directory or 0, where that offset is stored); unreadable values are left out.

    An offset beyond the block counts as 0. Raises DamagedExif if there is no directory, or if it has too many tags.
    """
    room = struct.calcsize(layout.number)
    entries: list[Entry] = []
    budget = _MAX_BYTES
    try:
        (count,) = struct.unpack_from(layout.count, block, at)
        if count > _MAX_TAGS:
            raise DamagedExif(f"a directory of {count} tags")
        cursor = at + struct.calcsize(layout.count)
        for _ in range(count):
            code, dtype, items, _ = struct.unpack_from(layout.entry, block, cursor)
            length = items * SIZES.get(dtype, 0)
            value_at = cursor + struct.calcsize(layout.entry) - room
            if length > room:
                (value_at,) = struct.unpack_from(layout.number, block, value_at)
            cursor += struct.calcsize(layout.entry)
            if 0 < length <= budget and value_at + length <= len(block):
                budget -= length
                entries.append(Entry(code, dtype, block[value_at : value_at + length], value_at))
        (following,) = struct.unpack_from(layout.number, block, cursor)
    except (struct.error, OverflowError):
        # Of a truncated block, the readable tags are used; if there are none, it is damaged.
        if not entries:
            raise DamagedExif("its directory lies outside the block") from None
        return entries, 0, 0
    return entries, following if following < len(block) else 0, cursor


def _thumbnail(block: bytes, at: int, layout: Layout) -> tuple[int, int]:
    """(begin, end) of the thumbnail in the directory at `at`, both 0 if there is none."""
    try:
        entries, _, _ = directory(block, at, layout)
    except DamagedExif:
        return 0, 0
    numbers = {entry.code: entry.number(layout.order) for entry in entries}
    start, length = numbers.get(_THUMBNAIL_START), numbers.get(_THUMBNAIL_LENGTH)
    return (start, start + length) if start and length and start + length <= len(block) else (0, 0)


def _little(entry: Entry, layout: Layout) -> Entry:
    size = _SWAP_SIZES.get(entry.dtype)
    if layout.order == "<" or size is None:
        return entry
    return replace(entry, data=np.frombuffer(entry.data, f">u{size}").astype(f"<u{size}").tobytes())
