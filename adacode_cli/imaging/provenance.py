"""A restored photograph says that it is one: which tool, which weights, what was done. `--no-provenance` leaves it out.

It is said twice. EXIF's Software tag is what viewers and catalogues show, and by its definition names the program that
made the file. XMP's xmpMM:History is a list that every program adds to: there the weights and their digest stand, and
the value that Software had before. xmp:CreatorTool is left alone, as it names the first tool of an image's life. No
time is noted, because equal inputs are to give equal files.
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
    """What was done, such as "sr x4", with which weights: the name a person gave, and a digest of their values."""

    step: str
    weights: str
    digest: str

    @property
    def software(self) -> str:
        """For the Software tag: tool, version, weights."""
        return f"{TOOL} ({self.weights})"

    def parameters(self, before: str | None) -> str:
        """For the history; `before` is the Software tag's old value."""
        parts = [self.step, f"weights {self.weights}", f"SHA-256 of their values {self.digest}"]
        return "; ".join([*parts, f"Software before: {before}"] if before else parts)


def attributed(image: Decoded, entry: HistoryEntry) -> Decoded:
    """The image with both entries, on every page. A damaged XMP packet stays as it is."""
    before, block, packet = None, image.exif, image.xmp
    with suppress(exif.DamagedExif):
        before = exif_editing.software_of(block) if block is not None else None
        block = exif_editing.with_tags(block, [exif_editing.software(entry.software)])
    with suppress(xmp_editing.DamagedXmp):  # A note has been made of it when it was read.
        packet = xmp_editing.with_event(packet, tool=TOOL, parameters=entry.parameters(before))
    more = tuple(attributed(page, entry) for page in image.more_pages)
    return replace(image, exif=block, xmp=packet, more_pages=more)
