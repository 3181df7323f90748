"""How much metadata a file may bring: larger blocks are left out and named as lost, before anything works on them.

All work on metadata takes time in proportion to its size. With these limits it takes about a second at the most, so it
needs no other limit on its time, whichever process it runs in.
"""

from __future__ import annotations

from dataclasses import replace

from adacode_cli.imaging.metadata import TITLES, Metadata

MIB = 1 << 20
MAX_BYTES = {"icc": 16 * MIB, "exif": 16 * MIB, "xmp": 4 * MIB, "iptc": 1 * MIB}
"""Of each block of one picture, unpacked."""

MAX_SUM_BYTES = 64 * MIB
"""Of all blocks of all pages of a file, or as many as the file has: pages can name the same bytes."""


def too_much(name: str) -> str:
    """What is said of a block of kind `name` ("exif") that is over its limit."""
    return f"{TITLES[name]} of more than {MAX_BYTES[name] // MIB} MiB"


class Allowance:
    """What the pages of one file may bring together, in the order in which they are read."""

    def __init__(self, limit: int = MAX_SUM_BYTES) -> None:
        self._limit = self._left = limit

    @property
    def is_spent(self) -> bool:
        """Whether not even a small block fits."""
        return self._left <= 0

    def granted(self, found: Metadata) -> tuple[Metadata, tuple[str, ...]]:
        """(what of `found` is within the limits, what is lost)."""
        lost = []
        for name, limit in MAX_BYTES.items():
            block: bytes | None = getattr(found, name)
            if block is None:
                continue
            if len(block) > limit:
                lost.append(too_much(name))
            elif len(block) > self._left:
                # What comes behind it does not get in either: which blocks are kept must not depend on their sizes.
                self._left = 0
                lost.append(f"{TITLES[name]} (all metadata are more than {self._limit // MIB} MiB)")
            else:
                self._left -= len(block)
                continue
            found = replace(found, **{name: None})
        return found, tuple(lost)
