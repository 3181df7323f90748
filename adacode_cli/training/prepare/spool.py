"""Encoded crops wait in one file on disk until all photographs are known: memory holds their places only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from adacode_cli import atomic
from adacode_cli.errors import OutputError
from adacode_cli.training.prepare.examine import EncodedCrop

TAR_BLOCK = 512
_HINT = "Shards need twice their size on disk while they are made: free some space, or choose another -o."


@dataclass(frozen=True, slots=True, eq=False)
class SpooledCrop:
    """The crop at (y, x) of the photograph `file`: `size` bytes at `offset` of the spool. mean, std: RGB, levels."""

    file: str
    y: int
    x: int
    offset: int
    size: int
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]

    def described(self, category: str) -> bytes:
        """The crop's .json member."""
        return json.dumps({"category": category, "photo": self.file, "x": self.x, "y": self.y}).encode()

    def footprint(self, category: str) -> int:
        """Bytes that its two members take in a tar file."""
        sizes = (self.size, len(self.described(category)))
        return sum(TAR_BLOCK - (-size // TAR_BLOCK) * TAR_BLOCK for size in sizes)


class Spool:
    """Crops in order of arrival. Raises OutputError where the disk refuses."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._end = 0

    def add(self, file: str, crops: Iterable[EncodedCrop]) -> list[SpooledCrop]:
        """Appends a photograph's crops."""
        added = []
        for crop in crops:
            with _storing(self._path):
                self._file.write(crop.data)
            added.append(SpooledCrop(file, crop.y, crop.x, self._end, len(crop.data), crop.mean, crop.std))
            self._end += len(crop.data)
        return added

    def read(self, crop: SpooledCrop) -> bytes:
        """The encoded bytes of a crop that `add` returned."""
        with _storing(self._path):
            self._file.seek(crop.offset)
            return self._file.read(crop.size)


@contextmanager
def spooling(path: Path) -> Iterator[Spool]:
    """An empty spool at `path`, in place of one that a killed run left there; removed in the end."""
    with _storing(path):
        file = path.open("w+b")
    try:
        with file:
            yield Spool(file, path)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot be written: {atomic.reason(error)}", path=path, hint=_HINT) from error
