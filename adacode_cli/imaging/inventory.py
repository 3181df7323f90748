"""Lists the information in a file other than pixels, item by item, to compare the written file with its source.

`stated` lists the items of a file of any format. An item that the input has and the output does not is a loss, also if
this program does not know its kind. Information on the stored pixels or the old file itself (sizes, compression,
orientation, thumbnails, times of writing, states of a program) is not an item: the module that lists the
items of a format defines this. No pixel is decoded here, and the time is at most proportional to the size of the file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from adacode_cli.formats import Format
from adacode_cli.imaging.codec import codec_of
from adacode_cli.imaging.image import Item

FURTHER_PACKET = "a further XMP packet"
COLOR_PROFILE, EXIF, XMP, IPTC = "ICC profile", "EXIF", "XMP", "IPTC"
ADOBE_RGB = "Adobe RGB (InteropIndex R03)"
GEOGRAPHY = "GeoTIFF tags"
TIFF_TAGS = "TIFF tags"
COMMENT = "its comment"
GAIN_MAP, DEPTH_MAP, AUXILIARY = "its gain map", "its depth map", "its other auxiliary images"
CREDENTIALS = "its content credentials (C2PA)"
VIDEO = "its video"
CHANNELS = "extra channels"
FRAMES, IMAGES = "further frames", "further images"

_PADDING = re.compile(rb"[\0\s\xff]*+\Z")
_VIDEO = re.compile(rb"ftyp(?:mp4|iso|avc|qt  |MSNV|M4V|hvc)|mpvd")
_HEAD_BYTES = 1 << 16
# The names used by Adobe and Google, by ISO and by Apple.
_MAPS = (
    (GAIN_MAP, re.compile(rb"hdr-gain-map|iso:ts:21496|hdrgainmap", re.IGNORECASE)),
    (DEPTH_MAP, re.compile(rb"aux(?:iliary|id)?:(?:depth|disparity|2\Z)")),
)

_MAX_ITEMS = 2000  # of a page; regular files have less than a tenth
_MAX_NAMES = 5  # in a message
_MAX_NAME = 40

_DAMAGE = (struct.error, LookupError, ValueError, OverflowError)
"""Errors for truncated or inconsistent files; items that were found before are used."""

_CARRIED = frozenset({ADOBE_RGB, COLOR_PROFILE, EXIF, GEOGRAPHY, IPTC, XMP})
"""The groups that some output format can hold; no format holds items of other groups."""

_INSTEAD = {ADOBE_RGB: COLOR_PROFILE}
"""Groups that are replaced by equivalent ones."""

# Words in the losses that readers report for the same information.
_OTHER_WORDS = {
    COLOR_PROFILE: ("ICC", "converted to"),
    ADOBE_RGB: ("ICC",),  # It is replaced by a profile.
    XMP: ("XMP",),
    FURTHER_PACKET: ("XMP",),
    GAIN_MAP: ("gain map", "auxiliary maps"),
    DEPTH_MAP: ("depth map", "auxiliary maps"),
    AUXILIARY: ("auxiliary",),
    CHANNELS: ("extra channel",),
    FRAMES: ("frame",),
    IMAGES: (r"(\d|further) images", "frame", "page"),
}
_WHOLLY_LOST = ("metadata of", "metadata (")


def stated(
    data: bytes, format: Format, first_page: int = 0, num_pages: int | None = None
) -> tuple[tuple[Item, ...], ...]:
    """The items of each page of a file, each once, in the order of the file.

    They are of `num_pages` pages from `first_page` on; None: of all. In a damaged file, items before the damage count.
    """
    end = None if num_pages is None else first_page + num_pages
    return tuple(_listed(page) for page in islice(codec_of(format).items(data), first_page, end))


def _listed(items: Iterator[Item]) -> tuple[Item, ...]:
    unique: dict[Item, None] = {}
    try:
        for group, name in items:
            unique[group, _shown(name)] = None
            if len(unique) >= _MAX_ITEMS:
                break
    except _DAMAGE:
        pass
    return tuple(unique)


def missing(before: Iterable[Item], after: Iterable[Item], known: Sequence[str]) -> tuple[str, ...]:
    """The losses from items `before` to items `after`, in words, without those that `known` reports already."""
    remaining: dict[str, set[str]] = {}
    for group, name in after:
        remaining.setdefault(group, set()).add(name)
    lost: dict[str, list[str]] = {}
    for group, name in before:
        left = remaining.get(group, set())
        if name not in left and (name or not left):
            lost.setdefault(group, []).append(name)
    return tuple(
        _in_words(group, names)
        for group, names in lost.items()
        if not _is_known(group, known) and _INSTEAD.get(group) not in remaining
    )


def certain(before: Iterable[Item], known: Sequence[str], *, with_geography: bool) -> tuple[str, ...]:
    """The items `before` that no format can keep, in words, without those that `known` reports already.

    with_geography: whether GeoTIFF tags will be written.
    """
    kept = _CARRIED if with_geography else _CARRIED - {GEOGRAPHY}
    return missing((item for item in before if item[0] not in kept), (), known)


def _is_known(group: str, known: Sequence[str]) -> bool:
    words = _OTHER_WORDS.get(group, (re.escape(group),))
    return any(what.startswith(_WHOLLY_LOST) or any(re.search(word, what) for word in words) for what in known)


def _in_words(group: str, names: list[str]) -> str:
    shown = [name for name in names if name]
    more = f" and {len(shown) - _MAX_NAMES} more" if len(shown) > _MAX_NAMES else ""
    return f"{group} ({', '.join(shown[:_MAX_NAMES])}{more})" if shown else group


def _shown(name: str) -> str:
    """A name from a file, shortened and printable."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_MAX_NAME])


def trailing_items(data: bytes, at: int) -> Iterator[Item]:
    """The items in the bytes that follow the image in a file, from `at`; padding is not an item."""
    if at >= len(data) or _PADDING.match(data, at) is not None:
        return
    if _VIDEO.search(data, at) is not None:
        yield VIDEO, ""
    else:
        yield "bytes after its end", str(len(data) - at)


def map_at(file: bytes, at: int) -> str | None:
    """The group of the image at `at` in a file, if it is a map (gain, depth) of another image."""
    head = file[at : at + _HEAD_BYTES]
    return next((group for group, words in _MAPS if words.search(head) is not None), None)


def kind_of_map(name: str) -> str:
    """The group of an auxiliary image with the type `name`."""
    return next((group for group, words in _MAPS if words.search(name.encode()) is not None), AUXILIARY)
