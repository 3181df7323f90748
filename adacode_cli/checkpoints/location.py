"""Parses the value of `--weights`: one of four kinds, or an error that names what is wrong.

A name from the catalogue, a family's name, a file on this machine, or `hub:OWNER/REPO[@REVISION]/FILE`. Parsing is
strict: everything that reaches the Hub's client or the cache's folders is checked here, so that a path never
leaves its repository and a typing mistake never downloads another file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from adacode_cli.checkpoints.catalogue import Catalogue
from adacode_cli.checkpoints.suffixes import SUFFIXES
from adacode_cli.errors import WeightsError

HUB_PREFIX = "hub:"

_GRAMMAR = "Write hub:OWNER/REPO/FILE or hub:OWNER/REPO@REVISION/FILE; a slash inside REVISION is written %2F."
# The Hub's rule for both parts of a repository's name, slightly stricter (no names such as "a--b.git").
_REPO_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
# What people copy from a page of the Hub, and names without the prefix, which no folder on this machine has.
_HUB_PAGE = re.compile(
    r"https?://(?:www\.)?huggingface\.co/(?P<repo>[^/]+/[^/]+)/(?:resolve|blob|raw)/(?P<revision>[^/]+)/(?P<file>[^?#]+).*"
)
_NO_FILE = "".join(rf"(?<!\{suffix})" for suffix in SUFFIXES)
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


Location = EntryName | FamilyName | LocalFile | HubFile


def parse(text: str, catalogue: Catalogue) -> Location:
    """What `text` names. Names of the catalogue have priority over files of the same name; `./NAME` means the file.

    Raises WeightsError for an unknown name (with the nearest ones), a file that does not exist or has another
    suffix, and a malformed hub: address.
    """
    if text.startswith(HUB_PREFIX):
        return parse_hub_file(text)
    if text in catalogue.families():
        return FamilyName(text)
    if any(entry.name == text for entry in catalogue.entries):
        return EntryName(text)
    path = _expanded(text)
    looks_like_path = "/" in text or "\\" in text or path.suffix.lower() in SUFFIXES
    if not looks_like_path and not path.exists():
        raise catalogue.unknown(text)
    if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises for a name that is too long)
        raise _missing(text)
    return LocalFile(_existing(path))


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # there is no home folder of that user, so there is no such file
        return Path(text)


def parse_hub_file(text: str) -> HubFile:
    """The parts of `hub:OWNER/REPO[@REVISION]/FILE`; WeightsError with the malformed part."""
    parts = text.removeprefix(HUB_PREFIX).split("/", 2)
    if not text.startswith(HUB_PREFIX) or len(parts) < 3:
        raise _malformed(text, "it needs an owner, a repository and a file")
    where = _repository(f"{parts[0]}/{parts[1]}", text)
    return HubFile(where.repo, where.revision, _file(parts[2], text))


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
    revision = unquote(revision)
    if not _REVISION.fullmatch(revision) or any(part in ("", ".", "..") for part in revision.split("/")):
        raise _malformed(text, f"{revision!r} is not a valid revision" if revision else "the revision is empty")
    return HubRepo(repo, revision)


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
    elif "://" in text:
        hint = "Download the file and give its path; a file on the Hugging Face Hub is written hub:OWNER/REPO/FILE."
    elif (repo := _HUB_NAME.fullmatch(text)) is not None:
        hint = f"Did you mean {HUB_PREFIX}{repo[1]}/{repo[2] or 'FILE'}, a file on the Hugging Face Hub?"
    return WeightsError("does not exist", path=text, hint=hint)


def _existing(path: Path) -> Path:
    """`path` itself if it is a file of a known kind."""
    if path.is_dir():
        raise WeightsError(
            "is a folder, not a weights file", path=path, hint="Name the file in it: .safetensors, .pth, .pt or .ckpt."
        )
    if path.suffix.lower() not in SUFFIXES:
        hint = "Use a .safetensors file, or a published checkpoint (.pth, .pt, .ckpt)."
        raise WeightsError(f"ends in none of {', '.join(SUFFIXES)}", path=path, hint=hint)
    return path
