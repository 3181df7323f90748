"""Chosen crops → tar shards in the WebDataset convention, the same bytes on every machine."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from adacode_cli import atomic
from adacode_cli.training.prepare.spool import Spool, SpooledCrop

# Where a tar ends, Python fills up to a whole record of 20 blocks; the end itself takes two.
TAR_END = tarfile.RECORDSIZE + 2 * tarfile.BLOCKSIZE


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

    def to_json(self) -> dict[str, object]:
        """The entry's fields."""
        return asdict(self)


def packed(members: Iterable[Member], most_bytes: int) -> list[list[Member]]:
    """Consecutive groups, each a shard of at most `most_bytes` (or a single crop that is larger)."""
    groups: list[list[Member]] = []
    room = 0
    for member in members:
        size = member.crop.footprint(member.category)
        if not groups or size > room:
            groups.append([])
            room = most_bytes - TAR_END
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
                info = tarfile.TarInfo(name)  # no owner, no time: those of this machine are nobody's business
                info.size = len(data)
                tar.addfile(info, BytesIO(data))
    return ShardEntry(path.name, split, len(members), hashed.position, hashed.digest.hexdigest())


def _files(members: list[Member], prefix: str, first: int, spool: Spool, suffix: str) -> Iterator[tuple[str, bytes]]:
    for number, member in enumerate(members, first):
        key = f"{prefix}{number:09d}"
        yield f"{key}{suffix}", spool.read(member.crop)
        yield f"{key}.json", member.crop.described(member.category)


class _Hashed:
    """A file to write to that digests what passes."""

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
