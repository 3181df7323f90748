"""Counts files in input folders that a run does not restore, by kind, so that they can be reported.

A kind is a suffix in lower case, with its dot; "" for names without a suffix, or with one that is too long or contains
a space. Files that operating systems write beside images have their own kinds: "._*", ".DS_Store" and "Thumbs.db";
other hidden files and folders are ".*". Folders of such files (`SIDE_FOLDERS`, and all hidden ones) are counted and not
searched.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

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
_CAMERA_RAW = (
    "3fr|arw|cr2|cr3|crw|dcr|dng|erf|fff|iiq|k25|kdc|mef|mos|mrw|nef|nrw|orf|pef|raf|raw|rw2|rwl|sr2|srf|srw|x3f"
)
_OTHER_IMAGE = (
    "avifs|dds|dib|djvu|exr|gif|hdp|hdr|heics|heifs|jph|jxl|jxr|kra|ora|pam|pbm|pcx|pgm|pnm|ppm|psb|psd|qoi|tga|wdp|xcf"
)
_UNREAD_IMAGE = re.compile(rf"\.({_CAMERA_RAW}|{_OTHER_IMAGE})")
_MAX_KINDS_SHOWN = 6


@dataclass
class LeftOut:
    """The numbers of files left out, by kind, and of folders, by name."""

    files: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)

    def add_file(self, name: str) -> None:
        """Counts a file that is not restored."""
        self.files[_kind_of(name)] += 1

    def add_folder(self, name: str) -> None:
        """Counts a folder that is not searched, by its usual name in `SIDE_FOLDERS`, or else as hidden."""
        self.folders[SIDE_FOLDERS.get(name.lower(), HIDDEN)] += 1

    def __bool__(self) -> bool:
        return bool(self.files or self.folders)

    @property
    def unread_images(self) -> dict[str, int]:
        """Numbers of camera raw files and other images in formats that are not read, by kind."""
        return {kind: count for kind, count in self.files.items() if _is_image(kind)}

    @property
    def other_files(self) -> dict[str, int]:
        """Numbers of files that are not images, by kind."""
        return {kind: count for kind, count in self.files.items() if not _is_image(kind)}

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """All counts for JSON, the most frequent kind first."""
        named = {"unread_images": self.unread_images, "files": self.other_files, "folders": self.folders}
        return {name: dict(_sorted(kinds)) for name, kinds in named.items()}

    @property
    def text(self) -> str:
        """All counts in one line: "not read: 4 .cr2; left out: 12 .xmp, 3 without a suffix"; "" if there are none."""
        images = [f"{count} {kind}" for kind, count in _shown(self.unread_images)]
        others = [f"{count} {_FILES.get(kind, kind)}" for kind, count in _shown(self.other_files)]
        others += [_folder_text(kind, count) for kind, count in _shown(self.folders)]
        groups = {"not read": images, "left out": others}
        return "; ".join(f"{what}: {', '.join(kinds)}" for what, kinds in groups.items() if kinds)


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


def _is_image(kind: str) -> bool:
    return _UNREAD_IMAGE.fullmatch(kind) is not None


def _sorted(kinds: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))


def _shown(kinds: Mapping[str, int]) -> list[tuple[str, int]]:
    """The most frequent kinds, and the sum of the others."""
    every = _sorted(kinds)
    if len(every) <= _MAX_KINDS_SHOWN + 1:
        return every
    rest = every[_MAX_KINDS_SHOWN:]
    return [*every[:_MAX_KINDS_SHOWN], ("of other kinds", sum(count for _, count in rest))]


def _folder_text(kind: str, count: int) -> str:
    folders = "folder" if count == 1 else "folders"
    return f"{count} hidden {folders}" if kind == HIDDEN else f"{count} {folders} {kind}"
