"""Which outputs of a run exist already in stores, by one list of each output tree."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from adacode_cli.errors import OutputError
from adacode_cli.storage import listing, objects
from adacode_cli.storage.path import RemotePath


class RemoteOutputs:
    """The outputs that existed when a run was planned, with their stamps (`objects.Status`).

    in_flight: (root, name) of those without a line that a killed run had announced. Some are files of others: a killed
    run has announced many outputs that it did not write.
    """

    def __init__(self) -> None:
        self.in_flight: set[tuple[Path, str]] = set()
        self._stamps: dict[Path, dict[str, int]] = {}

    def look(self, root: RemotePath, names: Iterable[str], *, is_one: bool) -> None:
        """Finds out which of the outputs `names` are in the tree `root`. Raises OutputError.

        is_one: there is one name, for which the tree is not listed.
        """
        first = listing.first_entries(root, OutputError)  # It tells of a bucket that is not there, too.
        if is_one:
            (name,) = names
            there = objects.status(root / name, OutputError)
            self._stamps[root] = {} if there is None else {name: there.stamp}
            return
        wanted = frozenset(names) if first else frozenset[str]()
        entries = listing.entries(root, OutputError) if wanted else ()
        self._stamps[root] = {name: stamp for name, stamp in entries if name in wanted}

    def stamp(self, root: Path, name: str) -> int | None:
        """The stamp of an output when the run was planned; None if it did not exist, or is local."""
        return self._stamps.get(root, {}).get(name)
