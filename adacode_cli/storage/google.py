"""Google Cloud Storage without what gcsfs adds to it on its own."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


@cache
def plain_class() -> type[AbstractFileSystem]:
    """The class of fsspec for Google Cloud Storage, with one attempt for each request (`patience` makes more).

    The class that gcsfs registers asks another service of Google about each bucket first, and prints a warning where
    that does not answer.
    """
    from gcsfs.core import GCSFileSystem

    once = getattr(GCSFileSystem._request, "__wrapped__", GCSFileSystem._request)
    return type("PlainFileSystem", (GCSFileSystem,), {"_request": once})
