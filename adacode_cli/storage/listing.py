"""Lists the files below an address page by page, so that a folder of a million files needs no memory for all of them.

Where a store has folders and no pages, one folder is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adacode_cli.errors import AdaCodeError, InputError
from adacode_cli.storage.objects import stamp_from, stamp_of
from adacode_cli.storage.opening import file_system
from adacode_cli.storage.path import RemotePath
from adacode_cli.storage.patience import patiently
from adacode_cli.storage.refusals import refusal

PAGE = 1000
"""Files that one request lists; S3 allows no more."""

Entry = tuple[str, int]
"""(place of a file below the listed address, with forward slashes; its stamp, as in `objects.Status`)."""


def entries(path: RemotePath, kind: type[AdaCodeError] = InputError) -> Iterator[Entry]:
    """Every file below `path`. Raises an error of class `kind`. A place may hold parts that no path can have."""
    return _of_bucket(path, kind) if path.scheme == "s3" else _of_folders(path, kind)


def first_entries(path: RemotePath, kind: type[AdaCodeError]) -> list[Entry]:
    """The files of the first page, to find out whether a place can be listed. Raises an error of class `kind`."""
    found = []
    for entry in entries(path, kind):
        found.append(entry)
        if len(found) == PAGE:
            break
    return found


def _of_bucket(path: RemotePath, kind: type[AdaCodeError]) -> Iterator[Entry]:
    bucket, *parts = path.parts[1:]
    prefix = "".join(f"{part}/" for part in parts)
    more: dict[str, str] = {}
    while True:
        page = _page(path, {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE, **more}, kind)
        for one in page.get("Contents", ()):
            place = one["Key"][len(prefix) :]
            if place and place[-1] != "/":  # Consoles mark empty folders by objects of no bytes.
                tag = one.get("ETag", "").strip('"')
                yield place, stamp_from(tag, "", one["Size"]) if tag else 0
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _page(path: RemotePath, request: dict[str, Any], kind: type[AdaCodeError]) -> dict[str, Any]:
    def call() -> dict[str, Any]:
        page: dict[str, Any] = file_system(path)[0].call_s3("list_objects_v2", **request)
        return page

    try:
        return patiently(call)
    except Exception as error:
        raise refusal(kind, "cannot be listed", path, error) from error


def _of_folders(path: RemotePath, kind: type[AdaCodeError], before: str = "") -> Iterator[Entry]:
    """Hidden folders come first, as in a list of keys, so that the state of a run is seen before its outputs."""
    listed = _listed(path, kind)
    folders = [name for name, info in listed if info.get("type") == "directory"]
    hidden = [name for name in folders if name.startswith(".")]
    for name in hidden:
        yield from _of_folders(path / name, kind, f"{before}{name}/")
    for name, info in listed:
        if info.get("type") != "directory":
            yield f"{before}{name}", stamp_of(info)
    for name in folders:
        if not name.startswith("."):
            yield from _of_folders(path / name, kind, f"{before}{name}/")


def _listed(folder: RemotePath, kind: type[AdaCodeError]) -> list[tuple[str, dict[str, Any]]]:
    """(name, what the store states) of each entry of a folder, sorted by name; nothing for a folder that is missing."""

    def call() -> list[dict[str, Any]]:
        system, name = file_system(folder)
        try:
            found: list[dict[str, Any]] = system.ls(name, detail=True)
        except FileNotFoundError:
            return []
        own = name.rstrip("/")
        return [one for one in found if one["name"].rstrip("/") != own]

    try:
        listed = patiently(call)
    except Exception as error:
        raise refusal(kind, "cannot be listed", folder, error) from error
    return sorted((one["name"].rstrip("/").rpartition("/")[2], one) for one in listed)
