"""A bundle: weights with a catalogue of their own, in a folder on this machine or in a repository on the Hub.

`adacode weights bundle` makes such folders, `adacode weights push` uploads them. Both places behave alike: the
catalogue says which entries there are and which files each needs, and every file must have the size and the digest
that the catalogue states. A repository is read at one commit, which is asked for once, so that the parts of a family
always belong together, also if the owner uploads others in the meantime.

A catalogue from elsewhere is not trusted: its names are plain names of .safetensors files, its sizes are limited, and
entries whose files lie in other places are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from adacode_cli.checkpoints import catalogue_file, hub, integrity
from adacode_cli.checkpoints.catalogue import Catalogue, Entry, WeightsFile, is_name
from adacode_cli.checkpoints.file_names import SUFFIXES, part_name, shared_names
from adacode_cli.checkpoints.headers import header_of
from adacode_cli.checkpoints.hub import DEFAULT_ACCESS, HubAccess
from adacode_cli.checkpoints.location import (
    HUB_PREFIX,
    EntryName,
    FamilyName,
    HubBundle,
    HubFile,
    HubRepo,
    LocalBundle,
    parse_hub,
)
from adacode_cli.errors import WeightsError
from adacode_cli.limits import MAX_CATALOGUE_BYTES, MAX_WEIGHTS_BYTES

_SUFFIX = ".safetensors"
_LIST_COMMAND = "`adacode weights list`"
_MOST_NAMES = 8
_MAX_NAME = 200


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    catalogue: without the entries whose files lie elsewhere. chosen: what the user named in it. place: where it is; the
    revision of a repository is a commit.
    """

    catalogue: Catalogue
    chosen: EntryName | FamilyName
    place: LocalBundle | HubBundle
    access: HubAccess

    @property
    def address(self) -> str:
        """How messages name the bundle, and how `parse` finds it again."""
        whole = replace(self.place, name=None)
        return whole.address if isinstance(whole, HubBundle) else str(whole.path)

    def address_of(self, name: str) -> str:
        """How an entry or a family of the bundle is named."""
        return f"{self.address}/{name}"

    @property
    def hint(self) -> str:
        """What to do if a file is not what the catalogue says."""
        if isinstance(self.place, HubBundle):
            return f"The files in {self.place.repo} do not fit their catalogue. Tell the owner, or name another commit."
        return "Copy the folder again, or make it again with `adacode weights bundle`."

    def paths(self, entry: Entry) -> tuple[Path, ...]:
        """The files of an entry, in its order; each has been compared with the catalogue. Downloads what is missing.

        Raises WeightsError, also for a task of a family whose shared parts the entry does not name, and OutputError.
        """
        paths = tuple(self._path(self.catalogue.file(name)) for name in entry.files)
        unnamed = sorted({name for path in paths for name in shared_parts(path)} - set(entry.files))
        if unnamed:
            what = f"the entry {entry.name} of {self.address} does not name {' and '.join(unnamed)}, which it needs"
            raise WeightsError(what, hint=self.hint)
        return paths

    def all_paths(self) -> tuple[Path, ...]:
        """As `paths`, of every entry that the user named, each file once, and the prior of their family."""
        name = self.chosen.name
        entries = [entry for entry in self.catalogue.entries if name in (entry.name, entry.family)]
        paths = [path for entry in entries for path in self.paths(entry)]
        prior = self.prior(entries[0].family)
        return tuple(dict.fromkeys((*paths, prior) if prior else paths))

    def lacks(self, entry: Entry) -> bool:
        """Whether `paths` would have to download a file of this entry first; nothing is read or compared."""
        return any(self._found(name) is None for name in entry.files)

    def require_here(self, entry: Entry) -> None:
        """Raises WeightsError if a file of an entry is not on this machine, by the names of files only."""
        for name in entry.files:
            if self._found(name) is None:
                raise self._missing(name)

    def prior(self, family: str) -> Path | None:
        """The file of a family's prior; None where the bundle has none. Raises WeightsError, OutputError."""
        known = next((file for file in self.catalogue.priors if file.family == family), None)
        if known is not None:
            return self._path(known)
        # `train prior` writes a file that is copied into the folder.
        return self._found(part_name(family, "prior")) if isinstance(self.place, LocalBundle) else None

    @contextmanager
    def its_own_hints(self) -> Iterator[None]:
        """Within the block, errors that point to the list of installed weights name those of the bundle instead."""
        try:
            yield
        except WeightsError as error:
            if not error.hint.startswith(_LIST_COMMAND):
                raise
            names = [entry.name for entry in self.catalogue.entries]
            raise WeightsError(error.message, path=error.path, hint=_choice(names, self.address)) from error

    def _path(self, file: WeightsFile) -> Path:
        if isinstance(self.place, HubBundle):
            wanted = HubFile(self.place.repo, self.place.revision, file.name)
            digest, size = file.sha256, file.bytes
            return hub.fetch(wanted, expected_sha256=digest, expected_bytes=size, access=self.access, hint=self.hint)
        path = self._found(file.name)
        if path is None:
            raise self._missing(file.name)
        assert file.sha256 is not None, "checked when the bundle was opened"
        integrity.verify(path, file.sha256, hint=self.hint)
        return path

    def _found(self, name: str) -> Path | None:
        if isinstance(self.place, HubBundle):
            return hub.cached(HubFile(self.place.repo, self.place.revision, name), self.access)
        path = self.place.path / name
        return path if path.is_file() else None

    def _missing(self, name: str) -> WeightsError:
        if isinstance(self.place, HubBundle):
            hint = f"With a network connection, `adacode weights pull {self.address}` downloads it."
            return WeightsError(f"{self.address_of(name)} is not on this machine", hint=hint)
        what = f"is missing, and {catalogue_file.FILE_NAME} beside it names it"
        return WeightsError(what, path=self.place.path / name, hint=self.hint)


def open_bundle(place: LocalBundle | HubBundle, access: HubAccess = DEFAULT_ACCESS) -> Bundle:
    """Reads the catalogue of a bundle; that of a repository is downloaded if the cache has none of its commit.

    Raises WeightsError where there is none, where it is damaged or states what cannot be, and where it has not the
    name that is asked for; OutputError where the cache cannot be written.
    """
    if isinstance(place, HubBundle):
        path, commit = _hub_catalogue(place, access)
        place = replace(place, revision=commit)
        hint = "If the file was damaged on this disk, remove it. "
        hint += f"Otherwise tell the owner of {place.repo}, or update adacode-cli."
    else:
        path, hint = place.path / catalogue_file.FILE_NAME, "Make it again with `adacode weights bundle`."
    catalogue = _own(catalogue_file.read(path, hint), path, hint)
    return Bundle(catalogue, _chosen(catalogue, place), place, access)


def fetch_file(wanted: HubFile, access: HubAccess = DEFAULT_ACCESS) -> Path:
    """A file on the Hub; where it is a task of a family, its shared parts of the same commit are fetched beside it.

    Raises WeightsError, OutputError.
    """
    wanted = hub.at_commit(wanted, access)
    hint = f"Tell the owner of {wanted.repo}, or name another commit."
    path = hub.fetch(wanted, access=access, hint=hint)
    folder = wanted.file.rpartition("/")[0]
    for name in shared_parts_missing(path):
        hub.fetch(replace(wanted, file=f"{folder}/{name}" if folder else name), access=access, hint=hint)
    return path


def require_as_listed(path: Path) -> None:
    """Raises WeightsError for a file with another digest than the catalogue beside it states, if there is one."""
    beside = path.with_name(catalogue_file.FILE_NAME)
    if not beside.is_file() or not path.is_file():
        return
    try:
        known = {file.name: file.sha256 for file in catalogue_file.read(beside, "").files}
    except WeightsError:
        return  # a folder may have a file of that name for another purpose
    expected = known.get(path.name)
    if expected is not None:
        hint = f"Copy it again. If it was changed on purpose, put it into a folder without {beside.name}."
        integrity.verify(path, expected, hint=hint)


def shared_parts_missing(path: Path) -> list[str]:
    """Of `shared_parts`, those that do not lie beside the file."""
    return [name for name in shared_parts(path) if not path.with_name(name).is_file()]


def shared_parts(path: Path) -> list[str]:
    """Names of the files with shared parts that a task of a family needs beside its file.

    None for what is no such file: what is wrong with it is said when it is loaded.
    """
    try:
        header = header_of(path)["__metadata__"]["adacode"]
        stated = json.loads(header)
        family = stated["provenance"]["family"]
        is_task = stated["part"] == "task"
    except (WeightsError, KeyError, TypeError, ValueError, RecursionError):
        return []
    return shared_names(family) if is_task and is_name(family) else []


def pinned(name: str, access: HubAccess = DEFAULT_ACCESS) -> str:
    """The same weights, but on the Hub at the commit that a branch or tag names now; other names are unchanged.

    All processes of a run then use the same files. Nothing is downloaded. Raises WeightsError.
    """
    if not name.startswith(HUB_PREFIX):
        return name
    place = parse_hub(name)
    wanted = place if isinstance(place, HubFile) else _catalogue_of(place)
    return replace(place, revision=hub.at_commit(wanted, access).revision).address


def pinned_in_cache(name: str) -> str:
    """As `pinned`, but without the network: if the cache does not know the commit, the name is unchanged."""
    try:
        return pinned(name, HubAccess(local_files_only=True))
    except WeightsError:
        return name


def _catalogue_of(place: HubBundle) -> HubFile:
    return HubFile(place.repo, place.revision, catalogue_file.FILE_NAME)


def _hub_catalogue(place: HubBundle, access: HubAccess) -> tuple[Path, str]:
    """The catalogue of a repository, and the commit that it is of."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    wanted = hub.at_commit(_catalogue_of(place), access)
    assert wanted.revision is not None
    try:
        return hub.fetch_small(wanted, max_bytes=MAX_CATALOGUE_BYTES, access=access), wanted.revision
    except WeightsError as error:
        if not isinstance(error.__cause__, RemoteEntryNotFoundError):
            raise
        raise _no_catalogue(place, access) from error


def _no_catalogue(place: HubBundle, access: HubAccess) -> WeightsError:
    """The error for a repository without a catalogue, with the files of weights that it has, as addresses."""
    repo = HubRepo(place.repo, place.revision)
    names = sorted(name for name in hub.files_of(repo, access) if name.endswith(SUFFIXES) and name.isprintable())
    what = f"{replace(place, name=None).address} has no {catalogue_file.FILE_NAME}, which says what its files are"
    if not names:
        return WeightsError(what, hint=f"Name a file of weights in it: hub:{place.repo}/FILE.safetensors.")
    shown = " or ".join(HubFile(place.repo, place.revision, name).address for name in names[:_MOST_NAMES])
    more = f" (and {len(names) - _MOST_NAMES} more files)" if len(names) > _MOST_NAMES else ""
    return WeightsError(what, hint=f"Name one of its files: {shown}{more}.")


def _own(catalogue: Catalogue, path: Path, hint: str) -> Catalogue:
    """The entries whose files lie beside the catalogue, checked. Raises WeightsError with `hint`."""
    entries = tuple(entry for entry in catalogue.entries if entry.kind == "bundled")
    if not entries:
        raise WeightsError("names no weights whose files are beside it", path=path, hint=hint)
    used = {name for entry in entries for name in entry.files}
    files = tuple(file for file in catalogue.files if file.name in used)
    for file in (*files, *catalogue.priors):
        if problem := _problem(file):
            raise WeightsError(f"{file.name} {problem}", path=path, hint=hint)
    return Catalogue(entries, files, None, None, (), catalogue.priors)


def _problem(file: WeightsFile) -> str:
    """What is wrong with the description of a file in a bundle; "" if nothing is."""
    if not file.name.endswith(_SUFFIX):
        return f"does not end in {_SUFFIX}"
    if len(file.name) > _MAX_NAME:
        return f"has a name of more than {_MAX_NAME} characters"
    if file.bytes is None or file.sha256 is None:
        return "has no size or no SHA-256 there"
    if file.bytes > MAX_WEIGHTS_BYTES:
        return f"would have {file.bytes:,} bytes, and at most {MAX_WEIGHTS_BYTES:,} are read"
    return ""


def _chosen(catalogue: Catalogue, place: LocalBundle | HubBundle) -> EntryName | FamilyName:
    """What is named in a bundle; its only family if nothing is."""
    families, names = catalogue.families(), [entry.name for entry in catalogue.entries]
    if place.name in families:
        return FamilyName(place.name)
    if place.name in names:
        return EntryName(place.name)
    where = replace(place, name=None)
    address = where.address if isinstance(where, HubBundle) else str(where.path)
    if place.name is not None:
        hint = _choice([*families, *names], address)
        raise WeightsError(f"{address} has no weights called {place.name!r}", hint=hint)
    if len(families) > 1:
        raise WeightsError(f"{address} has several families", hint=_choice(families, address))
    return FamilyName(families[0])


def _choice(names: Sequence[str], address: str) -> str:
    """A hint with the names that a bundle has; its address may be long, so it is given once."""
    more = f" (and {len(names) - _MOST_NAMES} more)" if len(names) > _MOST_NAMES else ""
    return f"It has {', '.join(names[:_MOST_NAMES])}{more}; write {address}/{names[0]} or another of them."
