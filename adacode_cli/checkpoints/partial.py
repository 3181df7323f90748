"""A download that broke off continues later with bytes of the same remote file, or starts over.

Beside `NAME.part` lies `NAME.part.json`: the address, the validator (the server's ETag, or its Last-Modified date)
and the size of what is being downloaded. Bytes are only ever appended to a part whose validator the server confirms.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from adacode_cli import atomic
from adacode_cli.checkpoints.cache import storing


@dataclass(frozen=True)
class Remote:
    """One version of a remote file. `validator` is None when the server names none: then nothing can be resumed."""

    url: str
    validator: str | None
    total: int | None


class PartialFile:
    """The bytes that arrived so far for `target`, and which remote file they belong to."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")

    def remote(self, url: str) -> Remote | None:
        """What the bytes here belong to, if they came from `url` and can be continued; else None."""
        try:
            remote = Remote(**json.loads(self._note.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError):
            return None  # no note, or a damaged one: start over
        if not (isinstance(remote.validator, str) and isinstance(remote.total, int | None)):
            return None
        return remote if remote.url == url and remote.validator and self.size() else None

    def size(self) -> int:
        """How many bytes are here."""
        return self.path.stat().st_size if self.path.exists() else 0

    def start(self, remote: Remote) -> None:
        """Forget what is here and belong to `remote` from now on."""
        # In this order: a crash in between must not leave old bytes under a new note.
        self.discard()
        with storing(self._note):
            atomic.write_bytes(self._note, json.dumps(asdict(remote)).encode())

    def discard(self) -> None:
        """Remove the bytes and the note."""
        with storing(self.path):
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """The bytes are complete: they reach the disk and take the name `target` in one step."""
        with storing(target):
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
            # The folder is not synced: a crash that forgets the rename leaves the complete part for the next run.
            self.path.replace(target)
            self._note.unlink(missing_ok=True)
