"""Provenance in the metadata of restored photographs: tool, weights and task. `--no-provenance` leaves it out.

It is written to two places. The Software tag of EXIF, which viewers and catalogues show, names the program that
made the file. xmpMM:History in XMP is a list to which every program adds an entry: it gets the weights, their digest,
and the former value of Software. xmp:CreatorTool is not changed, because it names the first tool. No
time is stored, because equal inputs must give equal files.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from adacode_cli.imaging import exif, exif_editing, xmp_editing
from adacode_cli.imaging.image import Decoded
from adacode_cli.version import __version__

TOOL = f"adacode {__version__}"


@dataclass(frozen=True)
class HistoryEntry:
    """A step such as "sr x4", with the name of the weights and the digest of their values."""

    step: str
    weights: str
    digest: str

    @property
    def software(self) -> str:
        """The value of the Software tag: tool, version, weights."""
        return f"{TOOL} ({self.weights})"

    def parameters(self, before: str | None) -> str:
        """The parameters in the history; `before` is the former value of the Software tag."""
        parts = [self.step, f"weights {self.weights}", f"SHA-256 of their values {self.digest}"]
        return "; ".join([*parts, f"Software before: {before}"] if before else parts)


def attributed(image: Decoded, entry: HistoryEntry) -> Decoded:
    """The image with both entries, on every page that a network made. A damaged XMP packet is not changed."""
    more = tuple(attributed(page, entry) for page in image.more_pages)
    if image.without_network:
        return replace(image, more_pages=more)
    before, block, packet = None, image.exif, image.xmp
    with suppress(exif.DamagedExif):
        before = exif_editing.software_of(block) if block is not None else None
        block = exif_editing.with_tags(block, [exif_editing.software(entry.software)])
    with suppress(xmp_editing.DamagedXmp):  # This was noted when it was read.
        packet = xmp_editing.with_event(packet, tool=TOOL, parameters=entry.parameters(before))
    return replace(image, exif=block, xmp=packet, more_pages=more)
