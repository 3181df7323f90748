"""Counts files in input folders that a run does not restore, by kind, and names those that hold images.

A kind is a suffix in lower case, with its dot; "" for names without a suffix, or with one that is too long or contains
a space. Files that operating systems write beside images have their own kinds: "._*", ".DS_Store" and "Thumbs.db";
other hidden files and folders are ".*". Folders of such files (`SIDE_FOLDERS`, and all hidden ones) are counted and not
searched.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from adacode_cli import formats

_SIDE_FOLDERS = (
    *("@eaDir", "__MACOSX", ".AppleDouble", ".thumbnails"),
    *("#recycle", "@Recycle", "$RECYCLE.BIN", "#snapshot"),
)
SIDE_FOLDERS = {name.lower(): name for name in _SIDE_FOLDERS}
"""{name in lower case: usual name} of folders in which Synology, QNAP, macOS, Windows or desktops store thumbnails and
attributes of the images beside them, deleted files, and snapshots. Windows writes both `$RECYCLE.BIN` and
`$Recycle.Bin`."""

HIDDEN = ".*"
_SYSTEM_FILES = frozenset({".DS_Store", "Thumbs.db"})
_APPLE_DOUBLE = "._"
_MAX_SUFFIX_LENGTH = 16
_MAX_KINDS_SHOWN, _MAX_COMMANDS_SHOWN = 6, 3


@dataclass
class LeftOut:
    """The numbers of files left out, by kind, and of folders, by name.

    unread: the paths of files that hold images of kinds that are not read.
    """

    files: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)

    def add_file(self, name: str, path: str) -> None:
        """Counts a file that is not restored: its name, and its whole path."""
        kind = _kind_of(name)
        self.files[kind] += 1
        if formats.unread(kind):
            self.unread.append(path)

    def add_folder(self, name: str) -> None:
        """Counts a folder that is not searched, by its usual name in `SIDE_FOLDERS`, or else as hidden."""
        self.folders[SIDE_FOLDERS.get(name.lower(), HIDDEN)] += 1

    def __bool__(self) -> bool:
        return bool(self.files or self.folders)

    @property
    def unread_images(self) -> dict[str, int]:
        """Numbers of files that hold images of kinds that are not read (`formats.UNREAD`), by suffix."""
        return {kind: count for kind, count in self.files.items() if formats.unread(kind)}

    @property
    def other_files(self) -> dict[str, int]:
        """Numbers of files that are not images, by kind."""
        return {kind: count for kind, count in self.files.items() if not formats.unread(kind)}

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """All counts for JSON, the most frequent kind first."""
        named = {"unread_images": self.unread_images, "files": self.other_files, "folders": self.folders}
        return {name: dict(_sorted(kinds)) for name, kinds in named.items()}

    @property
    def text(self) -> str:
        """All counts in one line: "4 files were not read: 4 CR2; left out: 12 .xmp"; "" if there are none."""
        images = [f"{count} {_shown_suffix(kind)}" for kind, count in _shown(self.unread_images)]
        others = [f"{count} {_FILES.get(kind, kind)}" for kind, count in _shown(self.other_files)]
        others += [_folder_text(kind, count) for kind, count in _shown(self.folders)]
        num_images = sum(self.unread_images.values())
        not_read = "1 file was not read" if num_images == 1 else f"{num_images:,} files were not read"
        groups = {not_read: images, "left out": others}
        return "; ".join(f"{what}: {', '.join(kinds)}" for what, kinds in groups.items() if kinds)

    @property
    def advice(self) -> str:
        """How the most frequent kinds that are not read are converted, in one line; "" if there are none."""
        commands: dict[formats.Unread, str] = {}
        for suffix, _ in _sorted(self.unread_images):
            if (kind := formats.unread(suffix)) is not None:
                commands.setdefault(kind, f"Convert {_shown_suffix(suffix)} files with {kind.command(suffix)}.")
        return " ".join(list(commands.values())[:_MAX_COMMANDS_SHOWN])


def unread_reason(path: str) -> str:
    """Why an image of a kind that is not read is left out, and what converts it."""
    suffix = _kind_of(os.path.basename(path))  # noqa: PTH119 (a tree may have a hundred thousand)
    kind = formats.unread(suffix)
    assert kind is not None, "only for such files"
    return f"{kind.title}, which is not read; convert it with {kind.command(suffix)}"


_FILES = {"": "without a suffix", HIDDEN: "hidden"}


def _kind_of(name: str) -> str:
    dot = name.rfind(".")  # Not Path.suffix, which is slow for every name of a tree.
    if dot <= 0 or name in _SYSTEM_FILES or name[0] == ".":
        return _special_kind_of(name)
    suffix = name[dot:]
    return suffix.lower() if 1 < len(suffix) <= _MAX_SUFFIX_LENGTH and " " not in suffix else ""


def _special_kind_of(name: str) -> str:
    if name in _SYSTEM_FILES:
        return name
    if name.startswith(_APPLE_DOUBLE):
        return f"{_APPLE_DOUBLE}*"
    return HIDDEN if name.startswith(".") else ""


def _sorted(kinds: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))


def _shown(kinds: Mapping[str, int]) -> list[tuple[str, int]]:
    """The most frequent kinds, and the sum of the others."""
    every = _sorted(kinds)
    if len(every) <= _MAX_KINDS_SHOWN + 1:
        return every
    rest = every[_MAX_KINDS_SHOWN:]
    return [*every[:_MAX_KINDS_SHOWN], ("of other kinds", sum(count for _, count in rest))]


def _shown_suffix(kind: str) -> str:
    """ ".cr2" as "CR2"; the text for the sum of other kinds stays."""
    return kind[1:].upper() if kind.startswith(".") else kind


def _folder_text(kind: str, count: int) -> str:
    folders = "folder" if count == 1 else "folders"
    return f"{count} hidden {folders}" if kind == HIDDEN else f"{count} {folders} {kind}"
