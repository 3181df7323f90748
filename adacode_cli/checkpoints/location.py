"""Parses the value of `--weights`: one of six kinds, or an error that names what is wrong.

A name from the catalogue, a family's name, a file on this machine, a folder of weights on this machine that has a
catalogue of its own (a bundle), such a bundle on the Hub, `hub:OWNER/REPO[@REVISION][/NAME]`, or one file there,
`hub:OWNER/REPO[@REVISION]/FILE`. Parsing is strict: everything that reaches the Hub's client or the cache's folders
is checked here, so that a path never leaves its repository and a typing mistake never downloads another file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote

from adacode_cli.checkpoints.catalogue import Catalogue, is_name
from adacode_cli.checkpoints.catalogue_file import FILE_NAME
from adacode_cli.checkpoints.file_names import SUFFIXES
from adacode_cli.errors import UsageError, WeightsError

HUB_PREFIX = "hub:"

# Names of files that a message lists.
_MOST_NAMES = 8

_GRAMMAR = "Write hub:OWNER/REPO[@REVISION][/FILE]; a slash inside REVISION is written %2F."
# The Hub's rule for both parts of a repository's name, slightly stricter (no names such as "a--b.git").
_REPO_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
# What people copy from a page of the Hub, and names without the prefix, which no folder on this machine has.
_HUB_PAGE = re.compile(
    r"https?://(?:www\.)?huggingface\.co/(?P<repo>[^/]+/[^/]+)/(?:resolve|blob|raw)/(?P<revision>[^/]+)/(?P<file>[^?#]+).*"
)
_NO_FILE = "".join(rf"(?<!\{suffix})" for suffix in SUFFIXES)
_HUB_REPO_PAGE = re.compile(r"https?://(?:www\.)?huggingface\.co/(?P<repo>[^/?#]+/[^/?#]+)/?")
_HUB_NAME = re.compile(rf"([A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*?{_NO_FILE})(?:/(.+))?")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]*")


@dataclass(frozen=True)
class EntryName:
    """The name of one catalogue entry, such as `compact-sr-x4`."""

    name: str


@dataclass(frozen=True)
class FamilyName:
    """The name of a family, such as `compact`; the task and the scale choose the entry."""

    name: str


@dataclass(frozen=True)
class LocalFile:
    """An existing file on this machine with one of `SUFFIXES`."""

    path: Path


@dataclass(frozen=True)
class HubRepo:
    """A Hub repository, "OWNER/REPO", at a branch, tag or commit (None: its default branch)."""

    repo: str
    revision: str | None


@dataclass(frozen=True)
class HubFile:
    """One file of a Hub repository; `file` may have folders, separated by slashes."""

    repo: str
    revision: str | None
    file: str

    @property
    def address(self) -> str:
        """As `parse_hub` reads it."""
        return f"{_address(self.repo, self.revision)}/{self.file}"


@dataclass(frozen=True)
class LocalBundle:
    """A folder on this machine with a catalogue of its own. name: an entry or a family of it, None: its only family."""

    path: Path
    name: str | None = None


@dataclass(frozen=True)
class HubBundle:
    """A Hub repository with a catalogue of its own. name: an entry or a family of it, None: its only family."""

    repo: str
    revision: str | None
    name: str | None = None

    @property
    def address(self) -> str:
        """As `parse_hub` reads it."""
        return _address(self.repo, self.revision) + (f"/{self.name}" if self.name else "")


def _address(repo: str, revision: str | None) -> str:
    return f"{HUB_PREFIX}{repo}" + (f"@{quote(revision, safe='')}" if revision else "")


Location = EntryName | FamilyName | LocalFile | LocalBundle | HubFile | HubBundle


def parse(name: str | Path, catalogue: Catalogue, *, bare_hub: bool = False) -> Location:
    """What `name` names. Names of the catalogue have priority over files and folders of the same name; a Path, or
    `./NAME`, means the file or folder. bare_hub: "OWNER/REPO" means the Hub if there is no such folder.

    Raises WeightsError for an unknown name (with the nearest ones), a file that does not exist or has another
    suffix, a folder without a catalogue, and a malformed hub: address; UsageError for what is neither text nor Path.
    """
    if isinstance(name, Path):
        return _local(str(name), name)
    if not isinstance(name, str):
        hint = 'Give a name such as "compact" or "OWNER/REPO", or a path.'
        raise UsageError(f"weights are named by a text or a Path, not by {type(name).__name__}", hint=hint)
    if name.startswith(HUB_PREFIX):
        return parse_hub(name)
    if name in catalogue.families():
        return FamilyName(name)
    if any(entry.name == name for entry in catalogue.entries):
        return EntryName(name)
    path = _expanded(name)
    looks_like_path = "/" in name or "\\" in name or path.suffix.lower() in SUFFIXES
    if not name or (not looks_like_path and not _exists(path)):
        raise catalogue.unknown(name)
    if bare_hub and not _is_local(path) and (repo := _HUB_NAME.fullmatch(name)) is not None and repo[2] is None:
        return parse_hub(f"{HUB_PREFIX}{name}")
    return _local(name, path)


def _is_local(path: Path) -> bool:
    """Whether there is such a file or folder, or a bundle that may have a name like the last part of the path."""
    return _exists(path) or (is_name(path.name) and _exists(path.parent / FILE_NAME))


def _local(text: str, path: Path) -> Location:
    """The file or the bundle at `path`; `text` is what the user wrote."""
    if not _is_local(path):
        raise _missing(text)
    if not _exists(path):
        return LocalBundle(path.parent, path.name)
    if path.is_dir():
        if not (path / FILE_NAME).is_file():
            raise _no_bundle(path)
        return LocalBundle(path)
    if path.suffix.lower() not in SUFFIXES:
        hint = "Use a .safetensors file, or a published checkpoint (.pth, .pt, .ckpt)."
        raise WeightsError(f"ends in none of {', '.join(SUFFIXES)}", path=path, hint=hint)
    return LocalFile(path)


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises for a name that is too long)


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # there is no home folder of that user, so there is no such file
        return Path(text)


def parse_hub(text: str) -> HubFile | HubBundle:
    """The parts of `hub:OWNER/REPO[@REVISION][/FILE]`; WeightsError with the malformed part.

    FILE ends in one of `SUFFIXES`; a name without a suffix is an entry or a family of the repository's catalogue.
    """
    parts = text.removeprefix(HUB_PREFIX).split("/", 2)
    if not text.startswith(HUB_PREFIX) or len(parts) < 2:
        raise _malformed(text, "it needs an owner and a repository")
    where = _repository(f"{parts[0]}/{parts[1]}", text)
    if len(parts) == 2 or is_name(parts[2]):
        return HubBundle(where.repo, where.revision, parts[2] if len(parts) > 2 else None)
    return HubFile(where.repo, where.revision, _file(parts[2], text))


def parse_hub_file(text: str) -> HubFile:
    """As `parse_hub`, for an address that must name one file."""
    found = parse_hub(text)
    if isinstance(found, HubBundle):
        raise _malformed(text, "it needs a file, such as hub:OWNER/REPO/FILE.safetensors")
    return found


def with_revision(place: Location, revision: str) -> Location:
    """An address on the Hub with a branch, tag or commit. Raises UsageError for other places, WeightsError."""
    if not isinstance(revision, str):
        raise UsageError(f"revision is {revision!r}", hint="Give a branch, a tag or a commit as a text.")
    if not isinstance(place, HubFile | HubBundle):
        hint = "Leave it out: only weights on the Hub have revisions."
        raise UsageError(f"revision {revision!r} is given for weights that are not on the Hub", hint=hint)
    if place.revision not in (None, revision):
        hint = "Leave out one of the two."
        raise UsageError(f"two revisions are given, {place.revision!r} and {revision!r}", hint=hint)
    return replace(place, revision=_checked(revision, revision))


def with_branch(place: HubRepo, branch: str) -> HubRepo:
    """A repository with a branch. Raises WeightsError for one that cannot be, or is another one than that it has."""
    if place.revision not in (None, branch):
        raise WeightsError(f"two revisions are given, {place.revision!r} and {branch!r}", hint="Leave out one of them.")
    return HubRepo(place.repo, _checked(branch, branch))


def parse_hub_repo(text: str) -> HubRepo:
    """The parts of `OWNER/REPO[@REVISION]`, as `--hub-repo` and ADACODE_HUB_REPO give it; WeightsError if malformed."""
    if text.count("/") != 1:
        raise WeightsError(f"{text!r} is not a Hub repository", hint="Write OWNER/REPO or OWNER/REPO@REVISION.")
    return _repository(text, text)


def _repository(name: str, text: str) -> HubRepo:
    """`name` is OWNER/REPO[@REVISION]; `text` is the user's text, for the message."""
    repo, at, revision = name.partition("@")
    owner, _, short = repo.partition("/")
    for part, what in ((owner, "owner"), (short, "repository")):
        if not part:
            raise _malformed(text, f"the {what} is empty")
        if not _REPO_PART.fullmatch(part) or "--" in part or ".." in part or part.endswith(".git"):
            raise _malformed(text, f"{part!r} is not a valid {what} name")
    if not at:
        return HubRepo(repo, None)
    return HubRepo(repo, _checked(unquote(revision), text))


def _checked(revision: str, text: str) -> str:
    # Git allows neither of these in the name of a branch or a tag.
    parts_fit = all(
        part and not part.startswith(".") and not part.endswith((".", ".lock")) for part in revision.split("/")
    )
    if not _REVISION.fullmatch(revision) or not parts_fit or ".." in revision:
        raise _malformed(text, f"{revision!r} is not a valid revision" if revision else "the revision is empty")
    return revision


def _file(name: str, text: str) -> str:
    if not name:
        raise _malformed(text, "the file is missing")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise _malformed(text, f"{name!r} has an empty, '.' or '..' folder")
    # Backslashes and colons would mean folders and drives on Windows.
    if "\\" in name or ":" in name or not name.isprintable():
        raise _malformed(text, f"{name!r} has characters that a file on the Hub cannot have")
    if not name.endswith(SUFFIXES):
        raise _malformed(text, f"{name!r} ends in none of {', '.join(SUFFIXES)}")
    return name


def _malformed(text: str, why: str) -> WeightsError:
    return WeightsError(f"{text!r} is not an address on the Hub: {why}", hint=_GRAMMAR)


def _missing(text: str) -> WeightsError:
    """The error for a file that does not exist, with the address on the Hub that may be meant."""
    hint = "Check the path; `adacode weights list` shows known names."
    page = _HUB_PAGE.fullmatch(text)
    if page is not None:
        revision = "" if page["revision"] == "main" else f"@{page['revision']}"
        hint = f"Did you mean {HUB_PREFIX}{page['repo']}{revision}/{page['file']}?"
    elif (page := _HUB_REPO_PAGE.fullmatch(text)) is not None:
        hint = f"Did you mean {HUB_PREFIX}{page['repo']}?"
    elif "://" in text:
        hint = "Download the file and give its path; a file on the Hugging Face Hub is written hub:OWNER/REPO/FILE."
    elif (repo := _HUB_NAME.fullmatch(text)) is not None:
        what = "a file" if repo[2] else "a repository"
        hint = f"Did you mean {HUB_PREFIX}{text}, {what} on the Hugging Face Hub?"
    return WeightsError("does not exist", path=text, hint=hint)


def _no_bundle(path: Path) -> WeightsError:
    """The error for a folder without a catalogue, with the files of weights that it has."""
    try:
        names = sorted(each.name for each in path.iterdir() if each.suffix.lower() in SUFFIXES)
    except OSError:
        names = []
    hint = "`adacode weights bundle RUN -o DIR` makes such a folder of a training run."
    if names:
        more = f" (and {len(names) - _MOST_NAMES} more)" if len(names) > _MOST_NAMES else ""
        hint = f"Name one of its files: {', '.join(names[:_MOST_NAMES])}{more}."
    return WeightsError(f"is a folder without a {FILE_NAME}", path=path, hint=hint)
