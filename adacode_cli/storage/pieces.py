"""Reads a few small pieces of a file in a store, as its header needs, without the rest of it."""

from __future__ import annotations

import io
from typing import Any

from adacode_cli.storage import objects
from adacode_cli.storage.path import RemotePath

_BLOCK_BYTES = 1 << 16
_MAX_BLOCKS = 16
"""With less, the header of a TIFF file with many pages would not be found; a block is one request."""
_AHEAD_BYTES = 256  # A larger piece would often end in the next block.


def opened(path: RemotePath) -> tuple[io.BufferedIOBase, int | None]:
    """(the file, for reading a few small pieces; its size in bytes if its store states it).

    Of a web server, the beginning alone is read, because many send the whole file for each piece. Reading raises
    ValueError after 16 blocks of 64 KiB, and InputError as `objects.read` does. Raises InputError for a missing file.
    """
    if not path.kind.can_list:
        start = objects.read_start(path, _BLOCK_BYTES)
        return io.BytesIO(start), len(start) if len(start) < _BLOCK_BYTES else None
    pieces = _Pieces(path)
    return io.BufferedReader(pieces, _AHEAD_BYTES), pieces.num_bytes


class _Pieces(io.RawIOBase):
    """Blocks of a file, each of them read once."""

    def __init__(self, path: RemotePath) -> None:
        self._path = path
        self._at = 0
        self._blocks = {0: objects.read(path, 0, _BLOCK_BYTES)}
        self.num_bytes = len(self._blocks[0])
        if self.num_bytes == _BLOCK_BYTES and (there := objects.status(path)) is not None:
            self.num_bytes = max(self.num_bytes, there.num_bytes)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.num_bytes}[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 (as the base class has it)
        """Fills the buffer, except at the end of the file."""
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(0, self.num_bytes - self._at))
        filled = 0
        while filled < wanted:
            number, start = divmod(self._at, _BLOCK_BYTES)
            piece = self._block(number)[start : start + wanted - filled]
            if not piece:  # It is shorter than its store has said.
                break
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._at += len(piece)
        return filled

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            if len(self._blocks) == _MAX_BLOCKS:
                raise ValueError("its header is in too many places")
            start = number * _BLOCK_BYTES
            self._blocks[number] = objects.read(self._path, start, min(start + _BLOCK_BYTES, self.num_bytes))
        return self._blocks[number]
