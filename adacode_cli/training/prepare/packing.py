"""Encoded crops on disk: first in one temporary file until all photographs are known, then in tar shards.

Memory holds only the places of crops. Shards follow the WebDataset convention, the same bytes on every machine.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from adacode_cli import atomic
from adacode_cli.errors import OutputError, translated
from adacode_cli.training.prepare.examine import EncodedCrop

TAR_BLOCK = 512
_HINT = "Shards need twice their size on disk while they are made: free some space, or choose another -o."
# At the end of a tar, Python fills up a whole record of 20 blocks; the end marker itself takes two.
TAR_END = tarfile.RECORDSIZE + 2 * tarfile.BLOCKSIZE


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
    """Encoded crops in order of arrival. Raises OutputError if the disk cannot be written to."""

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
    """An empty spool at `path`, replacing that of a killed run; it is removed at the end of the block."""
    with _storing(path):
        file = path.open("w+b")
    try:
        with file:
            yield Spool(file, path)
    finally:
        path.unlink(missing_ok=True)


def _storing(path: Path) -> AbstractContextManager[None]:
    return translated(OutputError, "cannot be written", path, hint=_HINT)


@dataclass(frozen=True)
class Member:
    """A crop with its category."""

    crop: SpooledCrop
    category: str


@dataclass(frozen=True)
class ShardEntry:
    """A written shard, as the manifest lists it."""

    file: str
    split: str
    crops: int
    bytes: int
    sha256: str


def packed(members: Iterable[Member], max_bytes: int) -> list[list[Member]]:
    """Consecutive groups, each a shard of at most `max_bytes` (or a single crop that is larger)."""
    groups: list[list[Member]] = []
    room = 0
    for member in members:
        size = member.crop.footprint(member.category)
        if not groups or size > room:
            groups.append([])
            room = max_bytes - TAR_END
        groups[-1].append(member)
        room -= size
    return groups


def shard_name(split: str, number: int) -> str:
    """train-000000.tar, train-000001.tar, …"""
    return f"{split}-{number:06d}.tar"


def write_shard(path: Path, members: list[Member], *, split: str, first: int, spool: Spool, suffix: str) -> ShardEntry:
    """Writes one shard atomically; its crops are numbered from `first`. Raises OutputError."""
    with atomic.replacing(path) as file:
        hashed = _Hashed(file)
        with tarfile.open(fileobj=hashed, mode="w", format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[call-overload]
            for name, data in _files(members, f"{split}-", first, spool, suffix):
                info = tarfile.TarInfo(name)  # without owner and time, which are private
                info.size = len(data)
                tar.addfile(info, BytesIO(data))
    return ShardEntry(path.name, split, len(members), hashed.position, hashed.digest.hexdigest())


def _files(members: list[Member], prefix: str, first: int, spool: Spool, suffix: str) -> Iterator[tuple[str, bytes]]:
    for number, member in enumerate(members, first):
        key = f"{prefix}{number:09d}"
        yield f"{key}{suffix}", spool.read(member.crop)
        yield f"{key}.json", member.crop.described(member.category)


class _Hashed:
    """A file for writing that also computes the digest of its content."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self.position = 0
        self._file = file

    def write(self, data: bytes) -> int:
        """Writes all of `data`."""
        self.digest.update(data)
        self.position += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self.position
