"""A private file that leads a browser to an address which other users of the machine must not know.

The words of a command can be read by all users, so the address of a server is not one of them: the browser opens a
file that only this user can read, and that leads on.
"""

from __future__ import annotations

import html
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SNAP = Path("/snap/bin")


@contextmanager
def private_page(address: str) -> Iterator[Path | None]:
    """Within the block, a file that leads to `address`; None if none can be written."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="adacode-view-", dir=_place(), ignore_cleanup_errors=True)
    except OSError:
        yield None
        return
    with folder as name:
        page = Path(name) / "open.html"
        try:
            with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(_text(address))
        except OSError:
            yield None
            return
        yield page


def _place() -> Path | None:
    """Browsers from a snap have a /tmp of their own, and see no hidden folders. None: the place for temporary files."""
    return Path.home() if _SNAP.is_dir() else None


def _text(address: str) -> str:
    quoted = html.escape(address)
    return (
        '<!DOCTYPE html>\n<meta charset="utf-8">\n<meta name="referrer" content="no-referrer">\n'
        "<title>adacode</title>\n"
        f'<meta http-equiv="refresh" content="0; url={quoted}">\n<p><a href="{quoted}">adacode</a></p>\n'
    )
