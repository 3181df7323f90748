"""What an inventory consists of, and what the lists for the formats have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator

Item = tuple[str, str]
"""(group, name): what a person calls such things, and which of them it is, or "" where there is no more to say."""

FURTHER_PACKET = "a further XMP packet"
COLOR_PROFILE, EXIF, XMP, IPTC = "ICC profile", "EXIF", "XMP", "IPTC"
ADOBE_RGB = "Adobe RGB (InteropIndex R03)"
GEOGRAPHY = "GeoTIFF tags"
TIFF_TAGS = "TIFF tags"
COMMENT = "its comment"
GAIN_MAP, DEPTH_MAP, AUXILIARY = "its gain map", "its depth map", "its other auxiliary pictures"
CREDENTIALS = "its content credentials (C2PA)"
VIDEO = "its video"
CHANNELS = "extra channels"
FRAMES, PICTURES = "further frames", "further pictures"

_PADDING = re.compile(rb"[\0\s\xff]*+\Z")
_VIDEO = re.compile(rb"ftyp(?:mp4|iso|avc|qt  |MSNV|M4V|hvc)|mpvd")
_HEAD_BYTES = 1 << 16
# As Adobe and Google, ISO and Apple say it.
_MAPS = (
    (GAIN_MAP, re.compile(rb"hdr-gain-map|iso:ts:21496|hdrgainmap", re.IGNORECASE)),
    (DEPTH_MAP, re.compile(rb"aux(?:iliary|id)?:(?:depth|disparity|2\Z)")),
)


def behind(data: bytes, at: int) -> Iterator[Item]:
    """The items in the bytes of a file behind its picture, from `at`: filling says nothing."""
    if at >= len(data) or _PADDING.match(data, at) is not None:
        return
    if _VIDEO.search(data, at) is not None:
        yield VIDEO, ""
    else:
        yield "bytes behind its end", str(len(data) - at)


def map_at(file: bytes, at: int) -> str | None:
    """The group of the picture at `at` of a file, if its head says that it is a map that belongs to another one."""
    head = file[at : at + _HEAD_BYTES]
    return next((group for group, words in _MAPS if words.search(head) is not None), None)


def kind_of_map(name: str) -> str:
    """The group of an auxiliary picture whose kind has the formal name `name`."""
    return next((group for group, words in _MAPS if words.search(name.encode()) is not None), AUXILIARY)
