"""What the project knows about weights: every name that a user can give, and the files of each.

A catalogue is consistent: the files of every entry are described, every described file is used, and no two names are
equal. It is plain data without paths; `store` finds the files on this machine.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from adacode_cli.checkpoints.file_names import SUFFIXES
from adacode_cli.checkpoints.integrity import is_sha256
from adacode_cli.errors import WeightsError
from adacode_cli.tasks import TASKS

Kind = Literal["bundled", "hub", "release"]

KINDS: tuple[str, ...] = get_args(Kind)
LIST_HINT = "`adacode weights list` shows every name."

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FILE_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]*({'|'.join(map(re.escape, SUFFIXES))})")
_ENDINGS = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"


@dataclass(frozen=True)
class WeightsFile:
    """One file: its name without folders, its size in bytes and its SHA-256, each None while unknown.

    A bundled file is unknown until it has been trained, a release file until it has been downloaded once.
    """

    name: str
    bytes: int | None
    sha256: str | None

    def __post_init__(self) -> None:
        _require(_FILE_NAME.fullmatch(self.name), f"bad file name {self.name!r}: a plain name ending in {_ENDINGS}")
        _require(self.bytes is None or self.bytes > 0, f"{self.name}: 'bytes' must be positive or null")
        _require(
            self.sha256 is None or is_sha256(self.sha256), f"{self.name}: 'sha256' must be 64 lower-case hex digits"
        )


@dataclass(frozen=True)
class FamilyFile(WeightsFile):
    """One file that belongs to a whole family."""

    family: str

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(is_name(self.family), f"bad name {self.family!r}: lower-case letters, digits and single hyphens")


@dataclass(frozen=True)
class Entry:
    """One set of weights for one task.

    `scale` is the factor between input and output side length (1 for inpainting and reconstruction). `files` are names
    of `WeightsFile`s; parts that a family shares come first, the file of the task itself comes last. `base_model` names
    weights of other authors that they start from (`base_models.described`), "" where there are none; `licence` is that
    of all together. `denoise`: the last file has faithful values too (`format.Weights`), for every strength.
    """

    name: str
    family: str
    task: str
    scale: int
    files: tuple[str, ...]
    licence: str
    source: str
    kind: Kind
    base_model: str = ""
    denoise: bool = False

    def __post_init__(self) -> None:
        for text in (self.name, self.family):
            _require(is_name(text), f"bad name {text!r}: lower-case letters, digits and single hyphens")
        _require(self.task in TASKS, f"{self.name}: unknown task {self.task!r}; one of {', '.join(TASKS)}")
        _require(self.kind in KINDS, f"{self.name}: unknown kind {self.kind!r}; one of {', '.join(KINDS)}")
        task = TASKS[self.task]
        _require(self.scale in task.scales, f"{self.name}: bad scale {self.scale}")
        _require(task.denoises or not self.denoise, f"{self.name}: {task.title} has no strengths of denoise")
        _require(self.files, f"{self.name}: no files")
        _require(len(set(self.files)) == len(self.files), f"{self.name}: a file is named twice")
        _require(self.kind != "release" or len(self.files) == 1, f"{self.name}: a release entry is one file")
        _require(self.licence and self.source, f"{self.name}: licence and source must not be empty")


@dataclass(frozen=True)
class Catalogue:
    """All entries and files.

    `hub_repo` is the Hub repository of what is not bundled, "OWNER/REPO" or "OWNER/REPO@REVISION", or None.
    `release` is the address of the folder that holds the published release files, or None. `detectors` are the files of
    networks that find marks in an image, bundled and named by their stems. `priors` are the files of priors of codes,
    at most one for each family, bundled.
    """

    entries: tuple[Entry, ...]
    files: tuple[WeightsFile, ...]
    hub_repo: str | None
    release: str | None
    detectors: tuple[WeightsFile, ...] = ()
    priors: tuple[FamilyFile, ...] = ()

    def __post_init__(self) -> None:
        _require_unique(entry.name for entry in self.entries)
        _require_unique(file.name for file in (*self.files, *self.detectors, *self.priors))
        _require_unique(file.family for file in self.priors)
        _require_unique((entry.family, entry.task, entry.scale) for entry in self.entries)
        for name in {entry.name for entry in self.entries} & set(self.families()):
            raise _bad(f"{name!r} is both an entry and a family")
        known = {file.name: file for file in self.files}
        used = {name for entry in self.entries for name in entry.files}
        _require(used <= known.keys(), f"files without a description: {', '.join(sorted(used - known.keys()))}")
        _require(known.keys() <= used, f"files that no entry uses: {', '.join(sorted(known.keys() - used))}")
        for entry in self.entries:
            _require(entry.kind != "release" or self.release, f"{entry.name}: 'release' is not set")
            # Otherwise the owner of the Hub repository could change the weights that all users run.
            unknown = [name for name in entry.files if entry.kind == "hub" and known[name].sha256 is None]
            _require(not unknown, f"{entry.name}: {', '.join(unknown)} comes from the Hub and needs a 'sha256'")

    def with_family(self, family: str, entries: Iterable[Entry], files: Iterable[WeightsFile]) -> Catalogue:
        """This catalogue with `entries` and `files` in place of all of `family`; the rest stays.

        Raises WeightsError if another family uses one of the names.
        """
        kept = [entry for entry in self.entries if entry.family != family]
        used = {name for entry in kept for name in entry.files}
        kept_files = [file for file in self.files if file.name in used]
        at = next((i for i, entry in enumerate(self.entries) if entry.family == family), len(kept))
        at_file = next((i for i, file in enumerate(self.files) if file.name not in used), len(kept_files))
        return replace(
            self,
            entries=(*kept[:at], *entries, *kept[at:]),
            files=(*kept_files[:at_file], *files, *kept_files[at_file:]),
        )

    def families(self) -> tuple[str, ...]:
        """The families' names, in the order in which they first occur."""
        return tuple(dict.fromkeys(entry.family for entry in self.entries))

    def entry(self, name: str) -> Entry:
        """The entry called `name`; WeightsError with the nearest names when there is none."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise self.unknown(name)

    def file(self, name: str) -> WeightsFile:
        """The description of one of the files that the entries name; WeightsError when there is none."""
        for file in self.files:
            if file.name == name:
                return file
        raise _bad(f"no file {name!r}")

    def for_task(self, family: str, task: str, scale: int) -> Entry:
        """The entry of `family` for `task` at `scale`, or at the next larger one; WeightsError naming what it has."""
        members = [entry for entry in self.entries if entry.family == family]
        if not members:
            raise self.unknown(family)
        serving = [entry for entry in members if entry.task == task and entry.scale >= scale]
        if serving:
            return min(serving, key=lambda entry: entry.scale)
        wanted = f"{task} ×{scale}" if scale > 1 else task
        names = ", ".join(entry.name for entry in members)
        raise WeightsError(f"the family {family!r} has no weights for {wanted}; it has {names}", hint=LIST_HINT)

    def scales_of(self, entry: Entry) -> tuple[int, ...]:
        """The scales that an entry serves in its family, the largest first; (1,) where nothing is enlarged."""
        fitting = (scale for scale in TASKS[entry.task].scales if scale <= entry.scale)
        return tuple(scale for scale in fitting if self.for_task(entry.family, entry.task, scale) is entry)

    def unknown(self, name: str) -> WeightsError:
        """The error for a name that is neither an entry nor a family."""
        names = [*self.families(), *(entry.name for entry in self.entries)]
        near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
        suggestion = f" Did you mean {' or '.join(near)}?" if near else ""
        return WeightsError(f"no weights are called {name!r}.{suggestion}", hint=LIST_HINT)


def is_name(text: str) -> bool:
    """Whether an entry or a family can have that name: lower-case letters, digits and single hyphens."""
    return _NAME.fullmatch(text) is not None


def _bad(what: str) -> WeightsError:
    return WeightsError(f"the weights catalogue is wrong: {what}", hint="Reinstall adacode-cli, or correct the file.")


def _require(condition: object, what: str) -> None:
    if not condition:
        raise _bad(what)


def _require_unique(keys: Iterable[object]) -> None:
    twice = [key for key, count in Counter(keys).items() if count > 1]
    _require(not twice, f"named twice: {', '.join(map(str, twice))}")
