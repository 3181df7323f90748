"""The tags of an EXIF block as names and values that a person can read."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

from PIL import ExifTags, Image

_DIRECTORIES = ((ExifTags.IFD.Exif, ExifTags.TAGS), (ExifTags.IFD.GPSInfo, ExifTags.GPSTAGS))
# Pointers to directories and old thumbnails, and maker notes, which are no texts.
_LEFT_OUT = frozenset({34665, 34853, 40965, 513, 514, 37500})
_MOST_TAGS = 80
_MOST_CHARACTERS = 200
_MOST_BYTES = 64
# What Pillow's reader raises for damaged blocks.
_DAMAGE = (ValueError, TypeError, KeyError, IndexError, SyntaxError, OSError, ArithmeticError, struct.error)


def exif_text(block: bytes | None) -> list[tuple[str, str]]:
    """(name, value) of the tags of a TIFF-structured block; those in front of damage. Long values are cut off."""
    if block is None:
        return []
    texts: list[tuple[str, str]] = []
    try:
        for name, value in _tags(block):
            if text := _text(value):
                texts.append((name, text))
            if len(texts) == _MOST_TAGS:
                break
    except _DAMAGE:
        pass
    return texts


def _tags(block: bytes) -> Iterator[tuple[str, Any]]:
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + block)
    yield from _named(exif.items(), ExifTags.TAGS)
    for directory, names in _DIRECTORIES:
        yield from _named(exif.get_ifd(directory).items(), names)


def _named(tags: Iterable[tuple[int, Any]], names: dict[int, str]) -> Iterator[tuple[str, Any]]:
    for code, value in tags:
        if code not in _LEFT_OUT:
            yield names.get(code, f"Tag {code}"), value


def _text(value: object) -> str:
    if isinstance(value, bytes):
        if len(value) > _MOST_BYTES:
            return f"{len(value)} bytes"
        return value.rstrip(b"\0 ").decode("latin-1")
    if isinstance(value, tuple):
        return ", ".join(map(_text, value[:8]))[:_MOST_CHARACTERS]
    text = str(value).rstrip("\0 ")
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
