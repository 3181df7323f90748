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
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from adacode_cli.batch.state_files import STATE

GALLERY = STATE / "report"
PAGE = "index.html"
PICTURES = "pictures"
VENDOR = "vendor"
"""In `app`: the libraries of the page."""
FILES = "files"
"""Copies of originals and results, in a page that needs no other files."""
_NAME_DIGITS = 32


def picture_path(folder: Path, sha256: str, ending: str) -> Path:
    """The file of an output with this digest in the gallery `folder`: ".webp", ".json", "-before.webp", …"""
    return folder / picture_name(sha256, ending)


def picture_name(sha256: str, ending: str) -> str:
    """`picture_path` below the gallery's folder, with forward slashes."""
    return f"{PICTURES}/{sha256[:2]}/{sha256[:_NAME_DIGITS]}{ending}"


def pictures_of(folder: Path, sha256: str) -> list[Path]:
    """All files of an output in the gallery `folder`, the thumbnail last."""
    start = picture_path(folder, sha256, "")
    return sorted(start.parent.glob(f"{start.name}*"), key=lambda path: (path.name == f"{start.name}.webp", path.name))


def page_ending(number: int) -> str:
    """By what the pictures of a page of a document are called, from page 2 on; the first one has no ending."""
    return f"-p{number}"


def url_to(path: str, folder: Path) -> str | None:
    """The relative address of the file with the absolute path `path`, for a page in `folder`; None if there is none.

    All bytes of the name but letters, digits and slashes are escaped, so no name can be read as another kind of
    address.
    """
    try:
        relative = os.path.relpath(path, folder.absolute())
    except ValueError:  # on another drive of Windows
        return None
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def url_of_output(name: str, start: str = "../../") -> str | None:
    """The address of the output `name` of a tree, whose root has the address `start`; None for a forged name."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        return None
    return start + quote(os.fsencode(name))
