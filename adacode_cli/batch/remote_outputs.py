"""Which outputs of a run exist already in stores, by one list of each output tree."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adacode_cli.errors import OutputError
from adacode_cli.storage import listing, objects
from adacode_cli.storage.path import RemotePath

_BLOCK = 16 * listing.PAGE


@dataclass(frozen=True)
class _Keys:
    """Names as hashes of 128 bits, so that no two names are the same; their halves are in two arrays."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> _Keys:
        return _Keys(self.first[chosen], self.second[chosen])

    def places(self, asked: _Keys) -> NDArray[np.intp]:
        """Where in these keys, which are sorted by their first halves, each asked one is; -1 if it is not there."""
        found = np.full(len(asked), -1, np.intp)
        open_ones, at = np.arange(len(asked)), np.searchsorted(self.first, asked.first)
        while len(open_ones):
            is_inside = at < len(self)
            open_ones, at = open_ones[is_inside], at[is_inside]
            has_half = self.first[at] == asked.first[open_ones]
            open_ones, at = open_ones[has_half], at[has_half]
            is_same = self.second[at] == asked.second[open_ones]
            found[open_ones[is_same]] = at[is_same]
            open_ones, at = open_ones[~is_same], at[~is_same] + 1  # Equal first halves stand side by side.
        return found


class RemoteOutputs:
    """The outputs that existed when a run was planned, with their stamps (`objects.Status`).

    in_flight: (root, name) of those without a line that a killed run had announced. Some are files of others: a killed
    run has announced many outputs that it did not write.
    """

    def __init__(self) -> None:
        self.in_flight: set[tuple[Path, str]] = set()
        self._stamps: dict[Path, _Stamps] = {}

    def look(self, root: RemotePath, names: Iterable[str], *, is_one: bool) -> None:
        """Finds out which of the outputs `names` are in the tree `root`. Raises OutputError.

        is_one: there is one name, for which the tree is not listed.
        """
        first = listing.first_entries(root, OutputError)  # It tells of a bucket that is not there, too.
        if is_one:
            (name,) = names
            there = objects.status(root / name, OutputError)
            found = [] if there is None else [(name, there.stamp)]
            self._stamps[root] = _Stamps(found, _keys([name]))
            return
        entries = listing.entries(root, OutputError) if first else ()
        self._stamps[root] = _Stamps(entries, _sorted(_keys(names if first else ())))

    def stamp(self, root: Path, name: str) -> int | None:
        """The stamp of an output when the run was planned; None if it did not exist, or is local."""
        known = self._stamps.get(root)
        return None if known is None else known.of(name)

    def exist(self, root: RemotePath, names: Iterable[str]) -> bytes:
        """For each of the names whether there was an output when the run was planned: 1 or 0, a byte each."""
        return self._stamps[root].have(names)


class _Stamps:
    """The stamps of those files of a list whose names are wanted, in 24 bytes for each file.

    entries: the list, which may be much longer. wanted: the sorted keys of the names.
    """

    def __init__(self, entries: Iterable[listing.Entry], wanted: _Keys) -> None:
        entries, first, second, stamps = iter(entries), array("q"), array("q"), array("Q")
        while block := list(islice(entries, _BLOCK)):
            keys = _keys(name for name, _ in block)
            is_wanted = wanted.places(keys) >= 0
            first.frombytes(keys.first[is_wanted].tobytes())
            second.frombytes(keys.second[is_wanted].tobytes())
            stamps.extend(stamp for (_, stamp), is_one in zip(block, is_wanted, strict=True) if is_one)
        del wanted  # There may be a million of them.
        order = np.argsort(np.array(first, np.int64, copy=False))
        self._keys = _Keys(np.array(first, np.int64)[order], np.array(second, np.int64)[order])
        self._values = np.array(stamps, np.uint64)[order]

    def of(self, name: str) -> int | None:
        """The stamp of a file; None if there is none."""
        first, second = _hashes(name)
        at = int(np.searchsorted(self._keys.first, first))
        while at < len(self._keys) and self._keys.first[at] == first:
            if self._keys.second[at] == second:
                return int(self._values[at])
            at += 1
        return None

    def have(self, names: Iterable[str]) -> bytes:
        """For each of the names whether there is a file."""
        names, answers = iter(names), bytearray()
        while block := list(islice(names, _BLOCK)):
            answers += (self._keys.places(_keys(block)) >= 0).tobytes()
        return bytes(answers)


def _keys(names: Iterable[str]) -> _Keys:
    """The keys of names, in their order."""
    first, second = array("q"), array("q")
    for name in names:
        one, other = _hashes(name)
        first.append(one)
        second.append(other)
    return _Keys(np.array(first, np.int64, copy=False), np.array(second, np.int64, copy=False))


def _hashes(name: str) -> tuple[int, int]:
    """Two numbers of 64 bits for a name, of which one says nothing about the other; they differ from run to run."""
    return hash(name), hash(f"{name}\0")


def _sorted(keys: _Keys) -> _Keys:
    return keys[np.argsort(keys.first)]
