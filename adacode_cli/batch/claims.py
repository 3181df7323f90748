"""A file belongs to one process at a time, from before it is read until its journal line is written.

A claim is a small locked file in the output tree that names what may be written under it. It is removed when the
file is accounted for; one that is there but not locked is what a killed process left. So a later run knows which
outputs may lack their journal line, and next to which names temporary files may lie, without searching the tree.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from adacode_cli import atomic, locks
from adacode_cli.batch.journal import STATE
from adacode_cli.errors import OutputError

CLAIMS = STATE / "in-flight"
_ATTEMPTS = 3
_NAME_LENGTH = 32


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
        except OSError as error:
            hint = "Choose a writable directory with -o and run the same command again."
            raise OutputError(f"cannot be written to: {atomic.reason(error)}", path=self._root, hint=hint) from error
        if handle is None:
            return None
        claim = Claim(path, handle)
        try:
            _remove_leftovers(_written(handle))
            content = json.dumps({"target": target, "paths": [str(p.absolute()) for p in paths]})
            _rewrite(handle, content.encode("ascii"))
        except OSError as error:
            claim.release()
            message = f"cannot be written to: {atomic.reason(error)}"
            raise OutputError(message, path=self._root, hint="Make room, or choose another -o.") from error
        return claim

    def names(self) -> frozenset[str]:
        """What `claimed` needs: the claims that are there, of living processes or dead ones."""
        try:
            return frozenset(os.listdir(self._folder))  # noqa: PTH208 (names are all that is wanted)
        except OSError:  # none yet
            return frozenset()

    def clean(self) -> None:
        """Removes what dead processes left beside their outputs; the claims themselves say which, and stay."""
        for name in self.names():
            with suppress(OSError):
                handle = os.open(self._folder / name, os.O_RDWR)
                try:
                    if locks.lock(handle, wait=False):
                        _remove_leftovers(_written(handle))
                finally:
                    os.close(handle)


def claimed(target: str, names: frozenset[str]) -> bool:
    """Whether one of the claims `names` is on the output `target`."""
    return bool(names) and _name(target) in names


def _name(target: str) -> str:
    return f"{hashlib.sha256(os.fsencode(target)).hexdigest()[:_NAME_LENGTH]}.json"  # short, whatever the target's


def _locked(path: Path) -> int | None:
    """The claim's file, made if need be as its folder is, open and locked; None if somebody else has it."""
    while True:
        handle = _opened(path)
        if not locks.lock(handle, wait=False):
            os.close(handle)
            return None
        if locks.is_at(handle, path):
            return handle
        os.close(handle)  # its owner removed it between the two calls


def _opened(path: Path) -> int:
    for _ in range(_ATTEMPTS):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # the folder vanished between the two calls
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _written(handle: int) -> list[Path]:
    """What the last owner of a claim meant to write."""
    with suppress(ValueError, TypeError, KeyError):
        os.lseek(handle, 0, os.SEEK_SET)
        data = os.read(handle, os.fstat(handle).st_size)
        return [Path(path) for path in json.loads(data)["paths"]] if data else []
    return []


def _rewrite(handle: int, content: bytes) -> None:
    # Not emptied first: a claim that a kill finds in between would no longer say what lies beside the outputs.
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, content)
    os.ftruncate(handle, len(content))
    atomic.sync(handle)


def _remove_leftovers(paths: Sequence[Path]) -> None:
    for path in paths:
        atomic.remove_leftovers(path)
