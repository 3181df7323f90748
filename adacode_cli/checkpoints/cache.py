"""Where fetched weights live between runs, and what a refusing disk or a second process there means.

Every failure of the cache folder becomes one OutputError that names the folder and the variable that moves it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adacode_cli.errors import OutputError, WeightsError, translated

CACHE_VARIABLE = "ADACODE_CACHE"
_HINT = f"Free some space, or set {CACHE_VARIABLE} to a writable folder, and run the same command again."
# Longer than a slow line needs for one published checkpoint (about 250 MB).
_LOCK_TIMEOUT_S = 3600.0


def cache_dir() -> Path:
    """ADACODE_CACHE, or `adacode` in the user's cache folder (XDG_CACHE_HOME, LOCALAPPDATA, ~/.cache). Not created.

    Raises WeightsError where a home folder is meant and there is none.
    """
    try:
        return _chosen_dir()
    except RuntimeError as error:  # containers run as users that nothing is known of
        hint = f"Set {CACHE_VARIABLE} to a writable folder."
        raise WeightsError("there is no home folder in which weights could be kept", hint=hint) from error


def _chosen_dir() -> Path:
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    if base := os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA"):
        return Path(base).absolute() / "adacode"
    return Path.home() / ".cache" / "adacode"


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """File operations for `path` in the cache: what the file system refuses becomes an OutputError with a hint."""
    with translated(OutputError, "cannot be stored", path, hint=_HINT):
        try:
            yield
        except OutputError as error:
            raise OutputError(error.message, path=error.path, hint=_HINT) from error


@contextmanager
def exclusive(path: Path, *, timeout_s: float = _LOCK_TIMEOUT_S) -> Iterator[None]:
    """Only one process at a time is in here for the same `path`; its folder is made if need be.

    Two processes appending to one partial download would mix their bytes, and the digest of the mixture would then
    be trusted. Raises WeightsError when another process holds `path` for `timeout_s` seconds.
    """
    # Imported here because only fetching needs it.
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=timeout_s)
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with storing(path):
            lock.acquire()
    except Timeout as error:
        raise WeightsError("another process is fetching it", path=path, hint="Wait for it to finish.") from error
    try:
        yield
    finally:
        lock.release()
