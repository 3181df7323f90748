"""Reads the tags of EXIF blocks and TIFF pages: the header, and the items of the inventory.

Values are read only if they decide whether a tag is an item. The inventory leaves out: the tags in `_STORAGE` (sizes,
depth, layout, compression, orientation, resolution, offsets of strips and tiles), pointers to other directories, the
program that wrote the file, which is replaced, and the second directory of an EXIF block, which has a thumbnail.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import tifffile
from PIL import ExifTags

from adacode_cli.imaging import exif, photoshop
from adacode_cli.imaging.codec import Header
from adacode_cli.imaging.exif import ALPHA, EXIF_DIRECTORY, GPS_DIRECTORY, DamagedExif, Layout
from adacode_cli.imaging.image import Item
from adacode_cli.imaging.inventory import (
    ADOBE_RGB,
    CHANNELS,
    COLOR_PROFILE,
    EXIF,
    GEOGRAPHY,
    IPTC,
    TIFF_TAGS,
    XMP,
)
from adacode_cli.imaging.iso_boxes import Bytes
from adacode_cli.limits import MAX_PAGES

_STORAGE = frozenset(
    {
        *range(254, 260),  # kind of page, width, height, depth, compression
        *(262, 263, 264, 265, 266),  # photometric interpretation, dithering, order of bits
        *(273, 274, 277, 278, 279, 280, 281, 282, 283, 284),  # strips, orientation, samples, resolution, planes
        *(288, 289, 290, 291, 292, 293, 296),  # free bytes, scale of greys, options of fax, unit of resolution
        *(317, 320, 321, 322, 323, 324, 325, 326, 327, 328, 330),  # prediction, palette, tiles, fax, subdirectories
        *(332, 333, 334, 336, 338, 339, 340, 341, 342, 347),  # inks, extra samples, formats and ranges, JPEG tables
        *(512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 559),  # JPEG, YCbCr
        *(32995, 32996, 32997, 32998, 37439),  # SGI: as 338, 339, 257, and the depth
        *(4097, 4098, 34665, 34853, 40965),  # sizes that a camera stored, pointers
        *(59932, 59933),  # padding, and the distance by which a program moved the maker note
    }
)
_SOFTWARE = 305
_LISTED_AS = {700: XMP, 33723: IPTC, 34675: COLOR_PROFILE}
_PHOTOSHOP = 34377
_INTEROPERABILITY, _INDEX, _ADOBE_RGB = 40965, 1, b"R03\0"
_SUBFILE, _OLD_SUBFILE, _PHOTOMETRIC, _SAMPLES, _EXTRA, _SUBDIRECTORIES = 254, 255, 262, 277, 338, 330
_REDUCED, _MASK, _OLD_REDUCED = 1, 4, 2
_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3}  # photometric interpretation → channels
_WIDTH, _HEIGHT, _BITS, _SAMPLE_FORMAT = 256, 257, 258, 339
_FLOAT = 3
_DNG_VERSION, _MOSAIC_PHOTOMETRIC = 50706, (32803, 34892)
_GREY = (0, 1)
_METADATA = {34675: "icc", 34665: "exif", 700: "xmp", 33723: "iptc"}
_MAX_TAGS = 4096  # of a directory
_MAX_TAGS_FOR_HEADER = 200_000  # of all directories; a plan reads the headers of thousands of untrusted files
_MAX_NUMBERS = 64
_HEADER_BYTES = 16
_ENTRY_BYTES = 12  # the minimum for a tag or a resource of Photoshop
_UNREAD: Item = ("tags of further pages", "")

TagPlace = tuple[int, int, int, int]
"""(code, type, number of values, their offset)."""


@dataclass
class _Structure:
    """The directories of an EXIF block or a TIFF file; at most as many tags are read as its bytes can hold.

    If there are more, several directories share their bytes, which is only the case in malicious files.
    leads_out: whether a link to a directory has led out of the block.
    """

    block: Bytes
    layout: Layout
    left: int
    leads_out: bool = False

    @classmethod
    def of(cls, block: Bytes) -> tuple[_Structure, int]:
        """(the structure of a block, the offset of its first directory). Raises DamagedExif."""
        layout, first = exif.header(bytes(block[:_HEADER_BYTES]))
        # Thumbnails may share a directory, so a few more tags are allowed.
        return cls(block, layout, len(block) // _ENTRY_BYTES + _MAX_TAGS), first

    def take(self, tags: int) -> bool:
        """Counts `tags`, and returns whether the limit still allows reading them."""
        self.left -= tags
        return self.left >= 0

    def directory(self, at: int) -> tuple[list[TagPlace], int]:
        """As `_directory`, with 0 for an offset outside. Raises DamagedExif, also if the limit is exceeded."""
        if self.left < 0:
            raise DamagedExif("its directories share their bytes")
        found, following = _directory(self.block, at, self.layout)
        if not self.take(1 + len(found)):
            raise DamagedExif("its directories share their bytes")
        if following >= len(self.block):
            self.leads_out, following = True, 0
        return found, following

    def number(self, tags: list[TagPlace], code: int) -> int | None:
        """The first value of a tag that holds unsigned integers."""
        found = self.numbers(tags, code)
        return found[0] if found else None

    def numbers(self, tags: list[TagPlace], code: int) -> list[int]:
        """The values of a tag that holds unsigned integers, at most `_MAX_NUMBERS` of them."""
        for found, dtype, count, at in tags:
            kind = exif.INTEGERS.get(dtype)
            if found == code and kind is not None:
                form = f"{self.layout.order}{min(count, _MAX_NUMBERS)}{kind}"
                return list(struct.unpack(form, self.block[at : at + struct.calcsize(form)]))
        return []


def items_of_exif(block: bytes) -> Iterator[Item]:
    """The items of an EXIF block; none if it has no readable directory, which the readers report as damaged."""
    block = block.removeprefix(b"Exif\0\0")
    try:
        structure, first = _Structure.of(block)
        tags, _ = structure.directory(first)
    except DamagedExif:
        return
    for code, *_ in tags:
        if code not in _STORAGE and code != _SOFTWARE:
            yield EXIF, name_of(code)
    yield from _inner(structure, tags)


def pages(file: bytes) -> Iterator[Iterator[Item]]:
    """The items of each page of a TIFF file, without reduced copies of pages, and masks, which the reader reports."""
    try:
        structure, at = _Structure.of(file)
    except DamagedExif:
        return
    seen: set[int] = set()
    while at and at not in seen and len(seen) < MAX_PAGES and structure.left >= 0:
        seen.add(at)
        try:
            tags, at = structure.directory(at)
        except DamagedExif:
            if structure.left < 0:
                yield iter([_UNREAD])
            return
        if len(seen) == 1 or not _kind(structure, tags) & (_REDUCED | _MASK):
            yield _page(structure, tags)


def header(file: Bytes) -> Header | None:
    """The header of the first page, with the number of pages.

    None for camera raw, whose first page is a preview, and if the link to a page leads out: pages are missing then.
    """
    structure, at = _Structure.of(file)
    structure.left = min(structure.left, _MAX_TAGS_FOR_HEADER)
    seen: set[int] = set()
    first: Header | None = None
    pages = 0
    while at and at not in seen and len(seen) < MAX_PAGES:
        seen.add(at)
        tags, at = structure.directory(at)
        if first is None and _is_raw_page(structure, tags, file):
            return None
        first = first or _header_of_page(structure, tags)
        pages += pages == 0 or not _kind(structure, tags) & (_REDUCED | _MASK)
    if structure.leads_out:
        return None
    return first and replace(first, pages=pages)


def is_camera_raw(file: Bytes) -> bool:
    """Whether a TIFF file is camera raw, by its first directory. Raises ValueError and others if that is damaged."""
    structure, at = _Structure.of(file)
    structure.left = min(structure.left, _MAX_TAGS_FOR_HEADER)
    return _is_raw_page(structure, structure.directory(at)[0], file)


def is_raw(photometric: int | None, codes: Collection[int], start: bytes, *, is_preview: bool) -> bool:
    """Whether a TIFF file is camera raw, by its first directory and the beginning of the file.

    codes: of its tags. is_preview: it is a reduced image, and has subdirectories.
    """
    # NEF and ARW begin with a preview; the image itself is in a subdirectory.
    return photometric in _MOSAIC_PHOTOMETRIC or _DNG_VERSION in codes or start[8:10] == b"CR" or is_preview


def _is_raw_page(structure: _Structure, tags: list[TagPlace], file: Bytes) -> bool:
    codes = [code for code, *_ in tags]
    is_preview = bool(_kind(structure, tags) & _REDUCED) and _SUBDIRECTORIES in codes
    return is_raw(structure.number(tags, _PHOTOMETRIC), codes, bytes(file[:_HEADER_BYTES]), is_preview=is_preview)


def _header_of_page(structure: _Structure, tags: list[TagPlace]) -> Header:
    numbers = {code: structure.number(tags, code) for code in (_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLE_FORMAT)}
    metadata = frozenset(_METADATA[code] for code, *_ in tags if code in _METADATA)
    return Header(
        numbers[_WIDTH] or 0,
        numbers[_HEIGHT] or 0,
        1 if numbers[_PHOTOMETRIC] in _GREY else 3,
        max(numbers[_BITS] or 1, 8),
        numbers[_SAMPLE_FORMAT] == _FLOAT,
        metadata=metadata,
    )


def _kind(structure: _Structure, tags: list[TagPlace]) -> int:
    """The bits of NewSubfileType, or, if it is missing or 0, those of the older SubfileType."""
    kind, old_kind = structure.number(tags, _SUBFILE) or 0, structure.number(tags, _OLD_SUBFILE) or 0
    return kind or (_REDUCED if old_kind == _OLD_REDUCED else 0)


def name_of(code: int, names: dict[int, str] | None = None) -> str:
    """The name of a tag."""
    if names is None:
        return ExifTags.TAGS.get(code) or tifffile.TIFF.TAGS.get(code, f"tag {code}")
    return names.get(code, f"tag {code}")


def _page(structure: _Structure, tags: list[TagPlace]) -> Iterator[Item]:
    for code, _, count, at in tags:
        if code in _LISTED_AS:
            yield _LISTED_AS[code], ""
        elif code == _PHOTOSHOP:
            if structure.take(count // _ENTRY_BYTES):
                yield from photoshop.items(bytes(structure.block[at : at + count]))
        elif code in exif.GEOGRAPHY:
            yield GEOGRAPHY, name_of(code)
        elif code not in _STORAGE and code != _SOFTWARE:
            yield EXIF if code in exif.DATE_AND_ORIGIN else TIFF_TAGS, name_of(code)
    yield from _inner(structure, tags)
    yield from _extra_images(structure, tags)
    if structure.left < 0:
        yield _UNREAD


def _inner(structure: _Structure, tags: list[TagPlace]) -> Iterator[Item]:
    """The items of the directories for EXIF, GPS and interoperability."""
    found: dict[int, list[TagPlace]] = {}
    for code in (EXIF_DIRECTORY, GPS_DIRECTORY):
        at = structure.number(tags, code)
        try:
            found[code] = structure.directory(at)[0] if at else []
        except DamagedExif:
            found[code] = []
    for code, *_ in found[EXIF_DIRECTORY]:
        if code not in _STORAGE:
            yield EXIF, name_of(code)
    for code, *_ in found[GPS_DIRECTORY]:
        yield EXIF, name_of(code, ExifTags.GPSTAGS)
    at = structure.number(found[EXIF_DIRECTORY], _INTEROPERABILITY)
    if at:
        try:
            rules = structure.directory(at)[0]
        except DamagedExif:
            return
        # The other values only state that the file follows the rules for cameras.
        if any(code == _INDEX and structure.block[where : where + 4] == _ADOBE_RGB for code, _, _, where in rules):
            yield ADOBE_RGB, ""


def _extra_images(structure: _Structure, tags: list[TagPlace]) -> Iterator[Item]:
    """Channels other than colours and alpha, and images in subdirectories that are not reduced copies."""
    colors = _COLORS.get(structure.number(tags, _PHOTOMETRIC) or 0)
    extra = (structure.number(tags, _SAMPLES) or 1) - colors if colors is not None else 0
    if extra > 0:
        kinds = structure.numbers(tags, _EXTRA) or ALPHA
        extra -= any(kind in ALPHA for kind in kinds[:extra])
    if extra > 0:
        yield CHANNELS, str(extra)
    for at in structure.numbers(tags, _SUBDIRECTORIES):
        try:
            inner, _ = structure.directory(at)
        except DamagedExif:
            continue
        if not _kind(structure, inner) & _REDUCED:
            yield "images in subdirectories", ""


def _directory(block: Bytes, at: int, layout: Layout) -> tuple[list[TagPlace], int]:
    """(the tags whose values lie in the block, offset of the next directory or 0). Raises DamagedExif.

    The offset may lie outside the block.
    """
    room, size, block_bytes = struct.calcsize(layout.number), struct.calcsize(layout.entry), len(block)
    start = at + struct.calcsize(layout.count)
    try:
        (count,) = struct.unpack(layout.count, block[at:start])
    except (struct.error, OverflowError):
        raise DamagedExif("its directory lies outside the block") from None
    if count > _MAX_TAGS:
        raise DamagedExif(f"a directory of {count} tags")
    whole = min(count, max(0, block_bytes - start) // size)
    found: list[TagPlace] = []
    for number, (code, dtype, items, inline) in enumerate(
        struct.iter_unpack(layout.entry, block[start : start + whole * size])
    ):
        length = items * exif.SIZES.get(dtype, 0)
        value_at = start + (number + 1) * size - room
        if length > room:
            (value_at,) = struct.unpack(layout.number, inline)
        if length and value_at + length <= block_bytes:
            found.append((code, dtype, items, value_at))
    end = start + count * size
    link = block[end : end + room]
    following = struct.unpack(layout.number, link)[0] if len(link) == room else 0
    return found, following
