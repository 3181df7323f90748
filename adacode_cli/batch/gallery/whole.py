"""A gallery that needs no other files: with copies of originals and results, in a folder of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from adacode_cli import atomic, formats
from adacode_cli.batch.contents import Content, holds
from adacode_cli.batch.gallery.entries import Fields, digest_in, identifier
from adacode_cli.batch.gallery.folder import Gallery
from adacode_cli.batch.gallery.places import FILES, GALLERY, PAGE, pictures_of, url_of_output
from adacode_cli.batch.output_files import make_directory
from adacode_cli.batch.state_files import is_path
from adacode_cli.errors import OutputError
from adacode_cli.storage.path import was_address


def check_place(folder: Path) -> None:
    """Raises OutputError unless `folder` is new, empty, or a gallery that was written there before, of no run."""
    hint = "Choose a new directory for the page."
    if was_address(folder):
        raise OutputError("is an address, but the page needs a local directory", path=folder, hint=hint)
    if Path(os.path.realpath(folder)).parts[-2:] == GALLERY.parts:
        raise OutputError("is the place of the page of a run", path=folder, hint=hint)
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise OutputError("exists and is not a directory", path=folder, hint=hint)
    if any(folder.iterdir()) and not ((folder / PAGE).is_file() and (folder / "app" / "data.js").is_file()):
        raise OutputError("holds files that are not of a page of adacode", path=folder, hint=hint)


def copy_whole(gallery: Gallery, folder: Path, on_copy: Callable[[int, int], None]) -> Gallery:
    """Writes the page of `gallery`, its pictures, originals and results into `folder`, and returns the new gallery.

    on_copy: called with the number of an output, from 1, and the number of all. Originals that are not there any more
    are left out. Raises OutputError, JournalError.
    """
    check_place(folder)
    gallery.check()
    copied: dict[str, tuple[str | None, str | None]] = {}
    lines = list(gallery.last_lines())
    for number, fields in enumerate(lines, 1):
        on_copy(number, len(lines))
        copied[fields["target"]] = _copied(gallery, folder, fields)
    whole = Gallery(gallery.root, folder, lambda fields: copied.get(fields["target"], (None, None)))
    commands = gallery.folder / "commands.json"
    if _is_own_file(commands):
        _copy(commands, folder / "commands.json")
    whole.begin(running=False)
    return whole


def _copied(gallery: Gallery, folder: Path, fields: Fields) -> tuple[str | None, str | None]:
    """(address of the original, address of the result) in `folder`, after copying them and their pictures."""
    sha256, name = digest_in(fields.get("sha256")), identifier(fields["target"])
    for picture in pictures_of(gallery.folder, sha256) if sha256 else ():
        if _is_own_file(picture):
            _copy(picture, folder / picture.relative_to(gallery.folder))
    path, original, result = fields.get("path"), None, None
    if is_path(path) and (source_sha256 := digest_in(fields.get("source_sha256"))):
        original = _file(Path(str(path)), source_sha256, folder, f"{name}-original")
    if sha256 and url_of_output(fields["target"]):
        result = _file(gallery.root / fields["target"], sha256, folder, f"{name}-result")
    return original, result


def _is_own_file(path: Path) -> bool:
    """Whether a file of the gallery is there: a link may lead to a file that must not be passed on."""
    return path.is_file() and not path.is_symlink()


def _file(source: Path, sha256: str, folder: Path, name: str) -> str | None:
    """The address of the copy of an image, under a name of our own.

    None if it is not there, has another content than the journal says, or is no image by its name: a forged journal
    must not bring other files of this machine into a page that may be passed on.
    """
    suffix = source.suffix.lower()
    is_image = formats.of_input_suffix(suffix) is not None or formats.of_suffix(suffix) is not None
    address = f"{FILES}/{name[:2]}/{name}{suffix}"
    with suppress(OSError, ValueError):
        if is_image and holds(source, Content(source.stat().st_size, sha256)):
            _copy(source, folder / address)
            return address
    return None


def _copy(source: Path, target: Path) -> None:
    """Copies a file. Raises OSError if the source cannot be read, and OutputError."""
    make_directory(target.parent)
    with source.open("rb") as file, atomic.replacing(target, durable=False) as copy:
        shutil.copyfileobj(file, copy)


def gallery_of(root: Path) -> Gallery:
    """The gallery in an output tree."""
    return Gallery(root, root / GALLERY)
