"""No run writes one file twice.

Inputs whose outputs would have one name fail before anything is done, each naming the others, and all other files are
restored. Names that differ only in letter case or Unicode composition are two files here and one elsewhere, and a tree
restored on Linux is copied to macOS and Windows disks: the second of them fails.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adacode_cli.errors import OutputError


def folded(name: str) -> str:
    """What two absolute paths without dots have in common that meet where case and Unicode composition are ignored."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def absolute(path: Path) -> str:
    """The absolute path, without dots."""
    return os.path.abspath(path)  # noqa: PTH100 (Path.absolute leaves dots)


def may_meet(targets: Iterable[str]) -> bool:
    """False where surely no two targets meet on any file system; in eight bytes a name, for trees of any size.

    Targets are absolute paths without dots.
    """
    hashes = np.fromiter((hash(folded(target)) for target in targets), np.int64)
    return len(np.unique(hashes)) < len(hashes)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that is to be made: from `source`, as `target`. One that gives way does so to one that does not."""

    source: Path
    target: Path
    gives_way: bool = False


def refusals(wanted: Sequence[Wanted]) -> list[OutputError | None]:
    """For each file that is to be made, why it cannot be, or None.

    Of several with one name here, none can be made; those that give way leave it to the only one that does not. Of
    those whose names meet on forgiving file systems only, the first that does not give way can be made.
    """
    same = _with_one_name(wanted)
    errors: list[OutputError | None] = [None] * len(wanted)
    first: dict[str, int] = {}
    for index in sorted(range(len(wanted)), key=lambda index: wanted[index].gives_way):
        one = wanted[index]
        others = [other for other in same[absolute(one.target)] if other is not one]
        if others and (one.gives_way or not all(other.gives_way for other in others)):
            errors[index] = _taken(one, [other for other in others if not other.gives_way] or others)
            continue
        earlier = first.setdefault(folded(absolute(one.target)), index)
        if earlier != index:
            errors[index] = _meets(one, wanted[earlier])
    return errors


def _with_one_name(wanted: Iterable[Wanted]) -> dict[str, list[Wanted]]:
    found: dict[str, list[Wanted]] = {}
    for one in wanted:
        found.setdefault(absolute(one.target), []).append(one)
    return found


def _taken(one: Wanted, others: Sequence[Wanted]) -> OutputError:
    hint = "Rename one of them, leave one out with --exclude, or restore them into different directories."
    if one.source.suffix.lower() != others[0].source.suffix.lower():
        hint = f"Add --keep-suffix to tell them apart. {hint}"
    other = f"{others[0].source}'s" if len(others) == 1 else f"those of {others[0].source} and {len(others) - 1} more"
    message = f"its output would have the name of {other}: {one.target}"
    if one.gives_way:
        message = f"its result is too large for its format, and in another one {message}"
    return OutputError(message, path=one.source, hint=hint)


def _meets(one: Wanted, other: Wanted) -> OutputError:
    reason = "its output would have the name of {}'s where letter case and Unicode composition are ignored"
    hint = "Rename one of the two, or restore them into different places."
    return OutputError(reason.format(other.source), path=one.source, hint=hint)
