"""One trainer at a time for a run folder, or for a file: a second one is refused, and told who is there.

The system holds the lock on an open file, so that of a killed process is gone, whatever its file still says.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from adacode_cli import atomic, locks
from adacode_cli.errors import OutputError, TrainingError, reason

_SUFFIX = ".trainer.lock"
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_MAX_BYTES = 1 << 12
_MAX_TEXT = 255


class RunLock:
    """The right to train into `target`, which this process has from `take` to `release`.

    path: the file that is locked; it is there only in the meantime.
    """

    def __init__(self, target: Path, path: Path) -> None:
        self._target, self._path = target, path
        self._handle: int | None = None

    @classmethod
    def of_folder(cls, folder: Path) -> RunLock:
        """For a run folder, which may not exist yet."""
        return cls(folder, folder / _SUFFIX)

    @classmethod
    def of_file(cls, path: Path) -> RunLock:
        """For a training that writes one file; its folder may not exist yet."""
        return cls(path, path.with_name(f".{path.name}{_SUFFIX}"))

    def take(self) -> None:
        """Takes the right, unless this process has it already; without effect while the folder does not exist.

        Raises TrainingError, naming the process that has it; OutputError where the folder cannot be written to.
        """
        if self._handle is not None or not self._path.parent.is_dir():
            return
        while True:
            handle = self._opened()
            if not locks.lock(handle, wait=False):
                holder = _holder(handle)
                os.close(handle)
                hint = "Wait until it ends or stop it, or choose another -o; --resume continues after it."
                raise TrainingError(f"is being trained by {holder}", path=self._target, hint=hint)
            if locks.is_at(handle, self._path):
                break
            os.close(handle)  # its owner ended, and removed it, between the two calls
        self._handle = handle
        self._sign(handle)

    def release(self) -> None:
        """Gives the right back and removes the file; without effect if this process does not have it."""
        if self._handle is None:
            return
        with suppress(OSError):  # the folder was removed or is read-only now; the lock is released in any case
            self._path.unlink()
        os.close(self._handle)
        self._handle = None

    def _opened(self) -> int:
        try:
            return os.open(self._path, _FLAGS, 0o666)
        except OSError as error:
            hint = "Choose another -o, or remove that file if it is not a lock."
            raise atomic.refusal(self._path.parent, error) or OutputError(
                f"cannot be used as a lock: {reason(error)}", path=self._path, hint=hint
            ) from error

    def _sign(self, handle: int) -> None:
        since = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        with suppress(OSError):  # on a full disk the lock holds too, without a name
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps(who).encode())


def _holder(handle: int) -> str:
    """Who has the lock, in words, as far as the file says it."""
    try:
        found = json.loads(os.read(handle, _MAX_BYTES))
        pid, host, since = found["pid"], found["host"], datetime.fromisoformat(found["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
    if not isinstance(pid, int) or not isinstance(host, str) or len(host) > _MAX_TEXT:
        return "another process"
    return f"process {pid} on {host}, since {since:%Y-%m-%d %H:%M:%S}"
