"""What the boxes of an AVIF or HEIC file say of its primary picture, for what the libraries do not pass on.

A file holds items (pictures, tiles of a picture, EXIF) and a list of properties, and says which item has which of them.
"""

from __future__ import annotations

import struct
from fractions import Fraction

from adacode_cli.imaging.cicp import LIGHT_LEVELS, Cicp
from adacode_cli.imaging.iso_boxes import boxes

_CONFIGURATION = b"av1C"
LIGHT_LEVEL_BOXES = (b"clli", b"mdcv", b"cclv", b"amve", b"ndwt")
"""The kinds of the properties that say how bright a picture, or the display of its author, is."""

_CLAP = struct.Struct(">IIIIiIiI")  # fractions: width, height, and how far its middle lies off
_MOST_ITEMS, _MOST_OF_BEGINNING = 10_000, 256
_RANGE_AT = 10  # behind "nclx" and three numbers of 16 bits
_ANIMATION, _STILL = b"avis", b"avif"
_NUMBERS = b"nclx"
_PLACE_OF_NUMBERS = b"colr" + _NUMBERS
_MOST_BYTES = 1 << 20  # of the list of who has which property; a picture of ten thousand tiles has a tenth of it


def properties(file: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, content) of the primary picture's properties, behind them those of its tiles.

    Nothing where there is no such list, or it is damaged.
    """
    try:
        return _properties(file)
    except struct.error:
        return []


def avif_bits(file: bytes, found: list[tuple[bytes, bytes]]) -> int:
    """8, 10 or 12, as the configuration of the coder says: in `properties`, or first in a file that has none."""
    at = file.find(_CONFIGURATION)
    first = file[at + 4 : at + 8] if at >= 0 else b""
    content = next((content for kind, content in found if kind == _CONFIGURATION), first)
    flags = content[2] if len(content) > 2 else 0
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10


def cicp_of(found: list[tuple[bytes, bytes]]) -> Cicp | None:
    """How `properties` describe the colours in numbers, or None."""
    for kind, content in found:
        if kind == b"colr" and content[:4] == _NUMBERS and len(content) >= 8:
            return Cicp(*struct.unpack_from(">2H", content, 4))
    return None


def beginning_of_primary(file: bytes) -> bytes:
    """The first bytes of the primary picture as it is coded, or of its first tile; none where that cannot be found."""
    try:
        parts = _parts(file)
        return _beginning(file, parts[b"iloc"], _items(parts)[-1]) if parts.keys() >= {b"pitm", b"iloc"} else b""
    except (struct.error, IndexError):
        return b""


def is_limited(found: list[tuple[bytes, bytes]]) -> bool:
    """Whether samples use the limited range of video, as `properties` say."""
    return any(
        kind == b"colr" and content[:4] == _NUMBERS and len(content) > _RANGE_AT and not content[_RANGE_AT] & 0x80
        for kind, content in found
    )


def crop_of(found: list[tuple[bytes, bytes]], width: int, height: int) -> tuple[slice, slice]:
    """The rows and columns of the stored picture that are to be seen, as `properties` say.

    All of them where nothing is said, or a part that is not within the picture or begins between two pixels.
    """
    content = next((content for kind, content in found if kind == b"clap" and len(content) >= _CLAP.size), None)
    seen = [slice(0, width), slice(0, height)]
    if content is not None:
        numbers = _CLAP.unpack_from(content)
        if 0 in numbers[1::2]:
            return seen[1], seen[0]
        wide, high, right, below = (Fraction(n, d) for n, d in zip(numbers[::2], numbers[1::2], strict=True))
        for axis, (whole, part, shift) in enumerate(((width, wide, right), (height, high, below))):
            start = (whole - part) / 2 + shift
            if max(start.denominator, part.denominator) > 1 or start < 0 or part < 1 or start + part > whole:
                return slice(0, height), slice(0, width)
            seen[axis] = slice(int(start), int(start + part))
    return seen[1], seen[0]


def lost_of(found: list[tuple[bytes, bytes]]) -> tuple[str, ...]:
    """What `properties` say that is not kept."""
    return (LIGHT_LEVELS,) if any(kind in LIGHT_LEVEL_BOXES for kind, _ in found) else ()


def without_frames(file: bytes) -> bytes:
    """An AVIF file as one that is no animation: readers take the primary picture then, whatever frames there are."""
    head = next(boxes(file), None)
    if head is None or head[0] != b"ftyp" or _ANIMATION not in head[1]:
        return file
    brands = b"".join(
        _STILL if head[1][at : at + 4] == _ANIMATION else head[1][at : at + 4] for at in range(0, len(head[1]), 4)
    )
    return file.replace(head[1], brands, 1)


def with_cicp(file: bytes, said: Cicp) -> bytes:
    """A file that one of our encoders has written, with other numbers in its description of colours.

    Raises ValueError where there is none.
    """
    at, end = file.find(_PLACE_OF_NUMBERS), file.find(b"mdat")
    if not 0 < at < end:
        raise ValueError("its encoder has not described the colours")
    at += len(_PLACE_OF_NUMBERS)
    return file[:at] + struct.pack(">2H", said.primaries, said.transfer) + file[at + 4 :]


def _parts(file: bytes) -> dict[bytes, bytes]:
    """The boxes in the one that describes the items, by their kind."""
    meta = next((content for kind, content in boxes(memoryview(file)) if kind == b"meta"), None)
    return dict(boxes(bytes(meta[4:]))) if meta is not None else {}


def _items(parts: dict[bytes, bytes]) -> list[int]:
    """The number of the primary picture and of its first tile, if it has any. Raises struct.error."""
    primary = struct.unpack_from(">I" if parts[b"pitm"][:1] != b"\0" else ">H", parts[b"pitm"], 4)[0]
    return [primary, *_tiles(parts.get(b"iref", b""), primary)]


def _beginning(file: bytes, places: bytes, wanted: int) -> bytes:
    """The first bytes of an item that lies in the file as a whole or in parts. Raises struct.error."""
    version = places[0]
    sizes = struct.unpack_from(">2B", places, 4)
    offset_bytes, length_bytes, base_bytes = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4
    index_bytes = sizes[1] & 15 if version else 0
    number = ">I" if version > 1 else ">H"
    (count,) = struct.unpack_from(number, places, 6)
    at = 6 + struct.calcsize(number)
    extent_bytes = index_bytes + offset_bytes + length_bytes
    for _ in range(min(count, _MOST_ITEMS)):
        (item,) = struct.unpack_from(number, places, at)
        at += struct.calcsize(number) + (2 if version else 0)
        method = places[at - 1] & 15 if version else 0
        base = int.from_bytes(places[at + 2 : at + 2 + base_bytes], "big")
        at += 2 + base_bytes
        (extents,) = struct.unpack_from(">H", places, at)
        if item == wanted and extents and method == 0:
            first = at + 2 + index_bytes
            start = base + int.from_bytes(places[first : first + offset_bytes], "big")
            return file[start : start + _MOST_OF_BEGINNING]
        at += 2 + extents * extent_bytes
    return b""


def _properties(file: bytes) -> list[tuple[bytes, bytes]]:
    parts = _parts(file)
    if not {b"pitm", b"iprp"} <= parts.keys():
        return []
    items = _items(parts)
    lists = list(boxes(parts[b"iprp"]))
    known = [entry for kind, content in lists if kind == b"ipco" for entry in boxes(content)]
    owned: dict[int, list[int]] = {}
    for kind, content in lists:
        if kind == b"ipma" and len(content) <= _MOST_BYTES:
            _note_owners(content, owned)
    return [known[at - 1] for item in items for at in owned.get(item, ()) if 0 < at <= len(known)]


def _tiles(references: bytes, item: int) -> list[int]:
    """The first of the items of which `item` is put together."""
    number = ">H" if references[:1] == b"\0" else ">I"
    size = struct.calcsize(number)
    for kind, content in boxes(references[4:]):
        if kind == b"dimg" and len(content) >= 2 * size + 2 and struct.unpack_from(number, content)[0] == item:
            return [struct.unpack_from(number, content, size + 2)[0]]
    return []


def _note_owners(content: bytes, owned: dict[int, list[int]]) -> None:
    """Adds, for each item, the places of its properties in their list, from 1. Raises struct.error."""
    wide, long_numbers = content[3:4] == b"\1", content[:1] != b"\0"
    at = 8
    for _ in range(struct.unpack_from(">I", content, 4)[0]):
        item, count = struct.unpack_from(">IB" if long_numbers else ">HB", content, at)
        at += 5 if long_numbers else 3
        places = struct.unpack_from(f">{count}{'H' if wide else 'B'}", content, at)
        at += count * (2 if wide else 1)
        # The highest bit says whether a reader must know the property.
        owned.setdefault(item, []).extend(place & (0x7FFF if wide else 0x7F) for place in places)
