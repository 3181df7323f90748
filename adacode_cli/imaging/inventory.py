"""What a file says beside its pixels, item by item, so that the written file can be held against the one that was read.

`stated` lists the items of a file of any format. What the input states and the output does not is lost, whatever it is:
nobody has to foresee it. What describes the stored pixels or the old file itself (sizes, compression, orientation,
thumbnails, times of writing, states of a program) follows the picture and is no item: the modules `inventory_*` say
for each format what that is. Nothing here decodes a pixel, and the work grows with the bytes of a file at the most.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

from adacode_cli.imaging import inventory_boxes, inventory_chunks, inventory_heif, inventory_jpeg, inventory_tags
from adacode_cli.imaging.inventory_items import (
    ADOBE_RGB,
    AUXILIARY,
    CHANNELS,
    COLOR_PROFILE,
    DEPTH_MAP,
    EXIF,
    FRAMES,
    FURTHER_PACKET,
    GAIN_MAP,
    GEOGRAPHY,
    IPTC,
    PICTURES,
    XMP,
    Item,
)

_MOST_ITEMS = 2000  # of a page; no file that is not made to do harm has a tenth of them
_MOST_NAMES = 5  # that a person is told
_LONGEST_NAME = 40

_LISTS: dict[str, Callable[[bytes], Iterator[Item]]] = {
    "jpeg": inventory_jpeg.items,
    "png": inventory_chunks.items_of_png,
    "webp": inventory_chunks.items_of_webp,
    "bmp": inventory_chunks.items_of_bmp,
    "jp2": inventory_boxes.items,
    "avif": inventory_heif.items,
    "heic": inventory_heif.items,
}
_DAMAGE = (struct.error, LookupError, ValueError, OverflowError)
"""What the lists raise where a file breaks off or contradicts itself; what they have found before that counts."""

_CARRIED = frozenset({ADOBE_RGB, COLOR_PROFILE, EXIF, GEOGRAPHY, IPTC, XMP})
"""The groups that some output holds; what else there is no output holds."""

_INSTEAD = {ADOBE_RGB: COLOR_PROFILE}
"""Groups in whose place others say the same."""

# What a loss of the same thing is called where a reader has named it already.
_OTHER_WORDS = {
    COLOR_PROFILE: ("ICC", "converted to"),
    ADOBE_RGB: ("ICC",),  # a profile is made of it
    XMP: ("XMP",),
    FURTHER_PACKET: ("XMP",),
    GAIN_MAP: ("gain map", "auxiliary maps"),
    DEPTH_MAP: ("depth map", "auxiliary maps"),
    AUXILIARY: ("auxiliary",),
    CHANNELS: ("extra channel",),
    FRAMES: ("frame",),
    PICTURES: ("picture", "frame", "page"),
}
_WHOLLY_LOST = ("metadata of", "metadata (")


def stated(data: bytes, format: str) -> tuple[tuple[Item, ...], ...]:
    """The items of each page of a `format` file, in the order in which they were found, each once.

    Of a TIFF, pages are those that `tiff_reader` reads. A damaged file has the items that come before the damage.
    """
    if format == "tiff":
        return tuple(_listed(page) for page in inventory_tags.pages(data))
    return (_listed(_LISTS[format](data)),)


def _listed(items: Iterator[Item]) -> tuple[Item, ...]:
    found: dict[Item, None] = {}
    try:
        for group, name in items:
            found[group, _shown(name)] = None
            if len(found) >= _MOST_ITEMS:
                break
    except _DAMAGE:
        pass
    return tuple(found)


def missing(before: Iterable[Item], after: Iterable[Item], known: Sequence[str]) -> tuple[str, ...]:
    """What a file of the items `before` has lost in one of `after`, in words; without what `known` says already."""
    there: dict[str, set[str]] = {}
    for group, name in after:
        there.setdefault(group, set()).add(name)
    gone: dict[str, list[str]] = {}
    for group, name in before:
        left = there.get(group, set())
        if name not in left and (name or not left):
            gone.setdefault(group, []).append(name)
    return tuple(
        _in_words(group, names)
        for group, names in gone.items()
        if not _is_known(group, known) and _INSTEAD.get(group) not in there
    )


def certain(before: Iterable[Item], known: Sequence[str], *, with_geography: bool) -> tuple[str, ...]:
    """What of the items `before` is surely lost, in words, as no format keeps it; without what `known` says already.

    `with_geography`: whether the place on the earth is among what will be written.
    """
    kept = _CARRIED if with_geography else _CARRIED - {GEOGRAPHY}
    return missing((item for item in before if item[0] not in kept), (), known)


def _is_known(group: str, known: Sequence[str]) -> bool:
    words = _OTHER_WORDS.get(group, (group,))
    return any(what.startswith(_WHOLLY_LOST) or any(word in what for word in words) for what in known)


def _in_words(group: str, names: list[str]) -> str:
    told = [name for name in names if name]
    more = f" and {len(told) - _MOST_NAMES} more" if len(told) > _MOST_NAMES else ""
    return f"{group} ({', '.join(told[:_MOST_NAMES])}{more})" if told else group


def _shown(name: str) -> str:
    """A name that comes from a file, as a line of a report can hold it."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_LONGEST_NAME])
