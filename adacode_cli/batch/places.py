"""Questions about paths that are local or addresses: the answers come from a local disk or from a store."""

from __future__ import annotations

import os
from pathlib import Path

from adacode_cli.storage import objects
from adacode_cli.storage.path import is_remote, is_remote_text


def is_folder(path: Path) -> bool:
    """Whether there is a folder at a path. Raises InputError for an address at which there is nothing."""
    return objects.is_folder(path) if is_remote(path) else path.is_dir()


def is_same_folder(first: Path, second: Path) -> bool:
    """Whether two paths name one folder; links of local paths are resolved."""
    return real_text(first) == real_text(second)


def real_text(path: Path) -> str:
    """A path as text, with links resolved; of an address, the address."""
    return str(path) if is_remote(path) else os.path.realpath(path)


def absolute_text(path: Path | str) -> str:
    """The absolute path without dots, links left as they are; of an address, the address."""
    text = str(path)
    return text if is_remote_text(text) else os.path.abspath(text)  # noqa: PTH100 (Path.absolute leaves dots)
