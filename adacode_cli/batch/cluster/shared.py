"""Whether the machine of a worker sees the folders of the run, and not others of the same names."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adacode_cli.batch.description import Description
from adacode_cli.batch.output_files import make_directory
from adacode_cli.errors import OutputError, UsageError, translated

SHARED = "Every machine of the cluster must see inputs and outputs under the same paths, for example by NFS."


def folders_beside(description: Description) -> list[Path]:
    """The folders of a run besides its output trees: of weight maps, masks, refused results and codes."""
    codes = description.save_codes
    given = [description.maps_dir, description.masks_dir, description.quarantine]
    given += [codes.given] if codes and not codes.names_one_file else []
    return [folder for folder in given if folder is not None]


@contextmanager
def marked(folders: Iterable[Path]) -> Iterator[tuple[str, ...]]:
    """Within the block, each folder has a mark, a hidden file with a new name, by which others know it; their paths.

    Folders are made for that, and removed again if nothing else is in them. Raises OutputError.
    """
    made: list[Path] = []
    marks: list[Path] = []
    try:
        for folder in folders:
            made += reversed([one for one in (folder, *folder.parents) if not os.path.lexists(one)])
            make_directory(folder)
            mark = folder / f".adacode-run-{secrets.token_hex(8)}"
            with translated(OutputError, "cannot be written to", folder, hint="Choose a writable directory."):
                mark.touch(exist_ok=False)
            marks.append(mark)
        yield tuple(str(mark) for mark in marks)
    finally:
        for mark in marks:
            with suppress(OSError):
                mark.unlink()
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()


def require_marks(marks: Iterable[str]) -> None:
    """Raises UsageError if this machine does not see one of the marks of the run."""
    for mark in marks:
        if not os.path.lexists(mark):
            what = f"on {socket.gethostname()}, a machine of the cluster, this is not the directory of the run"
            raise UsageError(what, path=os.path.dirname(mark), hint=SHARED)  # noqa: PTH120
