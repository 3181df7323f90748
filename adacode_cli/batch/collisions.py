"""No run writes one file twice or writes over one of its own inputs.

Two inputs for one output are refused before anything is done. Names that differ only in letter case or Unicode
composition are two files here and one elsewhere, and a tree restored on Linux is copied to macOS and Windows disks: the
second of them fails, and all others are restored. Inputs are compared by device and inode, because links and
case-insensitive disks give one file many names.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
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


def refuse_shared_targets(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Raises OutputError naming both sources when two (source, target) pairs meet in one target."""
    first_source: dict[str, Path] = {}
    for source, target in pairs:
        other = first_source.setdefault(folded(absolute(target)), source)
        if other is not source:
            raise _twice(target, other, source)


def may_meet(targets: Iterable[str]) -> bool:
    """False where surely no two targets meet on any file system; in eight bytes a name, for trees of any size.

    Targets are absolute paths without dots.
    """
    hashes = np.fromiter((hash(folded(target)) for target in targets), np.int64)
    return len(np.unique(hashes)) < len(hashes)


def met_by(pairs: Iterable[tuple[Path, Path]]) -> list[Path | None]:
    """For each (source, target), the earlier source whose target it meets on forgiving file systems only, or None.

    Raises OutputError naming both sources where two meet in one target here.
    """
    first: dict[str, tuple[Path, Path]] = {}
    met: list[Path | None] = []
    for pair in pairs:
        source, target = pair
        other, other_target = first.setdefault(folded(absolute(target)), pair)
        if other is source:
            met.append(None)
        elif os.path.normpath(other_target) == os.path.normpath(target):
            raise _twice(target, other, source)
        else:
            met.append(other)
    return met


def refuse_overwritten_inputs(sources: Iterable[Path | str], existing: Iterable[Path | str]) -> None:
    """Raises OutputError when one of the targets that exist already is one of the sources under any name."""
    by_identity = {identity: target for target in existing if (identity := _identity(target)) is not None}
    if not by_identity:
        return
    for source in sources:
        identity = _identity(source)
        if identity in by_identity:
            raise OutputError(
                f"would overwrite the input {Path(source)}",
                path=Path(by_identity[identity]),
                hint="Originals are never written to: choose another directory with -o, or add --suffix.",
            )


def _twice(target: Path, first: Path, second: Path) -> OutputError:
    hint = "Rename one of them, leave one out with --exclude, or restore them into different directories."
    return OutputError(f"would be written twice: by {first} and by {second}", path=target, hint=hint)


def _identity(path: Path | str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 (of a hundred thousand names)
    except OSError:  # it vanished meanwhile, so it cannot be overwritten
        return None
    return status.st_dev, status.st_ino
