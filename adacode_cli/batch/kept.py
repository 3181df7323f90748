"""Files that a run never overwrites: inputs and other files of the user, under any of their names.

Files are compared by device and inode, because links and case-insensitive disks give one file several names. Whole
directories (those of inputs and masks, including files that patterns exclude) are recognised by the parents of a
file; a file in them is only replaced if a journal records that a run wrote it.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from adacode_cli.errors import OutputError
from adacode_cli.storage.path import is_remote, is_remote_text, path_from

_NO_DEVICE = -1


@dataclass(frozen=True)
class Kept:
    """Files that a run never overwrites.

    files: (name for messages, path, or file descriptor of an open file).
    folders: directories with everything below them.
    parents: directories of which only the direct entries count.
    """

    files: tuple[tuple[str, Path | int], ...] = ()
    folders: tuple[Path, ...] = ()
    parents: tuple[Path, ...] = ()
    _folder_of: dict[str, Path | None] = field(default_factory=dict, repr=False, compare=False)

    def refuse(self, sources: Iterable[Path | str], targets: Iterable[Path | str], option: str = "-o") -> None:
        """Raises OutputError if one of `targets` is, under any name, one of the inputs `sources` or of the files."""
        existing: dict[tuple[int, int], Path | str] = {}
        addresses = array("q")
        for target in targets:
            if _is_address(target):
                addresses.append(hash(str(target)))
            elif (file := identity(target)) is not None:
                existing[file] = target
        if addresses:  # `sorted` would need far more memory, and an empty array has no buffer.
            np.frombuffer(addresses, np.int64).sort()
        for what, path in _chained(self.files, sources) if existing or addresses else ():
            same: Path | str | None = None
            if _is_address(path):
                same = str(path) if _holds(addresses, hash(str(path))) else None
            elif (file := identity(path)) is not None:
                same = existing.get(file)
            if same is not None:
                hint = f"Originals are never overwritten: choose another place with {option}."
                if option == "-o":
                    hint = "Originals are never overwritten: choose another directory with -o, or add --suffix."
                description = what if isinstance(path, int) else f"{what} {path}"
                raise OutputError(f"would overwrite {description}", path=path_from(str(same)), hint=hint)

    def refuse_original(self, target: Path, option: str = "-o") -> None:
        """Raises OutputError for a file below one of the folders. The caller has checked that no run wrote it."""
        folder = self.folder_of(target.parent)
        if folder is None:
            return
        message = f"would overwrite a file in {folder} that no journal names as an output"
        hint = f"Originals are never overwritten: choose another place with {option}, or move that file away."
        raise OutputError(message, path=target, hint=hint)

    def folder_of(self, directory: Path) -> Path | None:
        """The kept folder that is or contains `directory`, or the parent that it is; links are resolved."""
        real = str(directory) if is_remote(directory) else os.path.realpath(directory)
        if real not in self._folder_of:
            self._folder_of[real] = self._enclosing_folder(directory if is_remote(directory) else Path(real))
        return self._folder_of[real]

    def _enclosing_folder(self, real: Path) -> Path | None:
        parents = {file: folder for folder in self.parents if (file := identity(folder)) is not None}
        if (itself := identity(real)) in parents:
            return parents[itself]
        named = {file: folder for folder in self.folders if (file := identity(folder)) is not None}
        above = (identity(path) for path in (real, *real.parents))
        return next((named[file] for file in above if file in named), None)


def _is_address(path: Path | str | int) -> bool:
    """Whether a path is in a store, where a file has one name only."""
    return is_remote_text(path) if isinstance(path, str) else is_remote(path)


def _holds(keys: array[int], key: int) -> bool:
    """Whether a key is in sorted `keys`, which are hashes of addresses: 64 bits each, as there may be a million."""
    at = bisect_left(keys, key)
    return at < len(keys) and keys[at] == key


def _chained(
    files: Iterable[tuple[str, Path | int]], sources: Iterable[Path | str]
) -> Iterator[tuple[str, Path | str | int]]:
    yield from files
    for source in sources:
        yield "the input", source


def identity(path: Path | str | int) -> tuple[int, int] | None:
    """(device, inode) of a path, with links resolved, or of an open file by its descriptor.

    None if there is no file, and on file systems without inodes. An address has one name only, which is its identity.
    """
    if is_remote(path) or (isinstance(path, str) and is_remote_text(path)):
        digest = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).digest()
        return _NO_DEVICE, int.from_bytes(digest[:16])
    try:
        status = os.stat(path)  # noqa: PTH116 (called for a hundred thousand names)
    except (OSError, ValueError):  # It was removed, or no file can have that name; nothing is overwritten.
        return None
    return (status.st_dev, status.st_ino) if status.st_ino else None
