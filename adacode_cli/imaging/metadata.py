"""Metadata of an image: one value for all of it, how much of it a file may bring, and how it follows the pixels.

Pixels are turned upright once and may become more; everything that speaks of them (orientation, resolution, sizes,
thumbnails) follows, wherever it is said twice or thrice. All else is carried as it is.

Blocks that are larger than `limits` allows are left out and named as lost, before anything works on them: so all work
on metadata takes about a second at the most, and needs no other limit on its time, whichever process it runs in.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction

from adacode_cli.imaging import exif as exif_blocks
from adacode_cli.imaging import exif_editing, geotiff, xmp_editing
from adacode_cli.imaging.cicp import Cicp
from adacode_cli.imaging.resolution import Resolution
from adacode_cli.limits import MAX_METADATA_BYTES, MAX_SUM_OF_METADATA_BYTES, MIB

TITLES = {
    "icc": "ICC profile",
    "exif": "EXIF",
    "xmp": "XMP",
    "iptc": "IPTC",
    "resolution": "resolution",
    "cicp": "CICP colour description",
}
"""What each field of `Metadata` is called where a person reads it."""

EXIF_DAMAGED = "damaged EXIF"
ICC_DAMAGED = "damaged ICC profile"
_ORIENTATIONS = (1, 2, 3, 4, 5, 6, 7, 8)
XMP_DAMAGED_NOTE = "its XMP is damaged and was kept unchanged"


@dataclass(frozen=True)
class Metadata:
    """icc, xmp: as stored. exif: a TIFF-structured block. iptc: IIM records. resolution: what the container says.

    cicp: colours in numbers. Where a profile is there too, `colours` says which of them counts.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: Resolution | None = None
    cicp: Cicp | None = None


@dataclass(frozen=True)
class Upright:
    """Metadata of an image that is turned by `orientation` (1–8) afterwards; `lost`, `notes`: for a person."""

    metadata: Metadata
    orientation: int
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def upright(metadata: Metadata, orientation: int | None) -> Upright:
    """Orientation 1 everywhere. `orientation` is what the container says itself, which EXIF does not overrule.

    What EXIF says, XMP does not overrule.

    Resolution changes its axes with the image, and is taken from EXIF where the container has none.
    """
    lost: tuple[str, ...] = ()
    block, by_exif = metadata.exif, None
    if block is not None:
        try:
            block, by_exif = exif_blocks.upright(block)
        except exif_blocks.DamagedExif:
            block, lost = None, (EXIF_DAMAGED,)
    turn = first_orientation((orientation, by_exif), metadata.xmp)
    swaps_axes = turn in (5, 6, 7, 8)
    resolution = metadata.resolution or (exif_editing.resolution_of(block) if block is not None else None)
    if swaps_axes:
        block = exif_editing.turned(block) if block is not None else None
        resolution = resolution.turned() if resolution is not None else None
    packet = metadata.xmp
    notes: tuple[str, ...] = ()
    if packet is not None:
        try:
            packet = xmp_editing.upright(packet, swaps_axes=swaps_axes)
        except xmp_editing.DamagedXmp:
            patched = xmp_editing.without_orientation(packet)
            notes = (XMP_DAMAGED_NOTE if patched == packet else f"{XMP_DAMAGED_NOTE}, except for its orientation",)
            packet = patched
    return Upright(replace(metadata, exif=block, xmp=packet, resolution=resolution), turn, lost, notes)


def first_orientation(numbers: Iterable[int | None], packet: bytes | None) -> int:
    """The first of `numbers` that stands for an orientation, else what an XMP packet says, else 1."""
    for number in numbers:
        if number in _ORIENTATIONS:
            return number
    by_xmp = None
    if packet is not None:
        with suppress(xmp_editing.DamagedXmp):
            by_xmp = xmp_editing.orientation(packet)
    return by_xmp if by_xmp in _ORIENTATIONS else 1


def resized(metadata: Metadata, old: tuple[int, int], new: tuple[int, int]) -> Metadata:
    """Metadata of an image of `old` (H, W) for the image of `new`: the same print, with more pixels an inch."""
    down, across = (Fraction(after, before) for before, after in zip(old, new, strict=True))
    block, packet = metadata.exif, metadata.xmp
    if block is not None:
        with suppress(exif_blocks.DamagedExif):  # Only a caller who made the block himself can have such a one.
            block = exif_editing.resized(block, across=across, down=down, size=new)
            block = geotiff.resized(block, across=across, down=down)
    if packet is not None:
        with suppress(xmp_editing.DamagedXmp):  # A note has been made of it when it was read.
            packet = xmp_editing.resized(packet, across=across, down=down, size=new)
    resolution = metadata.resolution.scaled(across, down) if metadata.resolution is not None else None
    return replace(metadata, exif=block, xmp=packet, resolution=resolution)


def over_limit_text(name: str) -> str:
    """What is said of a block of kind `name` ("exif") that is over its limit."""
    return f"{TITLES[name]} of more than {MAX_METADATA_BYTES[name] // MIB} MiB"


class Allowance:
    """What the pages of one file may bring together, in the order in which they are read."""

    def __init__(self, limit: int = MAX_SUM_OF_METADATA_BYTES) -> None:
        self._limit = self._left = limit

    @property
    def is_spent(self) -> bool:
        """Whether not even a small block fits."""
        return self._left <= 0

    def granted(self, metadata: Metadata) -> tuple[Metadata, tuple[str, ...]]:
        """(what of `metadata` is within the limits, what is lost)."""
        lost = []
        for name, limit in MAX_METADATA_BYTES.items():
            block: bytes | None = getattr(metadata, name)
            if block is None:
                continue
            if len(block) > limit:
                lost.append(over_limit_text(name))
            elif len(block) > self._left:
                # What comes behind it does not get in either: which blocks are kept must not depend on their sizes.
                self._left = 0
                lost.append(f"{TITLES[name]} (all metadata together have more than {self._limit // MIB} MiB)")
            else:
                self._left -= len(block)
                continue
            metadata = replace(metadata, **{name: None})
        return metadata, tuple(lost)
