"""Finds every image below the inputs once, in a stable order; opens only directories.

Files are yielded one by one, so a tree of any size needs memory for the names of one directory per level. Links to
directories are followed only to places outside the inputs, and each only once: there are no loops, and no
photograph is restored twice under two names. A problem (an unreadable directory, a pipe named `x.jpg`) is a
value in the same stream, because one bad entry must not hide the rest of the tree.
"""

from __future__ import annotations

import ntpath
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Literal

from adacode_cli.batch.discover_remote import RemoteSearch
from adacode_cli.batch.found import IS_MASK, OUTPUTS, SOME_OUTPUTS, Found, IsOutput, PassedOver, Selection
from adacode_cli.batch.left_out import SIDE_FOLDERS, LeftOut
from adacode_cli.batch.places import real_text
from adacode_cli.batch.state_files import STATE
from adacode_cli.errors import InputError, JournalError, reason
from adacode_cli.storage import objects
from adacode_cli.storage.path import is_remote


def discover(
    inputs: Sequence[Path], selection: Selection, left_out: LeftOut | None = None
) -> Iterator[Found | PassedOver]:
    """The images named by `inputs` or lying below them, sorted by name within each directory, depth first.

    Files that are inputs themselves are taken whatever their suffix; in directories only image suffixes count. Names
    that begin with a dot and folders of attributes are left out, and `left_out` counts them. Raises InputError, before
    anything is yielded, for an input that does not exist or is neither a file nor a directory; with `selection.listed`
    such an input is a PassedOver.
    """
    if selection.listed:
        return _each_listed(inputs, selection)
    kinds = [_is_directory(path) for path in inputs]
    local = (path for path, is_dir in zip(inputs, kinds, strict=True) if is_dir and not is_remote(path))
    tree = _Tree(selection, [os.path.realpath(path) for path in local], left_out if left_out is not None else LeftOut())
    return _each(inputs, kinds, tree)


def _each(inputs: Sequence[Path], kinds: Sequence[bool], tree: _Tree) -> Iterator[Found | PassedOver]:
    for path, is_dir in zip(inputs, kinds, strict=True):
        if is_dir and is_remote(path):
            yield from RemoteSearch(path, tree.selection, tree.left_out).walk()
        elif is_dir:
            yield from tree.walk(path)
        elif tree.avoids(path):
            yield PassedOver(path, IS_MASK, failed=False)
        elif tree.selection.globs.takes_file(path.name):
            yield Found(path, path.name, in_tree=False)


def _each_listed(inputs: Sequence[Path], selection: Selection) -> Iterator[Found | PassedOver]:
    tree = _Tree(selection, [], LeftOut())
    for path in inputs:
        try:
            is_dir = not is_remote(path) and _is_directory(path)
        except InputError as error:
            yield PassedOver(path, error.message, failed=True)
            continue
        place = "/".join(path.parts[1:]) if is_remote(path) else place_of(os.fspath(path))
        if place is None:
            outside = "lies outside the working directory, so it has no place in the output directory"
            yield PassedOver(path, outside, failed=True)
        elif is_dir:
            yield PassedOver(path, "a directory; a list must name files", failed=False)
        elif not tree.avoids(path) and selection.globs.takes_file(place):
            yield Found(path, place, in_tree=False)


def place_of(listed: str, system: ModuleType = os.path) -> str | None:
    """The relative path of the output of a listed file, with forward slashes; None if it leads out of the tree.

    `system`: `posixpath` or `ntpath`. The root, and with `ntpath` a drive or a share, is left out.
    """
    inside = system.splitdrive(system.normpath(listed))[1].replace(system.sep, "/").lstrip("/")
    another_drive = system is ntpath and ":" in inside  # A second drive, or a stream of the file.
    return None if another_drive or ".." in inside.split("/") else inside


def _is_directory(path: Path) -> bool:
    if is_remote(path):
        return objects.is_folder(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        message = "there is no such file or directory" if missing else f"cannot be read: {reason(error)}"
        raise InputError(message, path=path, hint="Check the spelling; nothing was restored.") from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        hint = "Pipe its bytes into 'adacode … -' instead."
        raise InputError("is neither a file nor a directory", path=path, hint=hint)
    return stat.S_ISDIR(mode)


@dataclass
class _Level:
    """One open directory of the walk.

    entries: those that were not visited yet.
    place: the beginning of the places of its files.
    real: its path with links resolved.
    linked: whether a link led here.
    trees: the output trees that contain it: the lengths of their own places, and which places below are outputs.
    is_counted: whether files that are left out were counted when another input led here.
    """

    entries: Iterator[os.DirEntry[str]]
    place: str
    real: str
    linked: bool
    trees: tuple[tuple[int, IsOutput], ...] = ()
    is_counted: bool = False


class _Tree:
    """The walk through one or more input directories; it remembers where links led."""

    def __init__(self, selection: Selection, roots: Sequence[str], left_out: LeftOut) -> None:
        self.selection = selection
        self.left_out = left_out
        self._counted: set[str] = set()
        self._roots = roots
        self._avoid = {real_text(path) for path in selection.avoid}
        self._avoid_names = {Path(path).name for path in self._avoid}
        self._entered_by_link: set[str] = set()

    def avoids(self, path: Path | os.DirEntry[str]) -> bool:
        """Whether `path`, by any of its names, is left out."""
        if path.name not in self._avoid_names:
            return False
        return (os.path.realpath(path) if isinstance(path, os.DirEntry) else real_text(path)) in self._avoid

    def walk(self, given: Path) -> Iterator[Found | PassedOver]:
        """Images below the directory `given`, depth first, and entries that are passed over. Never raises OSError."""
        levels: list[_Level] = []
        problem = self._open(levels, str(given), "", os.path.realpath(given), linked=False)
        if problem:
            yield problem
        while levels:
            level = levels[-1]
            for entry in level.entries:
                place = f"{level.place}{entry.name}"
                result = self._judge(entry, place, levels)
                if result is True:
                    yield Found(given, place, in_tree=True)
                elif result:
                    yield result
                if levels[-1] is not level:  # A directory was opened; its entries come first.
                    break
            else:
                levels.pop()

    def _judge(self, entry: os.DirEntry[str], place: str, levels: list[_Level]) -> PassedOver | bool:
        """True for an image; False for what is left out; directories are opened as a new level."""
        level = levels[-1]
        try:
            if entry.name.startswith(".") or entry.name.lower() in SIDE_FOLDERS:
                return self._leave_out(entry, place, level)
            if entry.is_dir():
                return False if self.selection.globs.excludes(place) else self._descend(entry, place, levels)
            is_image = self._has_suffix(entry.name)
            if not self.selection.globs.takes_file(place) or (level.trees and _is_output(place, level)):
                return False
            if not is_image:
                return self._count(entry, level)
            return not self.avoids(entry) if entry.is_file() else _not_regular(entry)
        except OSError as error:  # For example a link to itself, or a directory that was removed.
            return PassedOver(Path(entry.path), f"cannot be read: {reason(error)}", failed=True)

    def _count(self, entry: os.DirEntry[str], level: _Level) -> Literal[False]:
        if not level.is_counted:
            self.left_out.add_file(entry.name, entry.path)
        return False

    def _leave_out(self, entry: os.DirEntry[str], place: str, level: _Level) -> Literal[False]:
        """Counts a hidden file or a folder of attributes, unless a pattern excludes it or a run wrote it."""
        if entry.name == STATE.name:
            return False
        if not entry.is_dir(follow_symlinks=False):
            is_other = self.selection.globs.takes_file(place) and not _is_output(place, level)
            return self._count(entry, level) if is_other else False
        if not level.is_counted and not self.selection.globs.excludes(place):
            self.left_out.add_folder(entry.name)
        return False

    def _has_suffix(self, name: str) -> bool:
        dot = name.rfind(".")  # not Path.suffix: this runs for every name of a tree
        return dot > 0 and name[dot:].lower() in self.selection.suffixes

    def _descend(self, entry: os.DirEntry[str], place: str, levels: list[_Level]) -> PassedOver | bool:
        is_link = entry.is_symlink()
        real = os.path.realpath(entry.path) if is_link else f"{levels[-1].real.rstrip(os.sep)}{os.sep}{entry.name}"
        linked = levels[-1].linked or is_link
        if real in self._avoid:
            return PassedOver(Path(entry.path), "a directory of outputs or masks of this run", failed=False)
        if linked and not self._is_new_outside(real):
            if not is_link:
                return False
            return PassedOver(Path(entry.path), "a link to a directory that is visited anyway", failed=False)
        return self._open(levels, entry.path, f"{place}/", real, linked=linked) or False

    def _is_new_outside(self, real: str) -> bool:
        if real in self._entered_by_link or any(_within(real, root) or _within(root, real) for root in self._roots):
            return False
        self._entered_by_link.add(real)
        return True

    def _was_counted(self, real: str) -> bool:
        """Whether another input led to this directory before."""
        if len(self._roots) < 2:
            return False
        if real in self._counted:
            return True
        self._counted.add(real)
        return False

    def _open(self, levels: list[_Level], path: str, place: str, real: str, *, linked: bool) -> PassedOver | None:
        try:
            with os.scandir(path) as scan:
                entries = sorted(scan, key=attrgetter("name"))
        except OSError as error:
            return PassedOver(Path(path), f"the directory cannot be read: {reason(error)}", failed=True)
        level = _Level(iter(entries), place, real, linked, levels[-1].trees if levels else (), self._was_counted(real))
        if not levels or all(entry.name != STATE.name for entry in entries):
            levels.append(level)
            return None
        try:
            is_output = self.selection.outputs_in(Path(path))
        except JournalError as error:
            return PassedOver(Path(path), f"its outputs cannot be distinguished from originals: {error}", failed=True)
        if is_output is None:
            return PassedOver(Path(path), OUTPUTS, failed=False)
        level.trees = (*level.trees, (len(place), is_output))
        levels.append(level)
        return PassedOver(Path(path), SOME_OUTPUTS, failed=False)


def _is_output(place: str, level: _Level) -> bool:
    return any(is_output(place[start:]) for start, is_output in level.trees)


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep)


def _not_regular(entry: os.DirEntry[str]) -> PassedOver:
    if entry.is_symlink() and not Path(entry.path).exists():
        return PassedOver(Path(entry.path), "a link to a file that does not exist", failed=True)
    return PassedOver(Path(entry.path), "not a regular file", failed=False)
