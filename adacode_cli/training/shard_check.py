"""Whether a shard still is what its manifest states: no crop of a damaged shard becomes an image.

The threads that make batches do this beside the steps of training, one shard at a time, when its first crop is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import BinaryIO
from zlib import crc32

from adacode_cli.errors import TrainingError, translated

PREPARE_AGAIN = "Write the shards again: `adacode train prepare PHOTOS -o FOLDER --overwrite`."
_COPY_AGAIN = f"Copy it again from where it was made, or write the shards again. {PREPARE_AGAIN}"
_PART_BYTES = 1 << 20


class ShardCheck:
    """Compares what is read of the file `path` with its SHA-256. Threads may share it.

    The whole file is read before the first crop counts as undamaged. Checksums of its crops are kept then, so that a
    later change of the file is noticed as well.
    """

    def __init__(self, path: Path, digest: str, places: Iterable[tuple[int, int]]) -> None:
        self._path, self._digest, self._places = path, digest, sorted(places)
        self._lock = Lock()
        self._sums: Mapping[int, int] | None = None

    def require(self, offset: int, data: bytes) -> None:
        """Raises TrainingError unless the file is undamaged and has `data`, a whole crop, at `offset`."""
        with self._lock:
            if self._sums is None:
                self._sums = self._verified()
        if self._sums.get(offset) != crc32(data):
            what = f"has changed since it was verified: the crop at byte {offset} has other bytes"
            raise TrainingError(what, path=self._path, hint=_COPY_AGAIN)

    def _verified(self) -> dict[int, int]:
        """The checksum of each crop, by its offset. Raises TrainingError for another digest."""
        digest, sums = sha256(), dict[int, int]()
        with translated(TrainingError, "cannot be read", self._path, hint=_COPY_AGAIN), self._path.open("rb") as file:
            for offset, size in self._places:
                for part in _parts(file, offset - file.tell()):
                    digest.update(part)
                data = file.read(size)
                digest.update(data)
                sums[offset] = crc32(data)
            for part in _parts(file, None):
                digest.update(part)
        if digest.hexdigest() != self._digest:
            what = "is damaged: its SHA-256 is not the one in manifest.json"
            raise TrainingError(what, path=self._path, hint=_COPY_AGAIN)
        return sums


def _parts(file: BinaryIO, size: int | None) -> Iterator[bytes]:
    """The next `size` bytes of the file, or all, in parts; fewer if it ends before."""
    while size is None or size > 0:
        part = file.read(_PART_BYTES if size is None else min(size, _PART_BYTES))
        if not part:
            return
        size = None if size is None else size - len(part)
        yield part
