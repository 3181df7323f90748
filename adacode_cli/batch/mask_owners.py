"""Which masks are the masks of other images, because they mirror the places of these images.

A mask `masks/1932/p1.png` is for an image `1932/p1.jpg` in any folder above, whether this is in the run or not. So the
place of a mask is looked up in the folder of an image and in every folder above it, and a mask that has an image there
is used for no image of another folder.

If the images are inside the folder of masks, every file there may be an image. There, a mask is only a file that is
named as one (`p1_mask.png`), or is in a folder that is named as one (`masks`, `my-masks`), and no other image there
may have its name.

Each folder is listed once, and no image is compared with all masks: a run may have thousands of both.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from adacode_cli import formats

MARK = "_mask"
"""The end of the name of a mask that is beside its image."""
_MASK_FOLDER = re.compile(r"(?:^|[^a-z])masks?(?:[^a-z]|$)", re.IGNORECASE)


@dataclass
class _Level:
    """One folder of the masks: its folders, by their names without case, and its masks, by the names of images."""

    folders: defaultdict[str, _Level] = field(default_factory=lambda: defaultdict(_Level))
    masks: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class _Listing:
    """The names, without suffixes, of the images in a folder, and its folders, by their names without case."""

    images: frozenset[str] = frozenset()
    folders: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Owners:
    """The masks that have an image at their place below one folder.

    folders: {name of an image: {a mask that it could have: the folders of images that own it}}.
    only_in: {(folder, name of an image): masks that images of this folder own, and no others}.
    """

    folders: dict[str, dict[str, frozenset[str]]]
    only_in: dict[tuple[str, str], list[str]]


class MaskOwners:
    """Finds the masks among `places` of `folder` that an image can have by its name."""

    def __init__(self, folder: Path, places: Iterable[str]) -> None:
        self._folder = os.path.realpath(folder)
        self._places = list(places)
        self._tree = _Level()
        self._folder_names: set[str] = set()
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for place in self._places:
            level = self._tree
            for name in folder_of(place).split("/") if "/" in place else ():
                level = level.folders[_without_case(name)]
                self._folder_names.add(_without_case(name))
            for name in _image_names(place):
                level.masks[name].append(place)
                self._by_name[name].append(place)
        self._real: dict[str, str] = {}
        self._listings: dict[str, _Listing] = {}
        self._owners: dict[tuple[str, bool], _Owners] = {}
        self._unowned: dict[tuple[str, bool, str], Sequence[str]] = {}

    def masks_for(self, path: str, limit: int | None = None) -> list[str]:
        """The masks, at most `limit`, that have the name of the image `path`, or this name and `_mask`, and that no
        image of another folder owns.
        """
        name = name_of(key_of(path))
        if name not in self._by_name:
            return []
        own = self._real_path(os.path.dirname(path) or os.curdir)  # noqa: PTH120
        real = _with_folders_above(own)
        bases = (*real, *self._linked(path, real))
        inside = self._folder in bases
        owners = [self._owners_at(base, inside=inside) for base in bases]
        # Those above are shared by many images, the others are not.
        above = self._not_owned(real[1], name, inside=inside) if len(real) > 1 else self._by_name[name]
        owned = [at_base.folders[name] for at_base in (owners[0], *owners[len(real) :]) if name in at_base.folders]
        not_owned = (place for place in above if not any(place in at_base for at_base in owned))
        return list(islice(chain(_owned_only_by(own, name, owners), not_owned), limit))

    def _linked(self, path: str, real: Sequence[str]) -> tuple[str, ...]:
        """Folders above an image by its path as given, if it leads through links, that are not above its real path."""
        given = os.path.abspath(os.path.dirname(path))  # noqa: PTH100, PTH120
        if given == real[0]:
            return ()
        above = dict.fromkeys(self._real_path(folder) for folder in _with_folders_above(given))
        return tuple(folder for folder in above if folder not in real)

    def _real_path(self, path: str) -> str:
        if path not in self._real:
            self._real[path] = os.path.realpath(path)
        return self._real[path]

    def _not_owned(self, base: str, name: str, *, inside: bool) -> Sequence[str]:
        """The masks for `name` without those that an image owns, as seen from `base` and all folders above it."""
        key = (base, inside, name)
        if key not in self._unowned:
            above = os.path.dirname(base)  # noqa: PTH120
            masks = self._by_name[name] if above == base else self._not_owned(above, name, inside=inside)
            owned = self._owners_at(base, inside=inside).folders.get(name)
            self._unowned[key] = [place for place in masks if place not in owned] if owned else masks
        return self._unowned[key]

    def _owners_at(self, base: str, *, inside: bool) -> _Owners:
        """The masks with an image at their place below `base`. `inside`: the image lies in the folder of masks."""
        key = (base, inside)
        if key not in self._owners:
            self._owners[key] = _indexed(
                self._in_one_tree() if base == self._folder else self._mirrored(base, inside=inside)
            )
        return self._owners[key]

    def _mirrored(self, base: str, *, inside: bool) -> dict[str, frozenset[str]]:
        """{mask: the folders below `base` where it has an image}."""
        owners: dict[str, frozenset[str]] = {}
        waiting = [(base, self._tree)]
        while waiting:
            folder, level = waiting.pop()
            if not inside and f"{folder}{os.sep}".startswith(f"{self._folder.rstrip(os.sep)}{os.sep}"):
                continue  # These are masks.
            listing = self._listing(folder, level)
            for name in level.masks.keys() & listing.images:
                for place in level.masks[name]:
                    owners[place] = owners.get(place, frozenset()) | {folder}
            for name in level.folders.keys() & listing.folders.keys():
                waiting += [(below, level.folders[name]) for below in listing.folders[name]]
        return owners

    def _in_one_tree(self) -> dict[str, frozenset[str]]:
        """{file in the folder of masks: the folders of images there that own it}, if images are there too."""
        images: defaultdict[str, set[str]] = defaultdict(set)
        for place in self._places:
            if not _is_named_as_mask(place):
                images[name_of(key_of(place))].add(self._in_folder(place))
        shared = {name: frozenset(folders) for name, folders in images.items()}
        owners = {}
        for place in self._places:
            name = name_of(key_of(place)).removesuffix(MARK)
            own = self._in_folder(place)
            if not _is_named_as_mask(place):
                owners[place] = frozenset({own})
                continue
            owners[place] = shared.get(name, frozenset())
            is_beside = not _MASK_FOLDER.search(folder_of(place)) and name in self._listing(own, self._tree).images
            if is_beside and own not in owners[place]:
                owners[place] |= {own}
        return owners

    def _in_folder(self, place: str) -> str:
        """The real path of the folder of a mask."""
        return self._real_path(os.path.join(self._folder, *folder_of(place).split("/")))  # noqa: PTH118

    def _listing(self, folder: str, level: _Level) -> _Listing:
        """What a folder contains that masks are named after; nothing if it does not exist."""
        if folder not in self._listings:
            try:
                with os.scandir(folder) as entries:
                    self._listings[folder] = self._read(entries)
            except (FileNotFoundError, NotADirectoryError):
                self._listings[folder] = _Listing()
            except OSError:  # It cannot be listed, but folders in it may be.
                return _Listing(folders={name: [os.path.join(folder, name)] for name in level.folders})  # noqa: PTH118
        return self._listings[folder]

    def _read(self, entries: Iterable[os.DirEntry[str]]) -> _Listing:
        images = set()
        folders: defaultdict[str, list[str]] = defaultdict(list)
        for entry in entries:
            if (key := key_of(entry.name)) in self._by_name and formats.of_any_suffix(Path(entry.name).suffix):
                images.add(key)
            if (name := _without_case(entry.name)) in self._folder_names and entry.is_dir():
                folders[name].append(self._real_path(entry.path))
        return _Listing(frozenset(images), dict(folders))


def key_of(path: str) -> str:
    """A path with forward slashes and without its suffix; macOS writes é as two code points, most others as one."""
    path = path.replace(os.sep, "/")
    dot = path.rfind(".")
    stem = path[:dot] if dot > path.rfind("/") + 1 else path
    return stem if stem.isascii() else unicodedata.normalize("NFC", stem)


def name_of(key: str) -> str:
    """The last part of a path that is separated by forward slashes."""
    return key.rpartition("/")[2]


def folder_of(place: str) -> str:
    """The folder of a place, which is separated by forward slashes; "" if it has none."""
    return place.rpartition("/")[0]


def _image_names(place: str) -> set[str]:
    """The names, without suffixes, of images that could have a mask."""
    name = name_of(key_of(place))
    return {name, name.removesuffix(MARK)}


def _without_case(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_named_as_mask(place: str) -> bool:
    return key_of(place).endswith(MARK) or _MASK_FOLDER.search(folder_of(place)) is not None


def _with_folders_above(folder: str) -> tuple[str, ...]:
    folders = [folder]
    while (above := os.path.dirname(folders[-1])) != folders[-1]:  # noqa: PTH120
        folders.append(above)
    return tuple(folders)


def _indexed(owners: dict[str, frozenset[str]]) -> _Owners:
    folders: defaultdict[str, dict[str, frozenset[str]]] = defaultdict(dict)
    only_in: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for place, owning in owners.items():
        for name in _image_names(place) if owning else ():
            folders[name][place] = owning
            if len(owning) == 1:
                only_in[next(iter(owning)), name].append(place)
    return _Owners(dict(folders), dict(only_in))


def _owned_only_by(folder: str, name: str, owners: Sequence[_Owners]) -> Iterator[str]:
    """The masks for `name` that have owners, all of them in the folder of the image."""
    for place in dict.fromkeys(place for at_base in owners for place in at_base.only_in.get((folder, name), ())):
        if all(at_base.folders.get(name, {}).get(place, {folder}) <= {folder} for at_base in owners):
            yield place
