"""A gallery of images that are in memory, with figures: results on a test set, samples of a training.

The page holds copies of the images as PNG files, so it shows exactly what was measured and needs no other files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adacode_cli import atomic
from adacode_cli.batch.gallery.folder import Gallery
from adacode_cli.batch.gallery.overlays import reduced_hole
from adacode_cli.batch.gallery.pictures import save_picture, shown_of
from adacode_cli.batch.gallery.places import FILES
from adacode_cli.batch.output_files import make_directory
from adacode_cli.batch.record import FORMAT_VERSION
from adacode_cli.imaging.encode import encode
from adacode_cli.imaging.image import Decoded

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images, H×W×3 uint8 RGB, of which the page calls one "before" and the other "after".

    place: the name of the pair, with its folders; each only once. sides: what both are called. figures: by their names.
    hole: H×W bool, of the size of `before`, if one was filled.
    """

    place: str
    sides: tuple[str, str]
    before: Pixels
    after: Pixels
    figures: Mapping[str, float] = field(default_factory=dict)
    hole: NDArray[np.bool_] | None = None


class PairPage:
    """Writes the page into the folder `folder`, pair by pair. view: what it shows first, as in its address."""

    def __init__(self, folder: Path, view: str = "") -> None:
        self._folder = folder
        self._addresses: dict[str, tuple[str | None, str | None]] = {}
        self._lines: list[tuple[bytes, int]] = []
        self._gallery = Gallery(
            folder, folder, lambda line: self._addresses[line["target"]], self._lines_from, view=view
        )
        self._gallery.check()

    def add(self, pair: Pair) -> None:
        """Writes the pictures of a pair, and shows it on the page. Raises OutputError."""
        if not self._lines:  # The folder of one that is interrupted is taken for a page again.
            self._gallery.begin()
        before, after = (Decoded(np.ascontiguousarray(one)) for one in (pair.before, pair.after))
        files = [encode(one, format="png") for one in (before, after)]
        names = [self._copy(data) for data in files]
        digest = hashlib.sha256("\n".join((pair.place, *names)).encode("utf-8", "surrogatepass")).hexdigest()
        sides = [shown_of(one, len(data)) for one, data in zip((before, after), files, strict=True)]
        hole = None if pair.hole is None else reduced_hole(pair.hole)
        save_picture(self._folder, digest, replace(sides[0], hole=hole), sides[1], figures=pair.figures)
        self._addresses[pair.place] = names[0], names[1]
        fields = {
            "version": FORMAT_VERSION,
            "target": pair.place,
            "source": pair.place,
            "outcome": "done",
            "sha256": digest,
            "sides": pair.sides,
        }
        self._lines.append((json.dumps(fields).encode("ascii"), 1))
        self._gallery.advance()

    def finish(self) -> Gallery:
        """Writes the data of all pairs. Raises OutputError."""
        self._gallery.begin(running=False)
        return self._gallery

    def _copy(self, data: bytes) -> str:
        """Writes a file, if it is not there; returns its address."""
        sha256 = hashlib.sha256(data).hexdigest()
        address = f"{FILES}/{sha256[:2]}/{sha256[:32]}.png"
        path = self._folder / address
        if not path.exists():
            make_directory(path.parent)
            atomic.write_bytes(path, data, durable=False)
        return address

    def _lines_from(self, start: int) -> list[tuple[bytes, int]]:
        return self._lines[start:]
