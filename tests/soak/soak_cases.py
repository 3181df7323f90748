"""Mutated files without end: case N of a seed is the same bytes each time, with the same libraries.

Half of the mutations are those of tests/fuzz, which know nothing of formats; the others know where parts of files lie
(soak_parts) and what metadata look like, and leave a file that a reader follows further.
"""

from __future__ import annotations

import random
import struct
import sys
import zlib
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ImageCms
from soak_parts import Part, parts_of, repaired

for folder in ("fuzz", "codes"):
    sys.path.insert(0, str(Path(__file__).parent.parent / folder))

import mutated_images  # noqa: E402 (of tests/fuzz)
from made_codes import made_codes  # noqa: E402 (of tests/codes)

from adacode_cli import formats  # noqa: E402
from adacode_cli.codes.file import to_bytes  # noqa: E402
from adacode_cli.imaging.encode import encode  # noqa: E402
from adacode_cli.imaging.image import Decoded  # noqa: E402
from adacode_cli.imaging.provenance import HistoryEntry, attributed  # noqa: E402
from adacode_cli.imaging.resolution import INCH, Resolution  # noqa: E402

KINDS = (*formats.names(), "codes")
ENTRY = HistoryEntry("sr-x2", "compact", "0" * 64)
_LONGEST = 120_000
# Of what is quadratic in them, these take seconds.
_LONG_TEXTS = (
    b" " * 50_000,
    b"\n" * 50_000,
    b"<rdf:Seq>" * 5000,
    b"&amp;" * 10_000,
    b"<!--" * 12_000,
    b"a='1' " * 8000,
)
_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 16, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_TEXTS = (
    b" " * 3000, b"\n" * 500, b"\t", b"\0", b"\x01", b"\x1b[2J", b"<", b">", b"&", b"&amp;", b"&#0;", b"&#x1F600;",
    b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<!DOCTYPE a [<!ENTITY b 'cccccccc'>]>", b"&b;", b"<?xpacket end='w'?>",
    b"<rdf:li>", b"</rdf:li>", b"xmlns:tiff='x' ", b"'", b'"', b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xae", b"=",
    b"tiff:Orientation='6' ", b"<rdf:Seq>" * 200, b"xmpMM:History", b"rdf:parseType='Resource' ",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One mutated file: `kind` is a format of images or "codes", `of` what it was made from."""

    number: int
    kind: str
    of: str
    data: bytes


def case(seed: int, number: int) -> Case:
    """Case `number` of `seed`; the kinds take turns."""
    kind = KINDS[number % len(KINDS)]
    dice = random.Random(f"soak/{seed}/{number}")
    of = dice.choice([name for name in seeds() if name.split("-")[0] == kind])
    data = seeds()[of]
    if dice.random() < 0.3:
        data = mutated_images.damaged(data, _others(kind, dice), dice)
    else:
        for _ in range(dice.choice((1, 1, 1, 2, 3, 5))):
            data = _structurally(data, kind, dice)[:_LONGEST]
    if dice.random() < (0.9 if kind == "codes" else 0.6):
        data = repaired(data, kind)
    return Case(number, kind, of, data)


@cache
def seeds() -> dict[str, bytes]:
    """Small files of every kind by name; the name begins with the kind."""
    return mutated_images.seeds() | _full_of_metadata() | _codes()


@cache
def _files(kind: str) -> list[bytes]:
    return [data for name, data in seeds().items() if name.split("-")[0] == kind or not kind]


def _others(kind: str, dice: random.Random) -> list[bytes]:
    return _files(kind if dice.random() < 0.9 else "")


def _structurally(data: bytes, kind: str, dice: random.Random) -> bytes:
    way = dice.randrange(10)
    if way == 0:
        if kind == "png" and dice.random() < 0.1:
            return _with_packed_text(data, dice)
        return _in_text(data, kind, dice)
    if way == 1:
        return _number_somewhere(data, dice)
    parts = parts_of(data, kind)
    if not parts:
        return _number_somewhere(data, dice)
    part = dice.choice(parts)
    if way < 5 and part.length_bytes:
        return _other_length(data, part, dice)
    return _WAYS[dice.randrange(len(_WAYS))](data, part, parts, kind, dice)


def _other_length(data: bytes, part: Part, dice: random.Random) -> bytes:
    size = {2: "H", 4: "I"}[part.length_bytes]
    if part.length_at + part.length_bytes > len(data):
        return data
    (old,) = struct.unpack_from(part.order + size, data, part.length_at)
    new = dice.choice((old + 1, old - 1, old * 2, old // 2, old + dice.randrange(1, 100), dice.choice(_NUMBERS)))
    changed = bytearray(data)
    struct.pack_into(part.order + size, changed, part.length_at, new % (1 << 8 * part.length_bytes))
    return bytes(changed)


def _again(data: bytes, part: Part, _: list[Part], __: str, dice: random.Random) -> bytes:
    """The part stands there several times, sometimes very many."""
    piece = data[part.start : part.stop]
    times = min(dice.choice((1, 1, 2, 10, 200)), _LONGEST // max(1, len(piece)))
    return data[: part.stop] + piece * times + data[part.stop :]


def _without(data: bytes, part: Part, _: list[Part], __: str, ___: random.Random) -> bytes:
    return data[: part.start] + data[part.stop :]


def _swapped(data: bytes, part: Part, parts: list[Part], _: str, dice: random.Random) -> bytes:
    first, second = sorted((part, dice.choice(parts)), key=lambda p: p.start)
    if first.stop > second.start:
        return data
    return b"".join(
        (data[: first.start], data[second.start : second.stop], data[first.stop : second.start],
         data[first.start : first.stop], data[second.stop :])
    )  # fmt: skip


def _copied_over(data: bytes, part: Part, parts: list[Part], _: str, dice: random.Random) -> bytes:
    """One part overwrites another of its size, as far as both reach: entries and fields of headers change places."""
    other = dice.choice(parts)
    length = min(part.stop - part.start, other.stop - other.start)
    return data[: other.start] + data[part.start : part.start + length] + data[other.start + length :]


def _moved(data: bytes, part: Part, parts: list[Part], _: str, dice: random.Random) -> bytes:
    other = dice.choice(parts)
    if other.start >= part.stop:
        return data[: part.start] + data[part.stop : other.start] + data[part.start : part.stop] + data[other.start :]
    at = min(other.start, part.start)
    return data[:at] + data[part.start : part.stop] + data[at : part.start] + data[part.stop :]


def _cut_inside(data: bytes, part: Part, _: list[Part], __: str, dice: random.Random) -> bytes:
    at = dice.randrange(part.start, part.stop) if part.stop > part.start else part.start
    return data[:at] + (b"" if dice.random() < 0.3 else data[part.stop :])


def _noise_inside(data: bytes, part: Part, _: list[Part], __: str, dice: random.Random) -> bytes:
    length = part.stop - part.start
    start = part.start + min(length, dice.choice((0, 4, 8)))
    stop = min(part.stop, start + dice.choice((1, 2, 4, 16, 64, 1 << 16)))
    fill = dice.choice((b"\0", b"\xff", b""))
    middle = fill * (stop - start) if fill else dice.randbytes(max(0, stop - start))
    return data[:start] + middle + data[stop:]


def _number_inside(data: bytes, part: Part, _: list[Part], __: str, dice: random.Random) -> bytes:
    start, stop = part.start, max(part.start + 4, min(part.stop, part.start + 40))
    return _with_number(data, dice.randrange(start, stop), dice)


def _of_another(data: bytes, part: Part, _: list[Part], kind: str, dice: random.Random) -> bytes:
    """The part of another file of the kind in its place or beside it."""
    other = dice.choice(_others(kind, dice))
    theirs = parts_of(other, kind)
    if not theirs:
        return data
    piece = dice.choice(theirs)
    stop = dice.choice((part.start, part.stop))
    return data[: part.start] + other[piece.start : piece.stop] + data[stop:]


_WAYS = (
    _again, _without, _swapped, _copied_over, _moved, _cut_inside, _noise_inside, _number_inside, _number_inside,
    _of_another,
)  # fmt: skip


def _number_somewhere(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(max(1, len(data))) if dice.random() < 0.4 else dice.randrange(min(len(data), 200) or 1)
    return _with_number(data, at, dice)


def _with_number(data: bytes, at: int, dice: random.Random) -> bytes:
    form = dice.choice("<>") + dice.choice("BHI")
    size = struct.calcsize(form)
    number = dice.choice(_NUMBERS) % (1 << 8 * size)
    return data[:at] + struct.pack(form, number) + data[at + size :]


def _in_text(data: bytes, kind: str, dice: random.Random) -> bytes:
    """Inside an XMP packet, where there is one: more of its own text, or what parsers stumble over."""
    start = data.find(b"<x:xmpmeta")
    end = data.find(b"</x:xmpmeta>")
    if start < 0 or end <= start:
        return _number_somewhere(data, dice)
    at = dice.randrange(start, end)
    stop = min(end, at + dice.choice((0, 0, 0, 1, 4, 40)))
    if dice.random() < 0.5:
        piece = dice.choice(_LONG_TEXTS if dice.random() < 0.1 else _TEXTS)
    else:
        begin = dice.randrange(start, end)
        piece = data[begin : min(end, begin + dice.choice((5, 50, 500)))]
    if stop - at < len(piece) and dice.random() < 0.5:  # in place: no length outside changes
        piece, stop = piece[: end - at], at + min(len(piece), end - at)
    if dice.random() < 0.8:
        data = _longer(data, kind, at, len(piece) - (stop - at))
    return data[:at] + piece + data[stop:]


def _longer(data: bytes, kind: str, at: int, by: int) -> bytes:
    """The lengths of all parts around `at` say that there are so many bytes more."""
    changed = bytearray(data)
    for part in parts_of(data, kind):
        if part.length_bytes and part.start < at < part.stop and part.length_at + part.length_bytes <= len(data):
            form = part.order + {2: "H", 4: "I"}[part.length_bytes]
            (old,) = struct.unpack_from(form, data, part.length_at)
            struct.pack_into(form, changed, part.length_at, (old + by) % (1 << 8 * part.length_bytes))
    return bytes(changed)


def _with_packed_text(data: bytes, dice: random.Random) -> bytes:
    """A PNG with an XMP packet, or another text, that is packed and becomes many times as long."""
    text = _XMP if dice.random() < 0.7 else b"<x:xmpmeta"
    at = dice.randrange(len(text))
    text = text[:at] + dice.choice((b" ", b"<", b"&#32;", b"<a>")) * dice.choice((1000, 30_000, 1_000_000)) + text[at:]
    key = dice.choice((b"XML:com.adobe.xmp", b"Raw profile type exif", b"Comment"))
    packed = zlib.compress(text, 9)
    kind, content = dice.choice(((b"iTXt", key + b"\0\1\0\0\0" + packed), (b"zTXt", key + b"\0\0" + packed)))
    chunk = kind + content
    return data[:33] + struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def _full_of_metadata() -> dict[str, bytes]:
    """An image with every kind of metadata in every format, as far as each holds it."""
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (20, 24, 3)).astype(np.uint8) // 4 + 90
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    resolution = Resolution(Fraction(300), Fraction(240), INCH)
    found = {}
    for order in "<>":
        image = Decoded(
            rgb, icc=icc, exif=_exif(order), xmp=_XMP, iptc=b"\x1c\x01Z\0\3\x1b%G" + b"\x1c\x02\x19\0\4\xc3\xa9ab",
            resolution=resolution,
        )  # fmt: skip
        for format in formats.names():
            found[f"{format}-full{order}"] = encode(image, format=format)
    grey = attributed(Decoded(rgb[..., 0].copy(), rgb[..., 1].copy(), exif=_exif("<"), xmp=_XMP), ENTRY)
    for format in ("png", "tiff", "jp2", "webp", "heic", "avif"):
        found[f"{format}-greyfull"] = encode(grey, format=format)
    more = replace(grey, page=1)
    found["tiff-morefull"] = encode(replace(grey, more_pages=(more,)), format="tiff")
    return found


def _exif(order: str) -> bytes:
    """IFD0, Exif with a maker's note, GPS, and IFD1 with a thumbnail, one behind the other."""
    thumbnail = b"\xff\xd8\xff\xdb" + bytes(40) + b"\xff\xd9"
    texts = {0x010E: b"by the sea\0\0", 0x010F: b"Maker & Co\0\0", 0x0131: b"Some Program\0"}
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    directories = ([*texts, 0x0112, 0x011A, 0x011B, 0x8769, 0x8825], [0x9003, 0x927C, 0xA002, 0xA003], [1, 2], [0x0201])
    sizes = [2 + 12 * (len(tags) + (tags == [0x0201])) + 4 for tags in directories]
    starts = [8 + sum(sizes[:number]) for number in range(4)]
    free, heap = 8 + sum(sizes), b""
    body = b""
    for number, tags in enumerate(directories):
        entries = []
        for tag in tags:
            kind, count, value = _entry(tag, order, texts, starts, thumbnail)
            if len(value) > 4:
                at = free + len(heap)
                heap += value + b"\0" * (len(value) % 2)
                value = struct.pack(f"{order}I", at)
                if tag == 0x0201:
                    entries.append(struct.pack(f"{order}HHI", 0x0202, 4, 1) + struct.pack(f"{order}I", len(thumbnail)))
            entries.insert(
                0 if tag == 0x0201 else len(entries),
                struct.pack(f"{order}HHI", tag, kind, count) + value.ljust(4, b"\0"),
            )
        following = starts[3] if number == 0 else 0
        body += struct.pack(f"{order}H", len(entries)) + b"".join(entries) + struct.pack(f"{order}I", following)
    return head + body + heap


def _entry(
    tag: int, order: str, texts: dict[int, bytes], starts: list[int], thumbnail: bytes
) -> tuple[int, int, bytes]:
    """Type, count and value of a tag; a value of more than four bytes lies elsewhere."""
    if tag in texts:
        return 2, len(texts[tag]), texts[tag]
    rational = struct.pack(f"{order}II", 300, 1)
    values = {
        0x0112: (3, 1, struct.pack(f"{order}H", 6)),
        0x011A: (5, 1, rational),
        0x011B: (5, 1, rational),
        0x8769: (4, 1, struct.pack(f"{order}I", starts[1])),
        0x8825: (4, 1, struct.pack(f"{order}I", starts[2])),
        0x9003: (2, 20, b"2021:03:04 05:06:07\0"),
        0x927C: (7, 60, bytes(range(60))),
        0xA002: (4, 1, struct.pack(f"{order}I", 24)),
        0xA003: (3, 1, struct.pack(f"{order}H", 20)),
        1: (2, 2, b"N\0"),
        2: (5, 3, rational * 3),
        0x0201: (4, 1, thumbnail),
    }
    return values[tag]


_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
 tiff:Orientation="6" tiff:XResolution="300/1" tiff:YResolution="240/1" exif:PixelXDimension="24" tiff:ImageWidth="24"
 xmp:CreatorTool="Some Program &amp; more"><exif:PixelYDimension>20</exif:PixelYDimension>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Am Meer \u6d77</rdf:li></rdf:Alt></dc:title>
<xmpMM:History><rdf:Seq><rdf:li rdf:parseType="Resource"><stEvt:action>saved</stEvt:action></rdf:li></rdf:Seq>
</xmpMM:History></rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""".encode()


def _codes() -> dict[str, bytes]:
    rng = np.random.default_rng(2)
    alpha = rng.integers(0, 256, (24, 32)).astype(np.uint8)
    found = {
        "codes-plain": made_codes(37, 50),
        "codes-full": made_codes(24, 32, books=(512,) * 5, alpha=alpha, icc=b"icc" * 9, exif=_exif("<"), xmp=_XMP),
        "codes-deep": made_codes(24, 32, dtype=np.uint16, exif=_exif(">"), iptc=b"\x1c\x02\x19\0\1a"),
        "codes-float": made_codes(16, 16, dtype=np.float32, alpha=(alpha[:16, :16] / 255).astype(np.float32)),
    }
    return {name: to_bytes(codes) for name, codes in found.items()}
