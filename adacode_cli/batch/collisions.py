"""No run writes one file twice.

Two inputs for one output are refused before anything is done. Names that differ only in letter case or Unicode
composition are two files here and one elsewhere, and a tree restored on Linux is copied to macOS and Windows disks: the
second of them fails, and all others are restored.
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


def _twice(target: Path, first: Path, second: Path) -> OutputError:
    hint = "Rename one of them, leave one out with --exclude, or restore them into different directories."
    return OutputError(f"would be written twice: by {first} and by {second}", path=target, hint=hint)
