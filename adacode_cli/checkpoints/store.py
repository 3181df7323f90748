"""Finds the files of a catalogue entry and compares their digests.

The order is: bundled with the program, downloaded earlier, downloaded now (only if the caller allows it). So a run
never uses the network for files that are on this machine, and never uses a file that was not checked.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from adacode_cli.checkpoints import catalogue_file, hub, integrity, release
from adacode_cli.checkpoints.cache import KnownDigests, cache_dir, exclusive, storing
from adacode_cli.checkpoints.catalogue import Catalogue, Entry, WeightsFile
from adacode_cli.checkpoints.catalogue_file import weights_folder
from adacode_cli.checkpoints.hub import DEFAULT_ACCESS, HubAccess
from adacode_cli.checkpoints.location import HubFile
from adacode_cli.checkpoints.release import OnProgress
from adacode_cli.errors import WeightsError

# Reads the published checkpoint at the first path and writes our format to the second.
Convert = Callable[[Path, Path], None]
Availability = Literal["bundled", "cached", "absent"]


def resolve(
    entry: Entry,
    catalogue: Catalogue,
    *,
    convert: Convert,
    allow_download: bool,
    hub_repo: str | None = None,
    on_progress: OnProgress | None = None,
    folder: Path | None = None,
    access: HubAccess = DEFAULT_ACCESS,
) -> tuple[Path, ...]:
    """The paths of an entry's files, in the entry's order, each verified; a release entry's one path is our format.

    `hub_repo` overrides ADACODE_HUB_REPO and the catalogue. `on_progress` follows release downloads (the Hub's client
    draws its own bar). `folder` holds the bundled files, by default those of this installation. `access` is how the
    Hub's client is called. Raises WeightsError when a file is missing and must not be fetched, cannot be fetched, or is
    not what it should be; OutputError when the cache cannot be written.
    """
    if entry.kind == "release":
        return (_released(entry, catalogue, convert, on_progress, allow_download=allow_download),)
    bundled = weights_folder() if folder is None else folder
    files = [catalogue.file(name) for name in entry.files]
    return tuple(
        _stored(file, entry, catalogue, bundled, hub_repo, access=access, allow_download=allow_download)
        for file in files
    )


def state(
    entry: Entry, catalogue: Catalogue, *, hub_repo: str | None = None, folder: Path | None = None
) -> Availability:
    """Where an entry's files are, by their names only: nothing is read, downloaded or compared."""
    if entry.kind == "release":
        with suppress(WeightsError):  # without a cache folder it is not cached
            return "cached" if _converted_path(entry).is_file() else "absent"
        return "absent"
    bundled = weights_folder() if folder is None else folder
    if all((bundled / name).is_file() for name in entry.files):
        return "bundled"
    missing = [name for name in entry.files if not (bundled / name).is_file()]
    wanted = [_on_hub(name, catalogue, hub_repo) for name in missing]
    return "cached" if all(one is not None and hub.cached(one) is not None for one in wanted) else "absent"


def require_here(entry: Entry) -> None:
    """Raises WeightsError for an entry that `resolve` without downloads would refuse, by the names of files only."""
    if entry.kind == "release":
        target = _converted_path(entry)
        if not target.is_file() and not (target.parent / entry.files[0]).is_file():
            raise _not_here(entry)


def release_folder() -> Path:
    """Where published files and their conversions are kept. Raises WeightsError without a cache folder."""
    return cache_dir() / "releases"


def to_download(entry: Entry, catalogue: Catalogue) -> str | None:
    """The address of the published file that `resolve` would download for an entry; None for what is here already, and
    for an entry of another kind. Raises WeightsError without a cache folder.
    """
    if entry.kind != "release":
        return None
    here = (_converted_path(entry), release_folder() / entry.files[0])
    return None if any(path.is_file() for path in here) else f"{catalogue.release}/{entry.files[0]}"


def _stored(
    file: WeightsFile,
    entry: Entry,
    catalogue: Catalogue,
    bundled: Path,
    hub_repo: str | None,
    *,
    access: HubAccess,
    allow_download: bool,
) -> Path:
    if (found := catalogue_file.bundled(file, bundled)) is not None:
        return found
    path = bundled / file.name
    wanted = _on_hub(file.name, catalogue, hub_repo)
    if wanted is None or file.sha256 is None:
        hint = "Reinstall adacode-cli, or name the Hub repository that has it: --hub-repo OWNER/REPO."
        raise WeightsError(f"{file.name} (for {entry.name}) is not part of this installation", path=path, hint=hint)
    earlier = hub.cached(wanted, access)
    # The digest decides whether a cached file is used: no request for a newer one is needed.
    if earlier is not None and integrity.sha256_of(earlier) == file.sha256:
        return earlier
    if not allow_download:
        raise _not_here(entry)
    return hub.fetch(wanted, expected_sha256=file.sha256, access=access)


def _on_hub(name: str, catalogue: Catalogue, hub_repo: str | None) -> HubFile | None:
    where = hub.repository(hub_repo, catalogue.hub_repo)
    return HubFile(where.repo, where.revision, name) if where else None


def _converted_path(entry: Entry) -> Path:
    return release_folder() / f"{entry.name}.safetensors"


def _released(
    entry: Entry, catalogue: Catalogue, convert: Convert, on_progress: OnProgress | None, *, allow_download: bool
) -> Path:
    target = _converted_path(entry)
    known = KnownDigests(target.parent)
    url = f"{catalogue.release}/{entry.files[0]}"
    # Before the lock, so that a read-only cache can be used.
    if _is_converted(target, url, known):
        return target
    if not allow_download and not (target.parent / entry.files[0]).is_file():
        raise _not_here(entry)
    with exclusive(target):
        if _is_converted(target, url, known):
            return target

        def make(published: Path) -> str:
            return _make(target, published, convert)

        published = release.download(url, target.parent, accept=make, on_progress=on_progress)
        if not _is_converted(target, url, known):  # it was made earlier, and is damaged or gone
            known.record_conversion(url, make(published))
    return target


def _make(target: Path, published: Path, convert: Convert) -> str:
    """Converts a published file; the SHA-256 of the result at `target`. What is not recorded later is not used."""
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.safetensors")
    try:
        with storing(target):
            convert(published, temporary)
            converted = integrity.sha256_of(temporary)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return converted


def _is_converted(target: Path, url: str, known: KnownDigests) -> bool:
    """Whether `target` is our conversion of what was downloaded; a damaged one is made again without an error."""
    if not target.is_file():
        return False
    seen = known.get(url)
    return seen is not None and seen.converted_sha256 == integrity.sha256_of(target)


def _not_here(entry: Entry) -> WeightsError:
    return WeightsError(
        f"{entry.name} is not on this machine", hint=f"`adacode weights pull {entry.name}` downloads it."
    )
