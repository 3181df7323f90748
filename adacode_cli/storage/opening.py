"""Opens the file systems of addresses, once for each store."""

from __future__ import annotations

import importlib.util
import threading
from typing import TYPE_CHECKING, Any

from adacode_cli.errors import InputError, UsageError
from adacode_cli.storage.google import plain_class
from adacode_cli.storage.host_keys import checking_class
from adacode_cli.storage.path import RemotePath

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_CONNECT_S, _READ_S = 10, 60
_opened: dict[tuple[object, ...], AbstractFileSystem] = {}
_lock = threading.Lock()


def require_library(path: RemotePath) -> None:
    """Raises UsageError if the library that reads such addresses is not installed."""
    kind = path.kind
    if importlib.util.find_spec(kind.module) is None:
        hint = f"Install it: pip install 'adacode-cli[{kind.extra}]'." if kind.extra else f"Install {kind.module}."
        raise UsageError(f"{path}: {path.scheme}:// addresses need the package {kind.module}", hint=hint)


def file_system(path: RemotePath) -> tuple[AbstractFileSystem, str]:
    """(the file system of an address, the address as it takes it).

    Raises UsageError if a library is missing, and InputError for a name that the library would take for another.
    """
    require_library(path)
    if path.kind.names_version(str(path)):
        what = f"a name that contains {path.kind.version_mark} cannot be used in this store"
        raise InputError(what, path=path, hint="Give the file another name.")
    opener = _class_of(path)
    address = path.address
    is_threadsafe = getattr(opener, "async_impl", False) or path.scheme == "memory"
    thread = 0 if is_threadsafe else threading.get_ident()
    key = (path.scheme, _server(path, address), thread)
    with _lock:
        if path.scheme == "sftp" and key in _opened and _is_lost(_opened[key]):
            del _opened[key]
        if key not in _opened:
            given = opener._get_kwargs_from_urls(address)
            _opened[key] = opener(**given, **_settings(path), skip_instance_cache=True)
            _opened[key].retries = 1  # `patience` tries again, in the same way for every store.
    name: str = _opened[key]._strip_protocol(address)
    if not path.kind.has_query and not name.endswith("/".join(path.parts[2:])):
        what = f"a name with a control character cannot be used in this store, which would take it for {name}"
        raise InputError(what, path=path, hint="Give the file another name.")
    return _opened[key], name


def _is_lost(system: AbstractFileSystem) -> bool:
    """Whether the connection of a file system of SFTP has ended, so that no call of it can succeed any more."""
    transport = system.client.get_transport()
    return transport is None or not transport.is_active()


def _class_of(path: RemotePath) -> type[AbstractFileSystem]:
    from fsspec import get_filesystem_class

    if path.scheme == "sftp":
        return checking_class()
    if path.scheme == "gs":
        return plain_class()
    found: type[AbstractFileSystem] = get_filesystem_class(path.scheme)
    return found


def _server(path: RemotePath, address: str) -> str:
    """What of an address the file system depends on: a server with its user, or nothing where it is one for all."""
    if path.kind.has_container_before_at:
        return path.parts[1].partition("@")[2]
    if path.scheme == "sftp":
        return str(address.split("/", 3)[2])
    return ""


def _settings(path: RemotePath) -> dict[str, Any]:
    """What is set for each library: nothing is remembered of listings, and each call has a time limit."""
    if path.scheme == "s3":
        config = {"connect_timeout": _CONNECT_S, "read_timeout": _READ_S, "retries": {"total_max_attempts": 1}}
        return {"use_listings_cache": False, "config_kwargs": config}
    if path.scheme in ("http", "https"):
        from aiohttp import ClientTimeout

        limits = ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_S)
        return {"use_listings_cache": False, "client_kwargs": {"timeout": limits}}
    if path.scheme == "sftp":
        return {"timeout": _CONNECT_S}
    return {} if path.scheme == "memory" else {"use_listings_cache": False}
