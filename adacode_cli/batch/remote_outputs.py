"""Which outputs of a run exist already in stores, by one list of each output tree."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adacode_cli.errors import OutputError
from adacode_cli.storage import listing, objects
from adacode_cli.storage.path import RemotePath

Keys = NDArray[np.int64]
"""Hashes of names, 64 bits each: of a million names, two are the same with a chance of one in 30 million."""


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
        self._stamps[root] = _Stamps(entries, _keys(names) if first else _keys(()))

    def stamp(self, root: Path, name: str) -> int | None:
        """The stamp of an output when the run was planned; None if it did not exist, or is local."""
        known = self._stamps.get(root)
        return None if known is None else known.of(name)

    def exist(self, root: RemotePath, names: Iterable[str]) -> bytes:
        """For each of the names whether there was an output when the run was planned: 1 or 0, a byte each."""
        return self._stamps[root].have(names)


class _Stamps:
    """The stamps of those files of a list whose names are wanted, in sixteen bytes for each file.

    entries: the list, which may be much longer. wanted: the sorted keys of the names.
    """

    def __init__(self, entries: Iterable[listing.Entry], wanted: Keys) -> None:
        entries, keys, stamps = iter(entries), [_keys(())], [np.zeros(0, np.uint64)]
        while page := list(islice(entries, listing.PAGE)):
            page_keys = np.fromiter((hash(name) for name, _ in page), np.int64, len(page))
            is_wanted = _are_in(wanted, page_keys)
            keys.append(page_keys[is_wanted])
            stamps.append(np.fromiter((stamp for _, stamp in page), np.uint64, len(page))[is_wanted])
        found = np.concatenate(keys)
        order = np.argsort(found)
        self._keys, self._values = found[order], np.concatenate(stamps)[order]

    def of(self, name: str) -> int | None:
        """The stamp of a file; None if there is none."""
        key = hash(name)
        at = int(np.searchsorted(self._keys, key))
        return int(self._values[at]) if at < len(self._keys) and self._keys[at] == key else None

    def have(self, names: Iterable[str]) -> bytes:
        """For each of the names whether there is a file."""
        return _are_in(self._keys, np.fromiter(map(hash, names), np.int64)).astype(np.uint8).tobytes()


def _keys(names: Iterable[str]) -> Keys:
    """The sorted keys of names."""
    return np.sort(np.fromiter(map(hash, names), np.int64))


def _are_in(keys: Keys, asked: Keys) -> NDArray[np.bool_]:
    """For each key that is asked for whether it is in the sorted `keys`."""
    if not len(keys):
        return np.zeros(len(asked), np.bool_)
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.asarray(keys[at] == asked, np.bool_)
