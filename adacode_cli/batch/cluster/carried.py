"""Files of weights that a run takes to other machines, once for each machine, through Ray's object store.

A machine keeps them in its folder for temporary files, under the digest of their contents, so that all workers there,
and those of later runs, share them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from adacode_cli import atomic
from adacode_cli.batch.description import Description
from adacode_cli.errors import WeightsError, translated

_HINT = "Check the folder for temporary files of that machine, or put the weights on a file system that all share."


@dataclass(frozen=True)
class CarriedFiles:
    """Files that lie in one folder, by their names.

    weights, detector: the names of `Description.network` and of its detector, below that folder; "" for what is not
        carried. They end in the same name as on the first machine, because images state it.
    """

    files: Mapping[str, bytes]
    weights: str = ""
    detector: str = ""

    @property
    def digest(self) -> str:
        """The SHA-256 of all names and contents."""
        total = hashlib.sha256()
        for name in sorted(self.files):
            total.update(f"{name}\0{hashlib.sha256(self.files[name]).hexdigest()}\n".encode())
        return total.hexdigest()


def unpacked(carried: CarriedFiles, description: Description) -> Description:
    """The description, with the weights in files of this machine. Raises WeightsError if they cannot be written."""
    folder = _own_folder() / carried.digest
    for name, content in carried.files.items():
        _place(folder / name, content)
    if carried.weights:
        network = replace(description.network, weights=str(folder / carried.weights))
        description = replace(description, network=network)
    if carried.detector and description.detection is not None:
        detection = replace(description.detection, detector=str(folder / carried.detector))
        description = replace(description, detection=detection)
    return description


def _place(path: Path, content: bytes) -> None:
    """Writes a file unless it is there already, with exactly this content."""
    with translated(WeightsError, "the weights of the run cannot be written", path, hint=_HINT):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content):
            atomic.write_bytes(path, content)


def _own_folder() -> Path:
    """A folder of this user alone. Raises WeightsError if somebody else has made it."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"adacode-weights-{user}"
    with translated(WeightsError, "the weights of the run cannot be written", folder, hint=_HINT):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    if hasattr(os, "getuid") and (status.st_uid != user or status.st_mode & 0o022 or folder.is_symlink()):
        raise WeightsError("belongs to another user, or others may write to it", path=folder, hint=_HINT)
    return folder
