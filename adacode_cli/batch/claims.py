"""A file belongs to one process at a time, from before it is read until its journal line is written.

A claim is a small locked file in the output tree that names what may be written under it, and who does it. It is
removed when the file is accounted for; one that is there but not locked is what a killed process left. So a later run
knows which outputs may lack their journal line, and next to which names temporary files may lie, without searching the
tree. What it says is not trusted further than that: temporary files are removed in the output tree and where this run
writes, and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from adacode_cli import atomic, locks
from adacode_cli.batch.state_files import STATE, ForeignFileError, is_path, object_of, opened
from adacode_cli.errors import OutputError, reason

CLAIMS = STATE / "in-flight"
_ATTEMPTS = 3
_NAME_LENGTH = 32
_NAME = re.compile(rf"[0-9a-f]{{{_NAME_LENGTH}}}\.json")
_MAX_BYTES = 1 << 20
_MAX_HOST_LENGTH = 255


@dataclass(frozen=True)
class Holder:
    """Who works on a file, as its claim says: the process and its machine, or None where it does not say."""

    pid: int | None = None
    host: str | None = None


@dataclass(frozen=True)
class Claim:
    """What this process alone may write now."""

    path: Path
    handle: int

    def release(self) -> None:
        """Removes the claim while it is still locked. To be called once."""
        with suppress(OSError):  # the tree vanished, or became read-only; the lock ends all the same
            self.path.unlink()
        with suppress(OSError):
            os.close(self.handle)


class Claims:
    """The claims in the output tree `root`."""

    def __init__(self, root: Path) -> None:
        self._root, self._folder = root, root / CLAIMS

    def take(self, target: str, paths: Sequence[Path]) -> Claim | None:
        """The claim on the output `target`, or None while another process has it. Raises OutputError.

        `paths` are all files that will be written under it. What a dead owner left beside them is removed.
        """
        path = self._folder / _name(target)
        try:
            handle = _locked(path)
        except ForeignFileError as error:
            message = f"cannot be used as a claim: {error.strerror}"
            raise OutputError(message, path=path, hint="Remove it, or choose another -o.") from error
        except OSError as error:
            hint = "Choose a writable directory with -o and run the same command again."
            raise OutputError(f"cannot be written to: {reason(error)}", path=self._root, hint=hint) from error
        if handle is None:
            return None
        claim = Claim(path, handle)
        try:
            self._remove_leftovers(_recorded_paths(handle), lambda: {folder_of(p) for p in paths})
            places = [str(p.absolute()) for p in paths]
            content = json.dumps({"target": target, "paths": places, "pid": os.getpid(), "host": _host()})
            _rewrite(handle, content.encode("ascii"))
        except OSError as error:
            claim.release()
            message = f"cannot be written to: {reason(error)}"
            raise OutputError(message, path=self._root, hint="Make room, or choose another -o.") from error
        return claim

    def names(self) -> frozenset[str]:
        """What `claimed` needs: the claims that are there, of living processes or dead ones."""
        try:
            return frozenset(filter(_NAME.fullmatch, os.listdir(self._folder)))  # noqa: PTH208 (names alone are wanted)
        except OSError:  # none yet
            return frozenset()

    def holder(self, target: str) -> Holder:
        """Who has the claim on the output `target`, as far as it says so."""
        with suppress(OSError):
            handle = opened(self._folder / _name(target), os.O_RDONLY)
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
        """Removes what dead processes left beside their outputs; the claims themselves say which, and stay.

        `folders` are those that this run writes to, as `folder_of` gives them; asked for where there are claims.
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


def claimed(target: str, names: frozenset[str]) -> bool:
    """Whether one of the claims `names` is on the output `target`."""
    return bool(names) and _name(target) in names


def folder_of(path: Path) -> str:
    """The folder of a file, absolute and with links resolved."""
    return os.path.realpath(path.parent)


@cache
def _host() -> str:
    return socket.gethostname()


def _name(target: str) -> str:
    return f"{hashlib.sha256(os.fsencode(target)).hexdigest()[:_NAME_LENGTH]}.json"  # short, whatever the target's


def _locked(path: Path) -> int | None:
    """The claim's file, made if need be as its folder is, open and locked; None if somebody else has it."""
    while True:
        handle = _opened(path)
        if not locks.lock(handle, wait=False):
            os.close(handle)
            return None
        is_there = locks.is_at(handle, path)
        if is_there and os.fstat(handle).st_nlink <= 1:
            return handle
        try:
            if is_there:  # it has another name, under which nothing is to be written over
                path.unlink()
        finally:
            os.close(handle)  # or its owner removed it between the two calls


def _opened(path: Path) -> int:
    for _ in range(_ATTEMPTS):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # the folder vanished between the two calls
            return opened(path, os.O_RDWR | os.O_CREAT)
    return opened(path, os.O_RDWR | os.O_CREAT)


def _recorded_paths(handle: int) -> list[Path]:
    """What the last owner of a claim meant to write."""
    paths = _read(handle).get("paths")
    return [Path(path) for path in paths if is_path(path)] if isinstance(paths, list) else []


def _read(handle: int) -> dict[str, object]:
    os.lseek(handle, 0, os.SEEK_SET)
    return object_of(os.read(handle, min(os.fstat(handle).st_size, _MAX_BYTES))) or {}


def _rewrite(handle: int, content: bytes) -> None:
    # Not emptied first: a claim that a kill finds in between would no longer say what lies beside the outputs.
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, content)
    os.ftruncate(handle, len(content))
    atomic.sync(handle)
