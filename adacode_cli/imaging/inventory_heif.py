"""What the boxes of an AVIF or HEIC file say: metadata, and pictures beside the one that is shown.

What follows the picture, and is no item: properties that say how pixels are stored (sizes, colours, turns, decoders,
tiles) and when; parts of a picture that is put together; thumbnails; and alpha, whose loss is named where it is one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from adacode_cli.imaging.cicp import LIGHT_LEVELS
from adacode_cli.imaging.heif_boxes import LIGHT_LEVEL_BOXES
from adacode_cli.imaging.inventory_items import (
    COLOR_PROFILE,
    CREDENTIALS,
    FRAMES,
    FURTHER_PACKET,
    GAIN_MAP,
    PICTURES,
    VIDEO,
    XMP,
    Item,
    behind,
    kind_of_map,
)
from adacode_cli.imaging.inventory_tags import items_of_exif
from adacode_cli.imaging.iso_boxes import placed

BOXES, PROPERTIES, METADATA_ITEMS = "boxes", "picture properties", "metadata items"
_STORAGE = frozenset({b"ftyp", b"meta", b"mdat", b"idat", b"free", b"skip", b"wide", b"pdin", b"moof", b"sidx"})
_STORAGE_PROPERTIES = frozenset(
    {
        *(b"ispe", b"pixi", b"colr", b"pasp", b"irot", b"imir", b"clap", b"auxC", b"rloc", b"lsel", b"a1lx", b"a1op"),
        *(b"av1C", b"hvcC", b"lhvC", b"avcC", b"vvcC", b"evcC", b"jpgC", b"j2kH", b"cmpC", b"uncC", b"cmpd", b"icef"),
        *(b"tols", b"oinf", b"rref", b"crtt", b"mdft", b"free", b"skip", b"subs"),
    }
)
_PICTURE_KINDS = frozenset(
    {
        *(b"av01", b"hvc1", b"hev1", b"lhv1", b"avc1", b"vvc1", b"evc1", b"jpeg", b"j2k1", b"unci"),
        *(b"grid", b"iovl", b"iden"),
    }
)
_EXIF, _MIME, _URI, _TONE_MAP = b"Exif", b"mime", b"uri ", b"tmap"
_XMP_TYPE = b"application/rdf+xml"
_CREDENTIALS_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_ALPHA = (":alpha", "auxid:1")
_LONGEST_TEXT = 200
_MOST_ITEMS = 10_000


@dataclass
class _Meta:
    """What the box that names a file's items says of them: pictures and metadata."""

    primary: int = 0
    kinds: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # item → (kind, which MIME type or URI)
    hidden: set[int] = field(default_factory=set)  # items that are not to be shown for themselves
    links: list[tuple[bytes, int, list[int]]] = field(default_factory=list)  # (kind, from, to)
    properties: list[tuple[bytes, int, int]] = field(default_factory=list)  # (kind, begin, end)
    owned: dict[int, list[int]] = field(default_factory=dict)  # item → which of the properties, from 1
    places: dict[int, tuple[int, int]] = field(default_factory=dict)  # item → (begin, length), where it is in one piece


def items(file: bytes) -> Iterator[Item]:
    """The items of an AVIF or HEIC file. Raises struct.error or LookupError where it contradicts itself."""
    end, kinds = 0, 0
    for kind, start, end in placed(file, 0, len(file)):
        kinds += kind == b"ftyp"
        if kind == b"meta":
            yield from _of_meta(file, _meta(file, start + 4, end))
        elif kind == b"moov":
            if _most_samples(file, start, end) > 1:
                yield FRAMES, ""
        elif kind == b"mpvd":
            yield VIDEO, ""
        elif kind == b"uuid" and file.startswith(_CREDENTIALS_UUID, start):
            yield CREDENTIALS, ""
        elif kind not in _STORAGE:
            yield BOXES, _text(kind)
    if kinds > 1:  # another file stands behind this one
        yield VIDEO, ""
    yield from behind(file, end)


def _of_meta(file: bytes, meta: _Meta) -> Iterator[Item]:
    packets = 0
    # What describes another picture goes with it.
    described = {item: targets for kind, item, targets in meta.links if kind == b"cdsc"}
    own = {item: kind for item, kind in meta.kinds.items() if meta.primary in described.get(item, (meta.primary,))}
    exif = next((item for item, (kind, _) in own.items() if kind == _EXIF), 0)
    if exif in meta.places:
        at, length = meta.places[exif]
        (head,) = struct.unpack_from(">I", file, at)
        yield from items_of_exif(file[at + 4 + head : at + length])
    for kind, which in own.values():
        if kind == _MIME and which == _XMP_TYPE:
            packets += 1
            yield XMP, ""
        elif kind in (_MIME, _URI):
            yield METADATA_ITEMS, _text(which)
        elif kind == _TONE_MAP:
            yield GAIN_MAP, ""
        elif kind != _EXIF and kind not in _PICTURE_KINDS:
            yield METADATA_ITEMS, _text(kind)
    if packets > 1:
        yield FURTHER_PACKET, ""
    yield from _pictures(file, meta)
    for kind, start, _ in _properties(meta, meta.primary):
        if kind == b"colr" and file[start : start + 4] in (b"prof", b"rICC"):
            yield COLOR_PROFILE, ""
        elif kind in LIGHT_LEVEL_BOXES:
            yield LIGHT_LEVELS, ""
        elif kind not in _STORAGE_PROPERTIES:
            yield PROPERTIES, _text(kind)


def _pictures(file: bytes, meta: _Meta) -> Iterator[Item]:
    """What is a picture beside the primary one, and neither a part of another one nor its thumbnail."""
    beside = {item for item, (kind, _) in meta.kinds.items() if kind in _PICTURE_KINDS} - {meta.primary}
    shown = beside - meta.hidden
    for kind, item, targets in meta.links:
        if kind == b"dimg":
            shown -= set(targets)
        elif kind == b"thmb":
            shown.discard(item)
        elif kind == b"auxl" and item in beside:
            beside.discard(item)
            shown.discard(item)
            for named, start, end in _properties(meta, item):
                which = file[start + 4 : min(end, start + 4 + _LONGEST_TEXT)].partition(b"\0")[0].decode("latin-1")
                if named == b"auxC" and not which.endswith(_ALPHA):
                    yield kind_of_map(which), ""
    if shown:
        yield PICTURES, str(len(shown))


def _properties(meta: _Meta, item: int) -> Iterator[tuple[bytes, int, int]]:
    for number in meta.owned.get(item, ()):
        if 0 < number <= len(meta.properties):
            yield meta.properties[number - 1]


def _meta(file: bytes, at: int, end: int) -> _Meta:
    found = _Meta()
    data_at = 0
    for kind, start, stop in placed(file, at, end):
        if kind == b"pitm":
            found.primary = _number(file, start + 4, 4 if file[start] else 2)
        elif kind == b"iinf":
            for inner, begin, close in placed(file, start + (8 if file[start] else 6), stop):
                if inner == b"infe" and file[begin] >= 2:
                    _item(file, begin, close, found)
        elif kind == b"iref":
            width = 4 if file[start] else 2
            for inner, begin, close in placed(file, start + 4, stop):
                numbers = [_number(file, place, width) for place in (begin, *range(begin + width + 2, close, width))]
                found.links.append((inner, numbers[0], numbers[1:]))
        elif kind == b"iprp":
            _read_properties(file, start, stop, found)
        elif kind == b"idat":
            data_at = start
    for kind, start, stop in placed(file, at, end):
        if kind == b"iloc":
            _read_places(file, start, stop, data_at, found)
    return found


def _item(file: bytes, at: int, end: int, found: _Meta) -> None:
    width = 2 if file[at] == 2 else 4
    kind_at = at + 4 + width + 2
    kind = file[kind_at : kind_at + 4]
    texts = file[kind_at + 4 : min(end, kind_at + 4 + _LONGEST_TEXT)].split(b"\0")
    which = texts[1] if kind in (_MIME, _URI) and len(texts) > 1 else b""
    item = _number(file, at + 4, width)
    found.kinds[item] = kind, which
    if file[at + 3] & 1:
        found.hidden.add(item)


def _read_properties(file: bytes, at: int, end: int, found: _Meta) -> None:
    for kind, start, stop in placed(file, at, end):
        if kind == b"ipco":
            found.properties += placed(file, start, stop)
        elif kind == b"ipma":
            version, is_wide = file[start], file[start + 3] & 1
            place = start + 8
            for _ in range(min(_number(file, start + 4, 4), _MOST_ITEMS)):
                item, place = _number(file, place, 4 if version else 2), place + (4 if version else 2)
                count, place = file[place], place + 1
                width = 2 if is_wide else 1
                numbers = (_number(file, place + width * index, width) for index in range(count))
                found.owned.setdefault(item, []).extend(number & (0x7FFF if is_wide else 0x7F) for number in numbers)
                place += width * count
                if place > stop:
                    return


def _read_places(file: bytes, at: int, end: int, data_at: int, found: _Meta) -> None:
    version, widths = file[at], file[at + 4] << 8 | file[at + 5]
    offset, length, base, index = widths >> 12, widths >> 8 & 15, widths >> 4 & 15, widths & 15 if version else 0
    width = 4 if version == 2 else 2
    place = at + 6 + width
    for _ in range(min(_number(file, at + 6, width), _MOST_ITEMS)):
        item, place = _number(file, place, width), place + width
        in_box = version > 0 and file[place + 1] & 15 == 1
        place += 4 if version else 2
        start, place = _number(file, place, base), place + base
        parts, place = _number(file, place, 2), place + 2
        begin = start + _number(file, place + index, offset) + (data_at if in_box else 0)
        if parts == 1:
            found.places[item] = begin, _number(file, place + index + offset, length)
        place += parts * (index + offset + length)
        if place > end:
            return


def _most_samples(file: bytes, at: int, end: int) -> int:
    """The largest number of samples, which are frames, of a track in the box of a sequence."""
    most = 0
    waiting = [(at, end)]
    while waiting:
        for kind, start, stop in placed(file, *waiting.pop()):
            if kind in (b"trak", b"mdia", b"minf", b"stbl"):
                waiting.append((start, stop))
            elif kind == b"stsz":
                most = max(most, _number(file, start + 8, 4))
    return most


def _number(file: bytes, at: int, width: int) -> int:
    """An unsigned number of `width` bytes, 0 of none. Raises LookupError beyond the file."""
    if at + width > len(file):
        raise LookupError("a number lies outside the file")
    return int.from_bytes(file[at : at + width], "big")


def _text(said: bytes) -> str:
    return said.decode("latin-1").strip()
