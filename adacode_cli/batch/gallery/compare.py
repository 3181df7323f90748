"""A gallery of several results of the same inputs: each folder beside the first one, in one page."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from adacode_cli import formats
from adacode_cli.batch.contents import read_whole
from adacode_cli.batch.gallery.entries import Fields
from adacode_cli.batch.gallery.folder import Gallery
from adacode_cli.batch.gallery.pictures import Shown, has_picture, save_picture, shown_of
from adacode_cli.batch.gallery.places import url_to
from adacode_cli.batch.record import FORMAT_VERSION
from adacode_cli.errors import AdaCodeError, InputError, OutputError
from adacode_cli.imaging.decode import Decode
from adacode_cli.limits import MAX_FILE_BYTES, MAX_PIXELS
from adacode_cli.sizes import MAX_SCALE


@dataclass(frozen=True)
class Folder:
    """A folder of results: the name by which the page calls it, and where it is."""

    name: str
    path: Path


def folders_of(paths: Sequence[Path]) -> list[Folder]:
    """The folders, called by their last names where these differ, else by their paths. Raises InputError."""
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises for a name that is too long)
            raise InputError("is not a directory", path=path, hint="Name two or more directories of results.")
    names = [path.absolute().name for path in paths]
    unique = len(set(names)) == len(names)
    return [Folder(name if unique else str(path), path) for name, path in zip(names, paths, strict=True)]


def check_apart(page: Path, folders: Sequence[Folder]) -> None:
    """Raises OutputError for a page in one of the folders: its thumbnails would be images of the folder."""
    real = os.path.realpath(page)
    for folder in folders:
        top = os.path.realpath(folder.path)
        if real == top or real.startswith(top.rstrip(os.sep) + os.sep):
            raise OutputError(f"lies in {folder.path}", path=page, hint="Choose a directory outside of it with -o.")


def pairs_of(folders: Sequence[Folder]) -> list[tuple[str, Path, Path, Folder]]:
    """(path in the folder, the file in the first one, the file in another one, that one) for each name in both.

    Suffixes need not be the same; a file of the same name counts before others. Raises InputError for a folder
    without any.
    """
    first, *others = folders
    images = list(_images(first.path))
    found: list[tuple[str, Path, Path, Folder]] = []
    for other in others:
        theirs = list(_images(other.path))
        exact = {file.relative_to(other.path): file for _, file in theirs}
        stems = dict(reversed(theirs))
        before = len(found)
        for stem, file in images:
            place = file.relative_to(first.path)
            match = exact.get(place) or stems.get(stem)
            if match is not None:
                found.append((place.as_posix(), file, match, other))
        if len(found) == before:
            hint = "Name directories whose images have the same paths, apart from their suffixes."
            raise InputError(f"has no image that is in {other.path} too", path=first.path, hint=hint)
    return found


def _images(folder: Path) -> Iterator[tuple[str, Path]]:
    """(path below the folder without its suffix, the file) of each image, sorted; hidden files are left out."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and formats.of_suffix(path.suffix) is not None:
                yield path.relative_to(folder).with_suffix("").as_posix(), path


def compare(folders: Sequence[Folder], page: Path, decoder: Decode, on_picture: Callable[[int, int], None]) -> Gallery:
    """Writes the page that compares the folders with the first one into the folder `page`, and returns its gallery.

    on_picture: called with the number of a pair, from 1, and the number of all. Raises InputError, OutputError.
    """
    pairs = pairs_of(folders)
    lines: list[bytes] = []
    addresses: dict[str, tuple[str | None, str | None]] = {}
    for number, (name, before, after, other) in enumerate(pairs, 1):
        on_picture(number, len(pairs))
        place = f"{other.name}/{name}" if len(folders) > 2 else name
        fields = _line(folders[0], other, place, before)
        try:
            fields["sha256"] = _picture(page, before, after, decoder)
        except OutputError:
            raise
        except Exception as error:  # noqa: BLE001 (memory, or what a library meets in one file)
            said = error.message if isinstance(error, AdaCodeError) else str(error)
            fields |= {"outcome": "failed", "error": said or type(error).__name__}
        addresses[place] = url_to(str(before.absolute()), page), url_to(str(after.absolute()), page)
        lines.append(json.dumps(fields).encode("ascii"))
    shown = [(line, 1) for line in lines]
    gallery = Gallery(page, page, lambda fields: addresses[fields["target"]], lambda _start: shown)
    gallery.begin(running=False)
    return gallery


def _line(first: Folder, other: Folder, place: str, before: Path) -> Fields:
    """What a journal would say."""
    return {
        "version": FORMAT_VERSION,
        "target": place,
        "source": place,
        "path": str(before.absolute()),
        "outcome": "done",
        "sides": [first.name, other.name],
    }


def _picture(page: Path, before: Path, after: Path, decoder: Decode) -> str:
    """Makes the picture of two files, if it is not there, and returns the digest by which it is called."""
    files = [read_whole(path, max_bytes=MAX_SCALE**2 * MAX_FILE_BYTES) for path in (before, after)]
    digest = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in files)).hexdigest()
    if not has_picture(page, digest):
        shown = [_shown(data, path, decoder) for data, path in zip(files, (before, after), strict=True)]
        save_picture(page, digest, shown[0], shown[1])
    return digest


def _shown(data: bytes, path: Path, decoder: Decode) -> Shown:
    return shown_of(decoder(data, name=str(path), max_pixels=MAX_SCALE**2 * MAX_PIXELS), len(data))
