"""Reads the boxes of an AVIF or HEIC file: properties and metadata that libraries do not provide.

A file contains items (images, tiles of an image, EXIF), a list of properties, and the association of both.

The inventory leaves out: properties on the storage of pixels (sizes, colours, rotation, decoders, tiles) and on times;
tiles of an image; thumbnails; and alpha, whose loss is reported elsewhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property

from adacode_cli.imaging.cicp import LIGHT_LEVELS, Cicp
from adacode_cli.imaging.codec import Header
from adacode_cli.imaging.image import Item
from adacode_cli.imaging.inventory import (
    COLOR_PROFILE,
    CREDENTIALS,
    FRAMES,
    FURTHER_PACKET,
    GAIN_MAP,
    IMAGES,
    VIDEO,
    XMP,
    kind_of_map,
    trailing_items,
)
from adacode_cli.imaging.iso_boxes import Bytes, boxes, placed
from adacode_cli.imaging.tiff_tags import items_of_exif

LIGHT_LEVEL_BOXES = (b"clli", b"mdcv", b"cclv", b"amve", b"ndwt")
"""The kinds of properties on the brightness of an image or of the display on which it was made."""

BOXES, PROPERTIES, METADATA_ITEMS = "boxes", "image properties", "metadata items"
_STORAGE = frozenset({b"ftyp", b"meta", b"mdat", b"idat", b"free", b"skip", b"wide", b"pdin", b"moof", b"sidx"})
_STORAGE_PROPERTIES = frozenset(
    {
        *(b"ispe", b"pixi", b"colr", b"pasp", b"irot", b"imir", b"clap", b"auxC", b"rloc", b"lsel", b"a1lx", b"a1op"),
        *(b"av1C", b"hvcC", b"lhvC", b"avcC", b"vvcC", b"evcC", b"jpgC", b"j2kH", b"cmpC", b"uncC", b"cmpd", b"icef"),
        *(b"tols", b"oinf", b"rref", b"crtt", b"mdft", b"free", b"skip", b"subs"),
    }
)
_IMAGE_KINDS = frozenset(
    {
        *(b"av01", b"hvc1", b"hev1", b"lhv1", b"avc1", b"vvc1", b"evc1", b"jpeg", b"j2k1", b"unci"),
        *(b"grid", b"iovl", b"iden"),
    }
)
_EXIF, _MIME, _URI, _TONE_MAP = b"Exif", b"mime", b"uri ", b"tmap"
_XMP_TYPE = b"application/rdf+xml"
_CREDENTIALS_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_ALPHA = (":alpha", "auxid:1")
_MAX_TEXT = 200
_CONFIGURATION = b"av1C"
_CLAP = struct.Struct(">IIIIiIiI")  # fractions: width, height, and offsets of the centre
_MAX_ITEMS, _BEGINNING_BYTES = 10_000, 256
_RANGE_AT = 10  # after "nclx" and three numbers of 16 bits
_ANIMATION, _STILL = b"avis", b"avif"
_NCLX = b"nclx"
_NCLX_PREFIX = b"colr" + _NCLX
_MAX_ASSOCIATIONS_BYTES = 1 << 20  # of the list of associations; an image of ten thousand tiles has a tenth of it
_PROFILES = (b"prof", b"rICC")
_IN_FILE, _IN_BOX = 0, 1  # construction methods: where the bytes of an item are

BoxPlace = tuple[bytes, int, int]
"""(kind, begin, end) of a box."""


class Meta:
    """The "meta" box, which lists the items of a file; each part is read on first access.

    Properties raise LookupError or struct.error if their part is inconsistent or truncated.
    """

    def __init__(self, file: Bytes, at: int, end: int) -> None:
        self._file = file
        self._parts = list(placed(file, at, end))

    @classmethod
    def of(cls, file: Bytes) -> Meta | None:
        """The box of a file; None if there is none."""
        found = next(((at, end) for kind, at, end in placed(file, 0, len(file)) if kind == b"meta"), None)
        return cls(file, found[0] + 4, found[1]) if found is not None else None

    def read_all(self) -> None:
        """Reads every part now."""
        _ = self.primary, self.kinds, self.links, self.properties, self.associations, self.places

    def has(self, *kinds: bytes) -> bool:
        """Whether all of these parts exist."""
        return {kind for kind, _, _ in self._parts}.issuperset(kinds)

    @cached_property
    def primary(self) -> int:
        """The number of the primary image; 0 if it is not stated."""
        found = 0
        for start, _ in self._all(b"pitm"):
            found = self._number(start + 4, 4 if self._byte(start) else 2)
        return found

    @cached_property
    def kinds(self) -> dict[int, tuple[bytes, bytes]]:
        """Item → (kind, MIME type or URI)."""
        return {item: (kind, which) for item, kind, which, _ in self._entries}

    @cached_property
    def hidden(self) -> frozenset[int]:
        """Items that are not shown on their own."""
        return frozenset(item for item, _, _, is_hidden in self._entries if is_hidden)

    @cached_property
    def links(self) -> list[tuple[bytes, int, list[int]]]:
        """(kind, from which item, to which items)."""
        found = []
        for start, stop in self._all(b"iref"):
            width = 4 if self._byte(start) else 2
            for kind, begin, end in placed(self._file, start + 4, stop):
                numbers = [self._number(at, width) for at in (begin, *range(begin + width + 2, end, width))]
                found.append((kind, numbers[0], numbers[1:]))
        return found

    @cached_property
    def properties(self) -> list[BoxPlace]:
        """The list of properties."""
        lists = (placed(self._file, start, stop) for start, stop in self._all(b"iprp"))
        return [
            place
            for parts in lists
            for kind, start, stop in parts
            if kind == b"ipco"
            for place in placed(self._file, start, stop)
        ]

    @cached_property
    def associations(self) -> dict[int, list[int]]:
        """Item → numbers of its properties, from 1."""
        found: dict[int, list[int]] = {}
        for start, stop in self._all(b"iprp"):
            for kind, begin, end in placed(self._file, start, stop):
                if kind == b"ipma" and end - begin <= _MAX_ASSOCIATIONS_BYTES:
                    _add_associations(bytes(self._file[begin:end]), found)
        return found

    @cached_property
    def places(self) -> dict[int, tuple[int, int, int, int]]:
        """Item → (construction method, number of parts, begin of the first part, its length)."""
        data_at = max((start for start, _ in self._all(b"idat")), default=0)
        found: dict[int, tuple[int, int, int, int]] = {}
        for start, stop in self._all(b"iloc"):
            _add_places(bytes(self._file[start:stop]), data_at, found)
        return found

    def properties_of(self, item: int) -> list[BoxPlace]:
        """The properties of an item."""
        known = self.properties
        return [known[number - 1] for number in self.associations.get(item, ()) if 0 < number <= len(known)]

    def first_tile(self, item: int) -> int | None:
        """The first tile of `item`, if it is composed of tiles."""
        return next((to[0] for kind, source, to in self.links if kind == b"dimg" and source == item and to), None)

    @cached_property
    def _entries(self) -> list[tuple[int, bytes, bytes, bool]]:
        """(item, kind, MIME type or URI, whether it is hidden)."""
        found = []
        for start, stop in self._all(b"iinf"):
            for kind, begin, end in placed(self._file, start + (8 if self._byte(start) else 6), stop):
                if kind == b"infe" and self._byte(begin) >= 2:
                    found.append(self._entry(begin, end))
        return found

    def _entry(self, at: int, end: int) -> tuple[int, bytes, bytes, bool]:
        width = 2 if self._byte(at) == 2 else 4
        kind_at = at + 4 + width + 2
        kind = bytes(self._file[kind_at : kind_at + 4])
        texts = bytes(self._file[kind_at + 4 : min(end, kind_at + 4 + _MAX_TEXT)]).split(b"\0")
        which = texts[1] if kind in (_MIME, _URI) and len(texts) > 1 else b""
        return self._number(at + 4, width), kind, which, bool(self._byte(at + 3) & 1)

    def _all(self, wanted: bytes) -> Iterator[tuple[int, int]]:
        return ((start, stop) for kind, start, stop in self._parts if kind == wanted)

    def _byte(self, at: int) -> int:
        return self._number(at, 1)

    def _number(self, at: int, width: int) -> int:
        return _number(self._file, at, width)


def _number(data: Bytes, at: int, width: int) -> int:
    """An unsigned number of `width` bytes; 0 for no bytes. Raises LookupError beyond the end."""
    found = bytes(data[at : at + width])
    if len(found) < width:
        raise LookupError("a number lies outside the file")
    return int.from_bytes(found, "big")


def _add_associations(content: bytes, associations: dict[int, list[int]]) -> None:
    """Adds, for each item, the numbers of its properties, from 1. Raises struct.error."""
    wide, long_numbers = content[3] & 1, content[:1] != b"\0"
    at = 8
    for _ in range(struct.unpack_from(">I", content, 4)[0]):
        item, count = struct.unpack_from(">IB" if long_numbers else ">HB", content, at)
        at += 5 if long_numbers else 3
        places = struct.unpack_from(f">{count}{'H' if wide else 'B'}", content, at)
        at += count * (2 if wide else 1)
        # The highest bit marks properties that a reader must support.
        associations.setdefault(item, []).extend(place & (0x7FFF if wide else 0x7F) for place in places)


def _add_places(content: bytes, data_at: int, found: dict[int, tuple[int, int, int, int]]) -> None:
    """Adds the location of each item (`Meta.places`). Raises LookupError."""
    version, widths = _number(content, 0, 1), _number(content, 4, 2)
    offset, length, base, index = widths >> 12, widths >> 8 & 15, widths >> 4 & 15, widths & 15 if version else 0
    width = 4 if version > 1 else 2
    place = 6 + width
    for _ in range(min(_number(content, 6, width), _MAX_ITEMS)):
        item, place = _number(content, place, width), place + width
        method = _number(content, place + 1, 1) & 15 if version else _IN_FILE
        place += 4 if version else 2
        start, place = _number(content, place, base), place + base
        parts, place = _number(content, place, 2), place + 2
        if parts:
            begin = start + _number(content, place + index, offset) + (data_at if method == _IN_BOX else 0)
            found[item] = method, parts, begin, _number(content, place + index + offset, length)
        place += parts * (index + offset + length)
        if place > len(content):
            return


def properties(file: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, content) of the properties of the primary image, followed by those of its first tile.

    Empty if there is no list of properties or it is damaged.
    """
    try:
        meta = Meta.of(file)
        if meta is None or not meta.has(b"pitm", b"iprp"):
            return []
        tile = meta.first_tile(meta.primary)
        places = meta.properties_of(meta.primary) + (meta.properties_of(tile) if tile is not None else [])
        return [(kind, file[start:end]) for kind, start, end in places]
    except (LookupError, struct.error):
        return []


def avif_bits(file: bytes, properties: list[tuple[bytes, bytes]]) -> int:
    """8, 10 or 12, by the decoder configuration in `properties`, or else by the first one in the file."""
    at = file.find(_CONFIGURATION)
    first = file[at + 4 : at + 8] if at >= 0 else b""
    content = next((content for kind, content in properties if kind == _CONFIGURATION), first)
    flags = content[2] if len(content) > 2 else 0
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10


def cicp_of(properties: list[tuple[bytes, bytes]]) -> Cicp | None:
    """The CICP colour description in `properties`, or None."""
    for kind, content in properties:
        if kind == b"colr" and content[:4] == _NCLX and len(content) >= 8:
            return Cicp(*struct.unpack_from(">2H", content, 4))
    return None


def beginning_of_primary(file: bytes) -> bytes:
    """The first bytes of the coded primary image, or of its first tile; empty if it cannot be found."""
    try:
        meta = Meta.of(file)
        if meta is None or not meta.has(b"pitm", b"iloc"):
            return b""
        tile = meta.first_tile(meta.primary)
        method, _, begin, _ = meta.places[meta.primary if tile is None else tile]
    except (LookupError, struct.error):
        return b""
    return file[begin : begin + _BEGINNING_BYTES] if method == _IN_FILE else b""


def is_limited(properties: list[tuple[bytes, bytes]]) -> bool:
    """Whether samples have the limited range of video, according to `properties`."""
    return any(
        kind == b"colr" and content[:4] == _NCLX and len(content) > _RANGE_AT and not content[_RANGE_AT] & 0x80
        for kind, content in properties
    )


def crop_of(properties: list[tuple[bytes, bytes]], width: int, height: int) -> tuple[slice, slice]:
    """The rows and columns of the stored image that are visible, according to `properties`.

    All of them if there is no crop, or if it is not within the image or not aligned with pixels.
    """
    content = next((content for kind, content in properties if kind == b"clap" and len(content) >= _CLAP.size), None)
    crop = [slice(0, width), slice(0, height)]
    if content is not None:
        numbers = _CLAP.unpack_from(content)
        if 0 in numbers[1::2]:
            return crop[1], crop[0]
        wide, high, right, below = (Fraction(n, d) for n, d in zip(numbers[::2], numbers[1::2], strict=True))
        for axis, (whole, part, shift) in enumerate(((width, wide, right), (height, high, below))):
            start = (whole - part) / 2 + shift
            if max(start.denominator, part.denominator) > 1 or start < 0 or part < 1 or start + part > whole:
                return slice(0, height), slice(0, width)
            crop[axis] = slice(int(start), int(start + part))
    return crop[1], crop[0]


def lost_of(properties: list[tuple[bytes, bytes]]) -> tuple[str, ...]:
    """The losses among `properties`."""
    return (LIGHT_LEVELS,) if any(kind in LIGHT_LEVEL_BOXES for kind, _ in properties) else ()


def without_frames(file: bytes) -> bytes:
    """An AVIF file without the brand of animations, so that readers use the primary image."""
    head = next(boxes(file), None)
    if head is None or head[0] != b"ftyp" or _ANIMATION not in head[1]:
        return file
    brands = b"".join(
        _STILL if head[1][at : at + 4] == _ANIMATION else head[1][at : at + 4] for at in range(0, len(head[1]), 4)
    )
    return file.replace(head[1], brands, 1)


def with_cicp(file: bytes, cicp: Cicp | None) -> bytes:
    """A file that one of our encoders wrote, with this CICP in its description of colours.

    The encoders do not support other colours than sRGB. Raises ValueError if the description is missing.
    """
    if cicp is None:
        return file
    at, end = file.find(_NCLX_PREFIX), file.find(b"mdat")
    if not 0 < at < end:
        raise ValueError("the encoder wrote no description of the colours")
    at += len(_NCLX_PREFIX)
    return file[:at] + struct.pack(">2H", cicp.primaries, cicp.transfer) + file[at + 4 :]


def header(file: Bytes) -> Header | None:
    """The header of the primary image, from its properties."""
    meta = Meta.of(file)
    if meta is None:
        return None
    places = meta.properties_of(meta.primary)
    found = [(kind, bytes(file[start : min(end, start + 64)])) for kind, start, end in places]
    own, numbers = dict(found), cicp_of(found)
    width, height = struct.unpack_from(">II", own[b"ispe"], 4)
    if b"clap" in own:
        across, across_under, down, down_under = struct.unpack_from(">4I", own[b"clap"])
        width, height = across // across_under, down // down_under
    count, *bits = own.get(b"pixi", bytes([0, 0, 0, 0, 3, 8]))[4:]
    has_profile = any(kind == b"colr" and content[:4] in _PROFILES for kind, content in found)
    metadata = frozenset({"icc"} if has_profile else ())
    counts = numbers is not None and (numbers.is_hdr or not has_profile)
    return Header(width, height, 1 if count < 3 else 3, bits[0], metadata=metadata, cicp=numbers if counts else None)


def items(file: bytes) -> Iterator[Item]:
    """The items of an AVIF or HEIC file. Raises struct.error or LookupError if it is inconsistent."""
    end, kinds = 0, 0
    for kind, start, end in placed(file, 0, len(file)):
        kinds += kind == b"ftyp"
        if kind == b"meta":
            meta = Meta(file, start + 4, end)
            meta.read_all()
            yield from _of_meta(file, meta)
        elif kind == b"moov":
            if _max_samples(file, start, end) > 1:
                yield FRAMES, ""
        elif kind == b"mpvd":
            yield VIDEO, ""
        elif kind == b"uuid" and file.startswith(_CREDENTIALS_UUID, start):
            yield CREDENTIALS, ""
        elif kind not in _STORAGE:
            yield BOXES, _text(kind)
    if kinds > 1:  # Another file follows.
        yield VIDEO, ""
    yield from trailing_items(file, end)


def _of_meta(file: bytes, meta: Meta) -> Iterator[Item]:
    packets = 0
    # Metadata of other images are left out with these.
    described = {item: targets for kind, item, targets in meta.links if kind == b"cdsc"}
    own = {item: kind for item, kind in meta.kinds.items() if meta.primary in described.get(item, (meta.primary,))}
    exif = next((item for item, (kind, _) in own.items() if kind == _EXIF), 0)
    _, parts, at, length = meta.places.get(exif, (_IN_FILE, 0, 0, 0))
    if parts == 1:
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
        elif kind != _EXIF and kind not in _IMAGE_KINDS:
            yield METADATA_ITEMS, _text(kind)
    if packets > 1:
        yield FURTHER_PACKET, ""
    yield from _images(file, meta)
    for kind, start, _ in meta.properties_of(meta.primary):
        if kind == b"colr" and file[start : start + 4] in _PROFILES:
            yield COLOR_PROFILE, ""
        elif kind in LIGHT_LEVEL_BOXES:
            yield LIGHT_LEVELS, ""
        elif kind not in _STORAGE_PROPERTIES:
            yield PROPERTIES, _text(kind)


def _images(file: bytes, meta: Meta) -> Iterator[Item]:
    """Images other than the primary one that are neither tiles nor thumbnails."""
    others = {item for item, (kind, _) in meta.kinds.items() if kind in _IMAGE_KINDS} - {meta.primary}
    shown = others - meta.hidden
    for kind, item, targets in meta.links:
        if kind == b"dimg":
            shown -= set(targets)
        elif kind == b"thmb":
            shown.discard(item)
        elif kind == b"auxl" and item in others:
            others.discard(item)
            shown.discard(item)
            for named, start, end in meta.properties_of(item):
                which = file[start + 4 : min(end, start + 4 + _MAX_TEXT)].partition(b"\0")[0].decode("latin-1")
                if named == b"auxC" and not which.endswith(_ALPHA):
                    yield kind_of_map(which), ""
    if shown:
        yield IMAGES, str(len(shown))


def _max_samples(file: bytes, at: int, end: int) -> int:
    """The largest number of samples (frames) of a track in a sequence."""
    maximum = 0
    waiting = [(at, end)]
    while waiting:
        for kind, start, stop in placed(file, *waiting.pop()):
            if kind in (b"trak", b"mdia", b"minf", b"stbl"):
                waiting.append((start, stop))
            elif kind == b"stsz":
                maximum = max(maximum, _number(file, start + 8, 4))
    return maximum


def _text(data: bytes) -> str:
    return data.decode("latin-1").strip()
