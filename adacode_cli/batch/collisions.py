"""Checks that no run writes one file twice.

Inputs whose outputs would have the same name fail before the run begins, with the names of the others; all other files
are restored. Names that differ only in letter case or Unicode composition are two files on Linux and one on macOS and
Windows, to which a tree may be copied: of such outputs, the second one fails.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from adacode_cli.batch.places import absolute_text
from adacode_cli.errors import OutputError

_KEEP_SUFFIX_HINT = "Add --keep-suffix to tell them apart."


def folded(name: str) -> str:
    """A key that is equal for absolute paths (without dots) that differ only in letter case or Unicode composition."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def absolute(path: Path) -> str:
    """The absolute path, without dots."""
    return absolute_text(path)


def may_collide(targets: Iterable[str]) -> bool:
    """Whether two targets may collide on some file system; eight bytes for each name, for trees of any size.

    False is certain, True is not. Targets are absolute paths without dots.
    """
    hashes = np.fromiter((hash(folded(target)) for target in targets), np.int64)
    hashes.sort()
    return bool(np.any(hashes[1:] == hashes[:-1]))


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that will be written: from `source`, as `target`.

    has_low_priority: of two files with one name, it is refused if the priority of the other one is not low.
    with_suffix: its target with --keep-suffix; None if this option cannot be added.
    """

    source: Path
    target: Path
    has_low_priority: bool = False
    with_suffix: Path | None = None


def refusals(planned: Sequence[PlannedFile]) -> list[OutputError | None]:
    """For each planned file, why it cannot be written, or None.

    Of several files with exactly the same name none can be written, except a single one without low priority. Of
    files whose names are equal on some file systems only, the first one without low priority can be written.
    """
    same: dict[str, _Rivals] = {}
    for one in planned:
        same.setdefault(absolute(one.target), _Rivals()).add(one)
    apart = _names_with_suffix_are_unique(planned)
    errors: list[OutputError | None] = [None] * len(planned)
    first: dict[str, int] = {}
    for index in sorted(range(len(planned)), key=lambda index: planned[index].has_low_priority):
        one = planned[index]
        target = absolute(one.target)
        if others := same[target].of(one):
            errors[index] = _same_name_error(one, *others, suffix_helps=apart[index])
        elif (earlier := first.setdefault(folded(target), index)) != index:
            errors[index] = _collision_error(one, planned[earlier], suffix_helps=apart[index])
    return errors


def _names_with_suffix_are_unique(planned: Sequence[PlannedFile]) -> list[bool]:
    """For each file, whether its name with --keep-suffix would be unique on every file system."""
    names = [None if one.with_suffix is None else folded(absolute(one.with_suffix)) for one in planned]
    counts = Counter(names)
    return [name is not None and counts[name] == 1 for name in names]


@dataclass
class _Rivals:
    """The planned files with one name: `firm` ones, and `yielding` ones, which have low priority."""

    firm: list[PlannedFile] = field(default_factory=list)
    yielding: list[PlannedFile] = field(default_factory=list)

    def add(self, one: PlannedFile) -> None:
        (self.yielding if one.has_low_priority else self.firm).append(one)

    def of(self, one: PlannedFile) -> tuple[PlannedFile, int] | None:
        """(a file that conflicts with `one`, how many there are); None if `one` can have the name."""
        if one.has_low_priority and self.firm:
            return self.firm[0], len(self.firm)
        rivals = self.yielding if one.has_low_priority else self.firm
        return next(((other, len(rivals) - 1) for other in rivals if other is not one), None)


def _same_name_error(one: PlannedFile, other: PlannedFile, count: int, *, suffix_helps: bool) -> OutputError:
    hint = "Rename one of them, leave one out with --exclude, or restore them into different directories."
    if suffix_helps:
        hint = f"{_KEEP_SUFFIX_HINT} {hint}"
    owner = f"the output of {other.source}" if count == 1 else f"the outputs of {other.source} and {count - 1} more"
    message = f"its output would have the same name as {owner}: {one.target}"
    if one.has_low_priority:
        message = f"its result is too large for its format, and in another format {message}"
    return OutputError(message, path=one.source, hint=hint)


def _collision_error(one: PlannedFile, other: PlannedFile, *, suffix_helps: bool) -> OutputError:
    reason = "its output would have the same name as that of {} where letter case and Unicode composition are ignored"
    hint = "Rename one of them, or restore them into different directories."
    if suffix_helps:
        hint = f"{_KEEP_SUFFIX_HINT} {hint}"
    return OutputError(reason.format(other.source), path=one.source, hint=hint)
