"""Addresses of files that are not on a local disk, as paths.

A `RemotePath` joins, splits and names like every path, and has none of the calls that read or write a file system. So a
local call that was forgotten somewhere is an error; it never reads or writes a wrong local file.

Passwords and signed queries of addresses are kept apart from the paths: no text of a path has them, so no message, log
or journal has them. They travel with a path to other processes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import unquote

from adacode_cli.errors import UsageError
from adacode_cli.storage.kinds import KINDS, Kind

# A type checker sees a path like all others; at run time there is nothing that could reach a local disk.
if TYPE_CHECKING:
    _Base = Path
else:
    _Base = PurePosixPath

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_MARK = "://"
_LOOKS_SECRET = re.compile(
    r"(?<=://)[^/@\s'\"]*:[^/@\s'\"]*@|\?[^\s'\")]*(?:[Ss]ig|[Tt]oken|[Kk]ey|[Cc]redential)[^\s'\")]*"
)
_USERS: dict[str, str] = {}
"""{scheme and server: user and password} of the addresses that this process was given."""
_QUERIES: dict[str, str] = {}
"""{address as it is shown: its query}."""


class RemotePath(_Base):
    """The address of a file or of a folder of files, such as s3://museum/scans.

    is_known_folder: whether it is a folder, once `objects.is_folder` has looked; None before.
    """

    is_known_folder: bool | None = None

    def __str__(self) -> str:
        return super().__str__().replace(":/", _MARK, 1)

    def __fspath__(self) -> str:
        raise TypeError(f"{self} is not a path of a local file system")

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        text = str(self)
        return _restored, (text, _USERS.get(self._server, ""), _QUERIES.get(text, ""))

    def absolute(self) -> RemotePath:
        """The path itself."""
        return self

    @property
    def scheme(self) -> str:
        """The beginning of the address, before ://."""
        return self.parts[0].removesuffix(":")

    @property
    def kind(self) -> Kind:
        """What is known of stores with this scheme."""
        return KINDS[self.scheme]

    @property
    def is_top(self) -> bool:
        """Whether this is a whole bucket or server, so that nothing is above it."""
        return len(self.parts) <= 2

    @property
    def address(self) -> str:
        """The address with its secrets, for the library that opens it; never to be shown."""
        text = str(self)
        scheme, rest = text.split(_MARK, 1)
        return f"{scheme}{_MARK}{_USERS.get(self._server, '')}{rest}{_QUERIES.get(text, '')}"

    @property
    def _server(self) -> str:
        return _MARK.join((self.scheme, self.parts[1]))


def is_remote(path: object) -> TypeGuard[RemotePath]:
    """Whether a path is an address, not a path of a local file system."""
    return isinstance(path, RemotePath)


def is_remote_text(text: str) -> bool:
    """Whether the text of a path is that of an address; a local path has no empty part, so it never is."""
    return _MARK in text


def is_address(text: str) -> bool:
    """Whether a text that somebody typed is an address, but not that of a local file (file://)."""
    found = _ADDRESS.fullmatch(text)
    return found is not None and found[1].lower() != "file"


def path_of(text: str) -> Path:
    """The path that a text means: a local one or an address. Raises UsageError for an address that cannot be used."""
    return remote_path(text) if is_address(text) else Path(text)


def path_from(text: str) -> Path:
    """The path of which this is the text."""
    return RemotePath(text) if is_remote_text(text) else Path(text)


def remote_path(text: str) -> RemotePath:
    """The path of an address. Its user, password and query are kept apart. Raises UsageError."""
    found = _ADDRESS.fullmatch(text)
    assert found is not None, "the caller has checked this"
    scheme, rest = found[1].lower(), found[2]
    kind = KINDS.get(scheme)
    if kind is None:
        hint = f"Use one of {', '.join(f'{name}://' for name in KINDS)}, or download the files first."
        raise UsageError(f"{scheme}:// addresses are not supported", hint=hint)
    user, query = "", ""
    if kind.has_query and "?" in rest:
        rest, mark, query = rest.partition("?")
        query = f"{mark}{query}"
    place, slash, below = rest.partition("/")
    if "@" in place and not kind.has_container_before_at:
        user, _, place = place.rpartition("@")
        user += "@"
        if not kind.has_user:
            what = f"{scheme}://{place}{slash}{below}: a user or a key in the address has no effect"
            raise UsageError(what, hint=f"Leave it out. {kind.credentials}")
    shown = f"{scheme}{_MARK}{place}{slash}{below}".rstrip("/")
    _refuse_unusable(shown, place, below.rstrip("/"))
    path = RemotePath(shown)
    if user:
        _USERS[f"{scheme}{_MARK}{place}"] = user
    if query and _QUERIES.setdefault(shown, query) != query:
        hint = "Leave one of them out, or download the files first."
        raise UsageError(f"{shown}: two addresses differ only in what follows the question mark", hint=hint)
    return path


def without_secrets(text: str) -> str:
    """A text, such as the message of a library, without what could be a password or a signed query of an address."""
    secrets = [query.lstrip("?") for query in _QUERIES.values() if query in text]
    for user in _USERS.values():
        password = user.rstrip("@").partition(":")[2]
        secrets += [user, unquote(user), password, unquote(password)]
    for secret in secrets:
        text = text.replace(secret, "…") if len(secret) > 1 else text
    return _LOOKS_SECRET.sub("…", text)


def _refuse_unusable(shown: str, place: str, below: str) -> None:
    """Raises UsageError for an address whose path would not be the same as its text."""
    if not place:
        hint = "Write it as s3://BUCKET/FOLDER, with the name of the bucket or the server after the two slashes."
        raise UsageError(f"{shown}: the address has no bucket or server", hint=hint)
    if below and any(part in ("", ".", "..") for part in below.split("/")):
        hint = "Name a folder above it, or copy the files to names without such parts."
        raise UsageError(f"{shown}: an address with an empty part, '.' or '..' cannot be used", hint=hint)


def _restored(text: str, user: str, query: str) -> RemotePath:
    path = RemotePath(text)
    if user:
        _USERS[path._server] = user
    if query:
        _QUERIES[text] = query
    return path
