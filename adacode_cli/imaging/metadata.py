"""The metadata of an image: their value, limits on their size, and their adaptation to changed pixels.

Pixels are made upright and may be enlarged; all metadata that refer to them (orientation, resolution, sizes,
thumbnails) are adapted, also if they are stated several times. All other metadata are kept unchanged.

Blocks that exceed `limits` are left out and reported as lost before they are processed, so all work on metadata takes
at most about a second and needs no other time limit.
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
"""The names of the fields of `Metadata` in messages."""

EXIF_DAMAGED = "damaged EXIF"
ICC_DAMAGED = "damaged ICC profile"
_ORIENTATIONS = (1, 2, 3, 4, 5, 6, 7, 8)
XMP_DAMAGED_NOTE = "its XMP is damaged and was kept unchanged"


@dataclass(frozen=True)
class Metadata:
    """The metadata of an image.

    icc, xmp: as stored.
    exif: a TIFF-structured block.
    iptc: IIM records.
    resolution: of the container.
    cicp: the colours by code points. If there is a profile too, `colours` decides which one is used.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: Resolution | None = None
    cicp: Cicp | None = None


@dataclass(frozen=True)
class Upright:
    """Metadata of an image that will be made upright from `orientation` (1–8); `lost`, `notes`: for messages."""

    metadata: Metadata
    orientation: int
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def upright(metadata: Metadata, orientation: int | None) -> Upright:
    """The metadata with orientation 1 everywhere.

    The former orientation is that of the container (`orientation`), else that of EXIF, else that of XMP. The axes of
    the resolution are exchanged with those of the image; it is taken from EXIF if the container has none.
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
    """The first of `numbers` that is an orientation, else that of an XMP packet, else 1."""
    for number in numbers:
        if number in _ORIENTATIONS:
            return number
    by_xmp = None
    if packet is not None:
        with suppress(xmp_editing.DamagedXmp):
            by_xmp = xmp_editing.orientation(packet)
    return by_xmp if by_xmp in _ORIENTATIONS else 1


def resized(metadata: Metadata, old: tuple[int, int], new: tuple[int, int]) -> Metadata:
    """The metadata for an image resized from `old` to `new` (H, W): the same print size, with more pixels per inch."""
    down, across = (Fraction(after, before) for before, after in zip(old, new, strict=True))
    block, packet = metadata.exif, metadata.xmp
    if block is not None:
        with suppress(exif_blocks.DamagedExif):  # Only a block that the caller made itself can be damaged.
            block = exif_editing.resized(block, across=across, down=down, size=new)
            block = geotiff.resized(block, across=across, down=down)
    if packet is not None:
        with suppress(xmp_editing.DamagedXmp):  # This was noted when it was read.
            packet = xmp_editing.resized(packet, across=across, down=down, size=new)
    resolution = metadata.resolution.scaled(across, down) if metadata.resolution is not None else None
    return replace(metadata, exif=block, xmp=packet, resolution=resolution)


def over_limit_text(name: str) -> str:
    """The loss of a block of the field `name` ("exif") that exceeds its limit."""
    return f"{TITLES[name]} of more than {MAX_METADATA_BYTES[name] // MIB} MiB"


class Allowance:
    """The limit on the sum of metadata of all pages of a file, in the order in which they are read."""

    def __init__(self, limit: int = MAX_SUM_OF_METADATA_BYTES) -> None:
        self._limit = self._left = limit

    @property
    def is_spent(self) -> bool:
        """Whether no further block is accepted."""
        return self._left <= 0

    def granted(self, metadata: Metadata) -> tuple[Metadata, tuple[str, ...]]:
        """(the metadata within the limits, the losses)."""
        lost = []
        for name, limit in MAX_METADATA_BYTES.items():
            block: bytes | None = getattr(metadata, name)
            if block is None:
                continue
            if len(block) > limit:
                lost.append(over_limit_text(name))
            elif len(block) > self._left:
                # Later blocks are refused too, so that the selection does not depend on their sizes.
                self._left = 0
                lost.append(f"{TITLES[name]} (all metadata together have more than {self._limit // MIB} MiB)")
            else:
                self._left -= len(block)
                continue
            metadata = replace(metadata, **{name: None})
        return metadata, tuple(lost)
