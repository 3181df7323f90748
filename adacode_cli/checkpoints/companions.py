"""Files that belong beside a task's file of weights: the shared parts of its family, where a new one is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adacode_cli.checkpoints.format import write_file
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.errors import OutputError, WeightsError, translated


def missing_at(target: Path, source: WeightsSource) -> dict[Path, Path]:
    """What has to be copied so that a file at `target`, for the task of `source.own_file`, can be used: place → file.

    Raises WeightsError where a part is missing or broken, OutputError where another file has its place.
    """
    wanted = {target.with_name(name): path for name, path in source.shared_files().items()}
    if target in wanted:
        raise OutputError("is the name of a shared part of the family", path=target, hint="Choose another name for -o.")
    return {place: path for place, path in wanted.items() if not _is_there(place, path)}


def copy(files: Mapping[Path, Path]) -> None:
    """Copies files to their places, each atomically. A place that has another file by now is not written.

    Raises OutputError, and WeightsError for a file that cannot be read.
    """
    for place, path in files.items():
        if not _is_there(place, path):
            write_file(place, _content(path))


def _is_there(place: Path, path: Path) -> bool:
    """Whether `place` has the content of `path`. Raises OutputError if it has another one."""
    with translated(OutputError, "cannot be written", place, hint="Choose another folder for -o."):
        if not place.exists():
            return False
        if place.is_file() and (place.samefile(path) or place.read_bytes() == _content(path)):
            return True
    what = f"is another file than {path}, which belongs beside the new weights"
    raise OutputError(what, path=place, hint="Choose another folder for -o.")


def _content(path: Path) -> bytes:
    with translated(WeightsError, "cannot be read", path, hint="Check the path."):
        return path.read_bytes()
