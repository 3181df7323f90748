"""The cache folder of downloaded weights, and the digests that their files had at the first download.

Every failure of the cache folder becomes one OutputError that names the folder and the variable that sets it.

No digests are published for the release files, so the first download that can be converted has to be trusted. From
then on a changed file (a new upload under the old name, a mirror with another file, a damaged disk) is detected. The
record is `digests.json` beside the files, keyed by the file's official address even when a mirror delivered it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from adacode_cli import atomic
from adacode_cli.checkpoints.integrity import is_sha256
from adacode_cli.errors import OutputError, WeightsError, reason, translated

CACHE_VARIABLE = "ADACODE_CACHE"
_HINT = f"Free some space, or set {CACHE_VARIABLE} to a writable folder, and run the same command again."
# Longer than a slow connection needs for one published checkpoint (about 250 MB).
_LOCK_TIMEOUT_S = 3600.0
RECORD_NAME = "digests.json"
_RECORD_VERSION = 1


def cache_dir() -> Path:
    """ADACODE_CACHE, or `adacode` in the user's cache folder (XDG_CACHE_HOME, LOCALAPPDATA, ~/.cache). Not created.

    Raises WeightsError if a home folder is needed and there is none.
    """
    try:
        return _chosen_dir()
    except RuntimeError as error:  # the user of a container may be unknown to the system
        hint = f"Set {CACHE_VARIABLE} to a writable folder."
        raise WeightsError("there is no home folder to store weights in", hint=hint) from error


def _chosen_dir() -> Path:
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    if base := os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA"):
        return Path(base).absolute() / "adacode"
    return Path.home() / ".cache" / "adacode"


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """File operations for `path` in the cache: errors of the file system become an OutputError with a hint."""
    with translated(OutputError, "cannot be stored", path, hint=_HINT):
        try:
            yield
        except OutputError as error:
            raise OutputError(error.message, path=error.path, hint=_HINT) from error


@contextmanager
def exclusive(path: Path, *, timeout_s: float = _LOCK_TIMEOUT_S) -> Iterator[None]:
    """Within the block this process is the only one for `path`; its folder is made if necessary.

    Two processes that append to one partial download would mix their bytes, and the digest of the mixture would be
    trusted. Raises WeightsError when another process holds `path` for `timeout_s` seconds.
    """
    # Imported here because only downloads need it.
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=timeout_s)
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with storing(path):
            lock.acquire()
    except Timeout as error:
        raise WeightsError("another process is downloading it", path=path, hint="Wait for it to finish.") from error
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Seen:
    """What was downloaded from one address: its SHA-256 and size, and the SHA-256 of our conversion of it, if any."""

    sha256: str
    bytes: int
    converted_sha256: str | None = None


class KnownDigests:
    """The record in one cache folder. Reading needs no lock; each write is atomic and done by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORD_NAME

    def get(self, url: str) -> Seen | None:
        """What was seen at `url`, or None before the first download. WeightsError when the record is damaged."""
        return self._read().get(url)

    def record(self, url: str, seen: Seen) -> None:
        """Remember `seen` for `url`. OutputError when the folder cannot be written."""
        with exclusive(self.path), storing(self.path):
            records = {**self._read(), url: seen}
            data = {"version": _RECORD_VERSION, "downloads": {key: asdict(value) for key, value in records.items()}}
            atomic.write_bytes(self.path, (json.dumps(data, indent=2) + "\n").encode())

    def record_conversion(self, url: str, converted_sha256: str) -> None:
        """Remember the digest of our conversion of what was downloaded from `url`."""
        seen = self.get(url)
        assert seen is not None, "a file is recorded before it is converted"
        self.record(url, replace(seen, converted_sha256=converted_sha256))

    def _read(self) -> dict[str, Seen]:
        try:
            data = json.loads(self.path.read_bytes())
            records = {url: Seen(**fields) for url, fields in data["downloads"].items()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise WeightsError(f"cannot be read: {reason(error)}", path=self.path) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._damaged() from error
        if data.get("version") != _RECORD_VERSION or not all(_is_valid(seen) for seen in records.values()):
            raise self._damaged()
        return records

    def _damaged(self) -> WeightsError:
        # Starting over automatically would trust the next download without a check.
        hint = "Remove it if you trust the files beside it and the next downloads."
        return WeightsError("is damaged", path=self.path, hint=hint)


def _is_valid(seen: Seen) -> bool:
    digests = [seen.sha256] if seen.converted_sha256 is None else [seen.sha256, seen.converted_sha256]
    return isinstance(seen.bytes, int) and all(isinstance(text, str) and is_sha256(text) for text in digests)
