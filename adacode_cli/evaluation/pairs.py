"""Which file of one folder belongs to which of another: by relative path, without the suffix of the file.

Programs that restore add something to a name, such as `x4` or `_out`: `0001x4.png` belongs to `0001.png`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adacode_cli import formats
from adacode_cli.errors import InputError

# What a program adds to a name: it begins so that `img1` does not belong to `img10`.
_ADDED = re.compile(r"(?:[^0-9A-Za-z]|[xX]\d).*")
_HINT = "Every original needs one file of the same name there; the name may go on, as in 0001x4.png and 0001_out.png."


@dataclass(frozen=True)
class Pair:
    """An original and the file that is compared with it; `name` is the original's relative path without suffix."""

    name: str
    original: Path
    restored: Path


def load_pairs(originals: Path, restored: Path) -> tuple[Pair, ...]:
    """The pairs of two folders, searched through all levels, by name; other files of `restored` are ignored.

    Raises InputError for folders without images, and for an original that has no counterpart, or several.
    """
    wanted = images_below(originals)
    found = counterparts(wanted, images_below(restored), restored)
    return tuple(Pair(name, path, found[name]) for name, path in wanted.items())


def images_below(folder: Path) -> dict[str, Path]:
    """Relative paths without suffix → the image files of a folder and its sub-folders; hidden ones are left out.

    Raises InputError without any, and where two files differ in their suffix alone.
    """
    if not folder.is_dir():
        raise InputError("there is no such directory", path=folder, hint="Name a directory with images.")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if not formats.of_any_suffix(path.suffix) or not path.is_file() or any(p.startswith(".") for p in parts):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise InputError(f"has the same name as {found[name].name}", path=path, hint="Keep one of them.")
        found[name] = path
    if not found:
        raise InputError("holds no images", path=folder, hint=formats.readable())
    return found


def counterparts(wanted: Mapping[str, Path], found: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """For each name in `wanted` the one file of `found` that belongs to it. folder: of `found`, for messages.

    A file belongs to the longest name that its own begins with. Raises InputError for names with none or several.
    """
    belonging: dict[str, list[str]] = {name: [] for name in wanted}
    for name in found:
        owner = name if name in wanted else _owner(name, wanted)
        if owner is not None:
            belonging[owner].append(name)
    chosen: dict[str, Path] = {}
    for owner, names in belonging.items():
        if owner in found:
            chosen[owner] = found[owner]
        elif len(names) == 1:
            chosen[owner] = found[names[0]]
        elif names:
            what = f"holds {len(names)} files for {owner}: {', '.join(sorted(names)[:3])}"
            raise InputError(what, path=folder, hint="Keep one of them, or put each method into a folder of its own.")
    missing = sorted(wanted.keys() - chosen.keys())
    if missing:
        what = f"lacks {len(missing)} of the {len(wanted)} images, such as {missing[0]}"
        raise InputError(what, path=folder, hint=_HINT)
    return chosen


def _owner(name: str, wanted: Mapping[str, Path]) -> str | None:
    """The longest name that `name` is made from, shortened letter by letter within its folder."""
    for end in range(len(name) - 1, name.rfind("/") + 1, -1):
        if name[:end] in wanted and _ADDED.fullmatch(name[end:]):
            return name[:end]
    return None
