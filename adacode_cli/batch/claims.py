"""Claims: one process at a time works on a file, from before it is read until its journal line is written.

A claim is a small locked file in the output tree that names the files that may be written under it, and the process.
It is removed when the journal line is written; a claim that is not locked was left by a killed process. Thus a later
run knows which outputs may lack their journal line, and beside which files temporary files may be, without a search of
the tree. Claims are not trusted further: temporary files are removed only in the output tree and in folders to which
this run writes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from adacode_cli import atomic, locks
from adacode_cli.batch.state_files import STATE, ForeignFileError, is_path, object_of, opened
from adacode_cli.errors import OutputError, is_full, reason

CLAIMS = STATE / "in-flight"
_ATTEMPTS = 3
_NAME_LENGTH = 32
_NAME = re.compile(rf"[0-9a-f]{{{_NAME_LENGTH}}}\.json")
_MAX_BYTES = 1 << 20
_MAX_HOST_LENGTH = 255


@dataclass(frozen=True)
class Holder:
    """The process that works on a file, and its machine, from the claim; None for what is not stated."""

    pid: int | None = None
    host: str | None = None


@dataclass(frozen=True)
class Claim:
    """The right of this process to write the files of one output."""

    path: Path
    handle: int

    def release(self) -> None:
        """Removes the claim while it is still locked. Must be called once."""
        with suppress(OSError):  # The tree was removed or is read-only now; the lock is released in any case.
            self.path.unlink()
        with suppress(OSError):
            os.close(self.handle)


class Claims:
    """The claims in the output tree `root`."""

    def __init__(self, root: Path) -> None:
        self._root, self._folder = root, root / CLAIMS

    def take(self, target: str, paths: Sequence[Path]) -> Claim | None:
        """Claims the output `target`. Returns None while another process has the claim. Raises OutputError.

        paths: all files that will be written under the claim. Temporary files of a killed owner are removed.
        """
        path = self._folder / name_of(target)
        try:
            handle = _locked(path)
        except ForeignFileError as error:
            message = f"cannot be used as a claim: {error.strerror}"
            hint = "Remove it, or choose another output directory (-o)."
            raise OutputError(message, path=path, hint=hint) from error
        except OSError as error:
            hint = "Choose a writable directory with -o and run the same command again."
            message = f"cannot be written to: {reason(error)}"
            raise atomic.refusal(path.parent, error) or OutputError(message, path=self._root, hint=hint) from error
        if handle is None:
            return None
        claim = Claim(path, handle)
        try:
            self._remove_leftovers(_recorded_paths(handle), lambda: {folder_of(p) for p in paths})
            places = [str(p.absolute()) for p in paths]
            content = json.dumps(
                {"target": target, "paths": places, "pid": os.getpid(), "host": _host(), "token": own_token()}
            )
            _rewrite(handle, content.encode("ascii"))
        except OSError as error:
            claim.release()
            message = f"cannot be written to: {reason(error)}"
            advice = "Free some disk space, or choose" if is_full(error) else "Choose"
            hint = f"{advice} another output directory (-o)."
            raise OutputError(message, path=self._root, hint=hint) from error
        return claim

    def names(self) -> frozenset[str]:
        """The file names of all claims, of running and of killed processes, for `claimed`."""
        try:
            return frozenset(filter(_NAME.fullmatch, os.listdir(self._folder)))  # noqa: PTH208 (only names are needed)
        except OSError:  # There are no claims yet.
            return frozenset()

    def are_held(self) -> bool:
        """Whether a process works on one of the outputs now."""
        for name in self.names():
            with suppress(OSError):
                handle = opened(self._folder / name, os.O_RDWR)
                try:
                    if not locks.lock(handle, wait=False):
                        return True
                finally:
                    os.close(handle)
        return False

    def holder(self, target: str) -> Holder:
        """The holder of the claim on the output `target`, as far as the claim states it."""
        with suppress(OSError):
            handle = opened(self._folder / name_of(target), os.O_RDONLY)
            try:
                content = _read(handle)
            finally:
                os.close(handle)
            pid, host = content.get("pid"), content.get("host")
            return Holder(
                pid if type(pid) is int and 0 < pid < 1 << 31 else None,
                host if isinstance(host, str) and 0 < len(host) <= _MAX_HOST_LENGTH else None,
            )
        return Holder()

    def clean(self, folders: Callable[[], Collection[str]]) -> None:
        """Removes temporary files that killed processes left beside their outputs; their claims are kept.

        folders: returns the folders to which this run writes (see `folder_of`); called only if there are claims.
        """
        for name in self.names():
            with suppress(OSError):
                handle = opened(self._folder / name, os.O_RDWR)
                try:
                    if locks.lock(handle, wait=False):
                        self._remove_leftovers(_recorded_paths(handle), folders)
                finally:
                    os.close(handle)

    def _remove_leftovers(self, paths: Sequence[Path], folders: Callable[[], Collection[str]]) -> None:
        if not paths:
            return
        tree, written = os.path.join(os.path.realpath(self._root), ""), folders()  # noqa: PTH118 (ends in a slash)
        for path in paths:
            folder = folder_of(path)
            if folder in written or os.path.join(folder, "").startswith(tree):  # noqa: PTH118
                atomic.remove_leftovers(path)


def claim_path(root: Path, target: str) -> Path:
    """The file of the claim on the output `target` in the output tree `root`."""
    return root / CLAIMS / name_of(target)


@cache
def own_token() -> str:
    """A random text in all claims of this process, by which others know them."""
    return secrets.token_hex(16)


def is_claimed_by(token: str, root: Path, target: str) -> bool:
    """Whether the claim on the output `target` in the tree `root` is there, and of the process with this token."""
    try:
        handle = opened(claim_path(root, target), os.O_RDONLY)
    except OSError:
        return False
    try:
        return _read(handle).get("token") == token
    except OSError:
        return False
    finally:
        os.close(handle)


def claimed(target: str, names: frozenset[str]) -> bool:
    """Whether one of the claims `names` is on the output `target`."""
    return bool(names) and name_of(target) in names


def folder_of(path: Path) -> str:
    """The folder of a file, absolute and with links resolved."""
    return os.path.realpath(path.parent)


@cache
def _host() -> str:
    return socket.gethostname()


def name_of(target: str) -> str:
    """The name of the file of the claim on the output `target`."""
    return f"{hashlib.sha256(os.fsencode(target)).hexdigest()[:_NAME_LENGTH]}.json"  # short for any target


def _locked(path: Path) -> int | None:
    """The claim's file, created if necessary, open and locked; None if another process has locked it."""
    while True:
        handle = _opened(path)
        if not locks.lock(handle, wait=False):
            os.close(handle)
            return None
        is_there = locks.is_at(handle, path)
        if is_there and os.fstat(handle).st_nlink <= 1:
            return handle
        try:
            if is_there:  # The file has a second name (a hard link), so it must not be overwritten.
                path.unlink()
        finally:
            os.close(handle)  # In the other case its owner removed it between the two calls.


def _opened(path: Path) -> int:
    for _ in range(_ATTEMPTS):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # The folder was removed between the two calls.
            return opened(path, os.O_RDWR | os.O_CREAT)
    return opened(path, os.O_RDWR | os.O_CREAT)


def _recorded_paths(handle: int) -> list[Path]:
    """The files that the last owner of a claim was to write."""
    paths = _read(handle).get("paths")
    return [Path(path) for path in paths if is_path(path)] if isinstance(paths, list) else []


def _read(handle: int) -> dict[str, object]:
    os.lseek(handle, 0, os.SEEK_SET)
    return object_of(os.read(handle, min(os.fstat(handle).st_size, _MAX_BYTES))) or {}


def _rewrite(handle: int, content: bytes) -> None:
    # The file is not truncated first: if the process is killed in between, the claim must still name its files.
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, content)
    os.ftruncate(handle, len(content))
    atomic.sync(handle)
