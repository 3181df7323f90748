"""A published release file lies in the cache under its final name only when complete and the same as the first time.

`transfer` brings the bytes, `trust` remembers the digest, and this module puts the two in an order that survives a
crash at any point: the digest is recorded before the file takes its name, so no file is ever here without one.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from adacode_cli.checkpoints import digest
from adacode_cli.checkpoints.cache import exclusive
from adacode_cli.checkpoints.partial import PartialFile
from adacode_cli.checkpoints.transfer import OnProgress, Patience, require_secure, transfer
from adacode_cli.checkpoints.trust import KnownDigests, Seen
from adacode_cli.errors import WeightsError

BASE_VARIABLE = "ADACODE_RELEASE_BASE"
DEFAULT_PATIENCE = Patience()


def address(url: str) -> str:
    """Where to fetch `url` from: itself, or the file of the same name under ADACODE_RELEASE_BASE (a mirror)."""
    base = os.environ.get(BASE_VARIABLE)
    return f"{base.rstrip('/')}/{_name(url)}" if base else url


def download(
    url: str, target_dir: Path, *, on_progress: OnProgress | None = None, patience: Patience = DEFAULT_PATIENCE
) -> Path:
    """The file of `url` in `target_dir`, downloaded unless it is there; its digest is the one of the first time.

    `on_progress` gets the bytes that are here and the bytes of the whole file (None while unknown), and is not
    called when nothing is downloaded. Raises WeightsError when the address is not safe, the server refuses, the
    line breaks too often (the next call continues) or the digest differs; OutputError when the disk refuses.
    """
    source = address(url)
    require_secure(source)
    target = target_dir / _name(url)
    known = KnownDigests(target_dir)
    with exclusive(target):
        seen = known.get(url)
        if target.is_file():
            _reuse(target, url, seen, known)
            return target
        part = PartialFile(target)
        transfer(source, part, patience=patience, on_progress=on_progress)
        found = digest.sha256_of(part.path)
        if seen is None:
            known.record(url, Seen(found, part.size()))
        elif found != seen.sha256:
            part.discard()
            raise digest.mismatch(source, expected=seen.sha256, found=found, hint=_changed(url, known.path))
        part.finish(target)
    return target


def _reuse(target: Path, url: str, seen: Seen | None, known: KnownDigests) -> None:
    """A file that is here already: compared, or (copied here by hand) trusted like a first download."""
    if seen is None:
        known.record(url, Seen(digest.sha256_of(target), target.stat().st_size))
        return
    digest.verify(target, seen.sha256, hint=f"It changed since it was downloaded. Remove {target} and pull it again.")


def _changed(url: str, record: Path) -> str:
    return (
        "The file behind this address is not the one that was downloaded first. If its authors replaced it and you "
        f"trust the new one, remove the record of {url} from {record} and pull it again."
    )


def _name(url: str) -> str:
    name = PurePosixPath(urlsplit(url).path).name
    if not name or name in (".", "..") or "\\" in name:
        raise WeightsError(f"{url!r} does not end in a file name", hint="Check the address.")
    return name
