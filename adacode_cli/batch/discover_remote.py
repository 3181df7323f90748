"""Finds every image below an address in the list of its files, by the rules of a search on a disk.

A store lists files, not folders, so each file is judged by the parts of its place. The list is read page by page and
nothing of it is kept, except files that may come before the state of a run in their folder: whether they are outputs is
known at the end.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adacode_cli.batch.found import OUTPUTS, Found, PassedOver, Selection
from adacode_cli.batch.left_out import SIDE_FOLDERS, LeftOut
from adacode_cli.batch.state_files import STATE
from adacode_cli.storage import listing
from adacode_cli.storage.path import RemotePath, is_remote

# Names that begin with a character before the dot of `.adacode`.
_MAY_COME_BEFORE = re.compile(r"(?:^|/)[\x00-\x2d]")
# What no name on Windows has: there it would be another file, a part of one, or a device.
_NOT_ON_WINDOWS = re.compile(
    r'[\\:<>"|?*\x00-\x1f]|[. ](?:/|$)|(?:^|/)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:[./]|$)', re.IGNORECASE
)
_IS_WINDOWS = os.name == "nt"
_UNUSABLE = frozenset({"", ".", ".."})


@dataclass
class RemoteSearch:
    """The search below the address `given`; `left_out` counts the other files."""

    given: RemotePath
    selection: Selection
    left_out: LeftOut
    _outputs: list[str] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)
    _folder: str = ""
    _is_searched: bool = True

    def __post_init__(self) -> None:
        self._avoided = _places_below(self.given, self.selection.avoid)

    def walk(self) -> Iterator[Found | PassedOver]:
        """Images below the address, and what is passed over. Raises InputError if it cannot be listed."""
        late: list[tuple[str, int]] = []
        for place, stamp in listing.entries(self.given):
            if _MAY_COME_BEFORE.search(place):
                late.append((place, stamp))
            else:
                yield from self._judged(place, stamp)
        for place, stamp in late:
            yield from self._judged(place, stamp)

    def _judged(self, place: str, stamp: int) -> Iterator[Found | PassedOver]:
        folder, _, name = place.rpartition("/")
        if folder != self._folder:
            self._folder = folder
            yield from self._enter(folder)
        if not self._is_searched:
            return
        if name in _UNUSABLE or place[0] == "/":
            yield self._unusable(f"the key {place!r} has")
        elif _IS_WINDOWS and _NOT_ON_WINDOWS.search(place):
            yield PassedOver(self.given, f"the key {place!r} cannot be the name of a file on Windows", failed=True)
        elif self.given.kind.names_version(place):
            reason = f"the key {place!r} contains {self.given.kind.version_mark}, which would name another object"
            yield PassedOver(self.given, reason, failed=True)
        elif name.startswith("."):
            self._count(name, place)
        elif self._has_suffix(name):
            if self.selection.globs.takes_file(place) and place not in self._avoided:
                yield Found(self.given, place, True, stamp)
        else:
            self._count(name, place)

    def _enter(self, folder: str) -> Iterator[PassedOver]:
        """Finds out whether a folder is searched; the first time, what is passed over is said."""
        self._is_searched = False
        at = ""
        for part in folder.split("/") if folder else ():
            above, at = at, f"{at}/{part}" if at else part
            if part == STATE.name:
                if above and above not in self._told:
                    self._outputs.append(f"{above}/")
                    yield from self._tell(above, OUTPUTS)
                return
            if part in _UNUSABLE:
                yield from self._once(at, self._unusable(f"all keys that begin with {f'{at}/'!r} have"))
                return
            if part.startswith(".") or part.lower() in SIDE_FOLDERS:
                if at not in self._told and not self.selection.globs.excludes(at):
                    self._told.add(at)
                    self.left_out.add_folder(part)
                return
            if at in self._avoided:
                yield from self._tell(at, "a directory of outputs or masks of this run")
                return
            if self.selection.globs.excludes(at):
                return
        self._is_searched = not any(f"{folder}/".startswith(outputs) for outputs in self._outputs)

    def _tell(self, place: str, reason: str) -> Iterator[PassedOver]:
        return self._once(place, PassedOver(self.given / place, reason, failed=False))

    def _once(self, place: str, entry: PassedOver) -> Iterator[PassedOver]:
        if place not in self._told:
            self._told.add(place)
            yield entry

    def _unusable(self, which: str) -> PassedOver:
        reason = f"{which} a part that is empty, '.' or '..', which no path can have"
        return PassedOver(self.given, reason, failed=True)

    def _count(self, name: str, place: str) -> None:
        if self.selection.globs.takes_file(place):
            self.left_out.add_file(name, f"{self.given}/{place}")

    def _has_suffix(self, name: str) -> bool:
        dot = name.rfind(".")
        return dot > 0 and name[dot:].lower() in self.selection.suffixes


def _places_below(given: RemotePath, paths: Sequence[Path]) -> frozenset[str]:
    """The places below `given` of the addresses among `paths`."""
    start = f"{given}/"
    return frozenset(str(path).removeprefix(start) for path in paths if is_remote(path) and str(path).startswith(start))
