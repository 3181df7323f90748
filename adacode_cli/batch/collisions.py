"""No run writes one file twice.

Inputs whose outputs would have one name fail before anything is done, each naming the others, and all other files are
restored. Names that differ only in letter case or Unicode composition are two files here and one elsewhere, and a tree
restored on Linux is copied to macOS and Windows disks: the second of them fails.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from adacode_cli.errors import OutputError

_KEEP_SUFFIX_HINT = "Add --keep-suffix to tell them apart."


def folded(name: str) -> str:
    """What two absolute paths without dots have in common that meet where case and Unicode composition are ignored."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def absolute(path: Path) -> str:
    """The absolute path, without dots."""
    return os.path.abspath(path)  # noqa: PTH100 (Path.absolute leaves dots)


def may_collide(targets: Iterable[str]) -> bool:
    """False where surely no two targets meet on any file system; in eight bytes a name, for trees of any size.

    Targets are absolute paths without dots.
    """
    hashes = np.fromiter((hash(folded(target)) for target in targets), np.int64)
    return len(np.unique(hashes)) < len(hashes)


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that is to be made: from `source`, as `target`. One that gives way does so to one that does not.

    `with_suffix` is its target with --keep-suffix, None where that cannot be added.
    """

    source: Path
    target: Path
    gives_way: bool = False
    with_suffix: Path | None = None


def refusals(planned: Sequence[PlannedFile]) -> list[OutputError | None]:
    """For each file that is to be made, why it cannot be, or None.

    Of several with one name here, none can be made; those that give way leave it to the only one that does not. Of
    those whose names meet on forgiving file systems only, the first that does not give way can be made.
    """
    same: dict[str, _Rivals] = {}
    for one in planned:
        same.setdefault(absolute(one.target), _Rivals()).add(one)
    apart = _names_with_suffix_are_unique(planned)
    errors: list[OutputError | None] = [None] * len(planned)
    first: dict[str, int] = {}
    for index in sorted(range(len(planned)), key=lambda index: planned[index].gives_way):
        one = planned[index]
        target = absolute(one.target)
        if others := same[target].of(one):
            errors[index] = _same_name_error(one, *others, suffix_helps=apart[index])
        elif (earlier := first.setdefault(folded(target), index)) != index:
            errors[index] = _collision_error(one, planned[earlier], suffix_helps=apart[index])
    return errors


def _names_with_suffix_are_unique(planned: Sequence[PlannedFile]) -> list[bool]:
    """For each file whether no other one would have its name, on any file system, with --keep-suffix."""
    names = [None if one.with_suffix is None else folded(absolute(one.with_suffix)) for one in planned]
    counts = Counter(names)
    return [name is not None and counts[name] == 1 for name in names]


@dataclass
class _Rivals:
    """Those that are to be made under one name: `firm` ones, and those that give way."""

    firm: list[PlannedFile] = field(default_factory=list)
    yielding: list[PlannedFile] = field(default_factory=list)

    def add(self, one: PlannedFile) -> None:
        (self.yielding if one.gives_way else self.firm).append(one)

    def of(self, one: PlannedFile) -> tuple[PlannedFile, int] | None:
        """One that keeps `one` from its name, and how many do; None if it can have it."""
        if one.gives_way and self.firm:
            return self.firm[0], len(self.firm)
        rivals = self.yielding if one.gives_way else self.firm
        return next(((other, len(rivals) - 1) for other in rivals if other is not one), None)


def _same_name_error(one: PlannedFile, other: PlannedFile, count: int, *, suffix_helps: bool) -> OutputError:
    hint = "Rename one of them, leave one out with --exclude, or restore them into different directories."
    if suffix_helps:
        hint = f"{_KEEP_SUFFIX_HINT} {hint}"
    whose = f"{other.source}'s" if count == 1 else f"those of {other.source} and {count - 1} more"
    message = f"its output would have the name of {whose}: {one.target}"
    if one.gives_way:
        message = f"its result is too large for its format, and in another one {message}"
    return OutputError(message, path=one.source, hint=hint)


def _collision_error(one: PlannedFile, other: PlannedFile, *, suffix_helps: bool) -> OutputError:
    reason = "its output would have the name of {}'s where letter case and Unicode composition are ignored"
    hint = "Rename one of the two, or restore them into different places."
    if suffix_helps:
        hint = f"{_KEEP_SUFFIX_HINT} {hint}"
    return OutputError(reason.format(other.source), path=one.source, hint=hint)
