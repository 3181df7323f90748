"""Addresses of files that are not on a local disk, as paths.

A `RemotePath` joins, splits and names like every path, and has none of the calls that read or write a file system. So a
local call on it that was forgotten somewhere is an error. Only `Path(remote)` and `Path(folder) / remote`, and the
text of a path, become local paths, of a folder named `s3:`; nothing in this package makes them.

Passwords and signed queries of addresses are kept apart from the paths: no text of a path has them, so no message, log
or journal has them. They travel with a path to other processes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import parse_qsl, unquote

from adacode_cli.errors import UsageError
from adacode_cli.storage.kinds import KINDS, Kind

# A type checker sees a path like all others; at run time there is nothing that could reach a local disk.
if TYPE_CHECKING:
    _Base = Path
else:
    _Base = PurePosixPath

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
# The text of a local path that was made of an address; a single letter is a drive of Windows.
_WAS_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]")
_MARK = "://"
_LOOKS_SECRET = re.compile(
    r"(?<=://)[^/@\s'\"]*:[^/@\s'\"]*@|\?[^\s'\")]*(?:[Ss]ig|[Tt]oken|[Kk]ey|[Cc]redential)[^\s'\")]*"
)
_SIGNED = re.compile(r"\?.*(?:sig|token|key|credential|password)[^=&]*=", re.IGNORECASE | re.DOTALL)
_PORT = re.compile(r"[^:]*(:[0-9]*)?|\[[0-9A-Fa-f:.]*\](:[0-9]*)?|arn:[^@]*")
"""What a bucket or server can be, with its port; a bucket of S3 may have the name of a resource (ARN)."""
# What signs an address, so that it is another one for the same file tomorrow: of S3, Google and Azure.
_SIGNS = re.compile(
    r"x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id|s[ve]|s[prt]|spr|sig|sk[a-z]+",
    re.IGNORECASE,
)
_USERS: dict[str, str] = {}
"""{scheme and server: user and password, or ""} of the addresses that this process was given."""
_QUERIES: dict[str, str] = {}
"""{address as it is shown: its query, or ""}."""


QUERY = "?query-sha256="
"""What is between an address and the digest of its query in `identity_of`."""


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


def was_address(path: Path) -> bool:
    """Whether a local path was made of the text of an address: `s3://bucket` becomes `s3:/bucket`."""
    return _WAS_ADDRESS.match(str(path)) is not None


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
        hint = (
            f"Use one of {', '.join(f'{name}://' for name in KINDS if name != 'memory')}, or download the files first."
        )
        raise UsageError(f"{scheme}:// addresses are not supported", hint=hint)
    query = ""
    if kind.has_query and "?" in rest:
        rest, mark, query = rest.partition("?")
        query = f"{mark}{query}"
    place, slash, below = rest.partition("/")
    _refuse_hidden_secrets(scheme, place, below, query)
    user = ""
    if "@" in place and not kind.has_container_before_at:
        user, _, place = place.rpartition("@")
        user += "@"
        if not kind.has_user:
            what = f"{scheme}://{place}{slash}{below}: a user or a key in the address has no effect"
            raise UsageError(what, hint=f"Leave it out. {kind.credentials}")
    shown = f"{scheme}{_MARK}{place}{slash}{below}".rstrip("/")
    _refuse_unusable(shown, kind, place, below.rstrip("/"))
    _keep_apart(shown, kind, user, query)
    return RemotePath(shown)


def identity_of(text: str) -> str:
    """The text of a path, with a digest of its query if it has one, which tells two files of a web server apart.

    What signs an address is not counted, because it is another one every time.
    """
    query = _QUERIES.get(text, "").removeprefix("?")
    counted = [pair for pair in parse_qsl(query, keep_blank_values=True) if not _SIGNS.fullmatch(pair[0])]
    if not query or (not counted and "=" in query):
        return text
    digest = hashlib.sha256(repr(counted or query).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{text}{QUERY}{digest[:16]}"


def without_secrets(text: str) -> str:
    """A text, such as the message of a library, without what could be a password or a signed query of an address."""
    queries = [query.lstrip("?") for query in _QUERIES.values() if query]
    secrets = [form for query in queries for form in (query, unquote(query)) if form in text]
    for user in filter(None, _USERS.values()):
        password = user.rstrip("@").partition(":")[2]
        secrets += [user, unquote(user), password, unquote(password)]
    for secret in secrets:
        text = text.replace(secret, "…") if len(secret) > 1 else text
    return _LOOKS_SECRET.sub("…", text)


def _refuse_hidden_secrets(scheme: str, place: str, below: str, query: str) -> None:
    """Raises UsageError for an address with a password or a signature at a place where it would be shown."""
    server = place.rpartition("@")[2]
    if not _PORT.fullmatch(server) or (not below and "@" in query):
        what = f"{scheme}:// address: what follows the colon is no port"
        hint = "In a password, write / as %2F, ? as %3F, @ as %40 and : as %3A."
        raise UsageError(what, hint=hint)
    if _SIGNED.search(below):
        what = f"{scheme}://{server}/{below.partition('?')[0]}: a key or a signature in the address has no effect"
        raise UsageError(what, hint=f"Leave out what follows the question mark. {KINDS[scheme].credentials}")


def _keep_apart(shown: str, kind: Kind, user: str, query: str) -> None:
    """Remembers user and query of an address. Raises UsageError if they differ from those of an earlier one."""
    server = "/".join(shown.split("/", 3)[:3])
    if kind.has_user and _USERS.setdefault(server, user) != user:
        hint = "Use one user for all, or restore the files of each user with a command of its own."
        raise UsageError(f"{server}: two addresses on one server have different users or passwords", hint=hint)
    if kind.has_query and _QUERIES.setdefault(shown, query) != query:
        hint = "Leave one of them out, or download the files first."
        raise UsageError(f"{shown}: two addresses differ only in what follows the question mark", hint=hint)


def _refuse_unusable(shown: str, kind: Kind, place: str, below: str) -> None:
    """Raises UsageError for an address whose path would not be the same as its text."""
    if kind.has_query and "#" in shown:
        raise UsageError(f"{shown}: an address with # cannot be used", hint="If # is a part of the name, write %23.")
    if kind.names_version(shown):
        hint = "Copy the object to another name; adacode reads the newest version of an object."
        raise UsageError(f"{shown}: a key that contains {kind.version_mark} cannot be used", hint=hint)
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
