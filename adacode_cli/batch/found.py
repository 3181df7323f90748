"""What a search of the inputs finds, and which files it looks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from adacode_cli import formats
from adacode_cli.batch.globs import Globs
from adacode_cli.storage.path import is_remote_text

IsOutput = Callable[[str], bool]
"""(path below an output tree, with forward slashes) → whether an earlier run wrote that file."""
OUTPUTS = "outputs of an earlier run (name the directory itself to restore them)"
SOME_OUTPUTS = f"the files that its journal names as {OUTPUTS}"


@dataclass(frozen=True, slots=True)
class Found:
    """An image file, and the input `given` by which it was found.

    place: with forward slashes: its path below a directory; the name of a file that is itself the input (`in_tree` is
        False); or its path in a list. It is text, because there may be a hundred thousand: a Path takes five times
        the memory, and ten times as long to make.
    stamp: what its store stated of it in a list of files (`objects.Status`); 0 for a local file.
    """

    given: Path
    place: str
    in_tree: bool
    stamp: int = field(default=0, compare=False)

    @property
    def path(self) -> Path:
        """The path of the file, relative or absolute as the input is."""
        return self.given / self.place if self.in_tree else self.given

    @property
    def path_text(self) -> str:
        """`path` as text, the same as `str(path)`."""
        return joined(self.given, self.place) if self.in_tree else str(self.given)


def joined(folder: Path, name: str) -> str:
    """`folder / name` as text, in a third of the time, for loops over trees; `name` has forward slashes."""
    start = str(folder)
    if is_remote_text(start):
        return f"{start}/{name}"
    if os.sep != "/":  # As `str` of a path does, so that both are equal as keys.
        name = name.replace("/", os.sep)
    return name if start == "." else os.path.join(start, name)  # noqa: PTH118


IS_MASK = "it is a mask"
"""The reason for which a mask is passed over."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """An entry that is not restored, and why.

    failed: this counts as a failure.
    is_unread: it holds an image of a kind that is not read; the counts of these kinds are shown in any case.
    """

    path: Path
    reason: str
    failed: bool
    is_unread: bool = False


@dataclass(frozen=True)
class Selection:
    """Which files are searched for.

    globs: the patterns of `--include` and `--exclude`.
    avoid: directories and files to leave out (outputs, masks).
    suffixes: of the files that are searched for.
    listed: the inputs come from a list: one that is unavailable fails alone, and each keeps its path in the list.
    outputs_in: for a directory below an input that has a run's state, which files in it are outputs; None: all of
        them. It raises JournalError.
    """

    globs: Globs = field(default_factory=Globs)
    avoid: tuple[Path, ...] = ()
    suffixes: frozenset[str] = field(default_factory=formats.input_suffixes)
    listed: bool = False
    outputs_in: Callable[[Path], IsOutput | None] = lambda _path: None
