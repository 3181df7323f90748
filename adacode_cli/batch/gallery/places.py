"""Where the files of a gallery lie in an output tree, and how a page in it refers to other files.

    OUT/.adacode/report/index.html, app/          the page, the same for every run
    OUT/.adacode/report/data/                     what it shows: scripts, because a page of file:// may read no others
    OUT/.adacode/report/pictures/ab/abcd….webp    each image before and after, side by side, as a thumbnail
    OUT/.adacode/report/pictures/ab/abcd….json    what is known of both, for the data
    OUT/.adacode/report/pictures/ab/abcd…-*       large views, what is drawn over them, and further pages (-p2, -p3, …)

The pictures of an output have the name of its content (SHA-256). So a picture that is there belongs to the output as it
is, and a later run makes only those that are missing.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from adacode_cli.batch.state_files import STATE
from adacode_cli.storage.path import RemotePath, is_remote_text

GALLERY = STATE / "report"
PAGE = "index.html"
PICTURES = "pictures"
VENDOR = "vendor"
"""In `app`: the libraries of the page."""
FILES = "files"
"""Copies of originals and results, in a page that needs no other files."""
NAME_DIGITS = 32
_PICTURE = re.compile(rf"(?:[0-9a-f]{{2}}/)?([0-9a-f]{{{NAME_DIGITS}}})\.(webp|json)")


def picture_path(folder: Path, sha256: str, ending: str) -> Path:
    """The file of an output with this digest in the gallery `folder`: ".webp", ".json", "-before.webp", …"""
    return folder / picture_name(sha256, ending)


def picture_name(sha256: str, ending: str) -> str:
    """`picture_path` below the gallery's folder, with forward slashes."""
    return f"{PICTURES}/{sha256[:2]}/{sha256[:NAME_DIGITS]}{ending}"


def complete_pictures(places: Iterable[str]) -> frozenset[str]:
    """The digits of the outputs of which both the thumbnail and the facts are among these places, which are below the
    folder of pictures or below one of its folders.
    """
    found: dict[str, set[str]] = {"webp": set(), "json": set()}
    for place in places:
        if name := _PICTURE.fullmatch(place):
            found[name[2]].add(name[1])
    return frozenset(found["webp"] & found["json"])


def pictures_of(folder: Path, sha256: str) -> list[Path]:
    """All files of an output in the gallery `folder`, the thumbnail last."""
    start = picture_path(folder, sha256, "")
    return sorted(start.parent.glob(f"{start.name}*"), key=lambda path: (path.name == f"{start.name}.webp", path.name))


def page_ending(number: int) -> str:
    """By what the pictures of a page of a document are called, from page 2 on; the first one has no ending."""
    return f"-p{number}"


def url_to(path: str, folder: Path) -> str | None:
    """The relative address of the file with the absolute path `path`, for a page in `folder`; None if there is none, as
    for a file in a store.

    All bytes of the name but letters, digits and slashes are escaped, so no name can be read as another kind of
    address.
    """
    if is_remote_text(path):
        return None
    try:
        relative = os.path.relpath(path, folder.absolute())
    except ValueError:  # on another drive of Windows
        return None
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def url_in_store(path: str, folder: RemotePath) -> str | None:
    """As `url_to`, for a page in the folder of a store; None for a file elsewhere than in its bucket or on its server.

    The page loads nothing from other places, and an address that anybody may open is not known.
    """
    start = "".join(f"{part}/" for part in str(folder).split("/", 3)[:3])
    if not path.startswith(start):
        return None
    relative = posixpath.relpath(f"/{path.removeprefix(start)}", f"/{str(folder).removeprefix(start)}")
    return quote(os.fsencode(relative))


def url_of_output(name: str, start: str = "../../") -> str | None:
    """The address of the output `name` of a tree, whose root has the address `start`; None for a forged name."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        return None
    return start + quote(os.fsencode(name))
