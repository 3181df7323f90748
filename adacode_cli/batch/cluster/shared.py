"""Whether the machine of a worker sees the files and folders of the run, and not others of the same names."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adacode_cli.batch.description import Description
from adacode_cli.batch.output_files import make_directory
from adacode_cli.batch.plan import Job
from adacode_cli.batch.worker_handle import Seen
from adacode_cli.errors import InputError, OutputError, UsageError, translated
from adacode_cli.storage.path import is_remote

SHARED = "Every machine of the cluster must see inputs and outputs under the same paths, for example by NFS."


def folders_beside(description: Description) -> list[Path]:
    """The local folders of a run besides its output trees: of weight maps, masks, refused results and codes."""
    codes = description.save_codes
    given = [description.maps_dir, description.masks_dir, description.quarantine]
    given += [codes.given] if codes and not codes.names_one_file else []
    return [folder for folder in given if folder is not None and not is_remote(folder)]


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


def seen_of(description: Description, job: Job) -> tuple[Seen, ...]:
    """The source of a job and its mask, as this machine sees them; without what cannot be looked at.

    Addresses mean the same on every machine.
    """
    paths = [job.source]
    if description.holes is not None:
        with suppress(InputError):  # The worker meets it too.
            mask = description.holes.file_for(job.source)
            paths += [mask] if mask is not None else []
    found = []
    for path in (path for path in paths if not is_remote(path)):
        with suppress(OSError):
            status = path.stat()
            found.append(Seen(str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)


def other_file(seen: Iterable[Seen]) -> str | None:
    """The first of the files that is not here as it was seen; None if all are."""
    for one in seen:
        try:
            status = os.stat(one.path)  # noqa: PTH116
        except OSError:
            return one.path
        if (status.st_size, status.st_mtime_ns) != (one.num_bytes, one.changed_ns):
            return one.path
    return None
