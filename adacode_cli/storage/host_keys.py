"""SFTP with the keys of servers that ssh knows: another server, or one that nobody has accepted yet, is refused.

fsspec's own class accepts the key of every server, and takes names with a question mark or a tab for those of other
files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from paramiko import MissingHostKeyPolicy, PKey

_FILES = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_SSH_PORT = 22


class HostKeyError(PermissionError):
    """The key of a server is not known, or is another one. hint: what to do next."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@cache
def _refusing_policy() -> type[MissingHostKeyPolicy]:
    """The class of paramiko for what is done with a key that is not known: HostKeyError is raised."""
    import paramiko

    class Refuse(paramiko.MissingHostKeyPolicy):  # type: ignore[misc] # The library may have no types.
        def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: PKey) -> None:
            del client
            raise _unknown(hostname, key)

    return Refuse


@cache
def checking_class() -> type[AbstractFileSystem]:
    """The class of fsspec for SFTP, whose connection raises HostKeyError, and PermissionError for a wrong user."""
    import paramiko
    from fsspec.implementations.sftp import SFTPFileSystem

    class CheckingFileSystem(SFTPFileSystem):  # type: ignore[misc] # fsspec has no types.
        def _connect(self) -> None:
            name = _name_of(self.host, int(self.ssh_kwargs.get("port") or _SSH_PORT))
            known = list(known_keys(name))
            try:
                try:
                    self._connect_to(name, known)
                except paramiko.BadHostKeyException as error:
                    # The library compares with one key of each type, but a server may have several in the files.
                    if error.key not in known:
                        raise
                    self._connect_to(name, [error.key])
            except (paramiko.SSHException, OSError) as error:
                raise _refusal(error, name) from None

        def _connect_to(self, name: str, known: Sequence[PKey]) -> None:
            self.client = paramiko.SSHClient()
            self.client.set_missing_host_key_policy(_refusing_policy()())
            for key in known:
                self.client.get_host_keys().add(name, key.get_name(), key)
            try:
                self.client.connect(self.host, **self.ssh_kwargs)
                self.ftp = self.client.open_sftp()
            except BaseException:
                self.client.close()
                raise

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            _, is_address, rest = path.partition("://")
            return f"/{rest.partition('/')[2]}" if is_address else path

        @staticmethod
        def _get_kwargs_from_urls(urlpath: str) -> dict[str, Any]:
            server: dict[str, Any] = SFTPFileSystem._get_kwargs_from_urls("/".join(urlpath.split("/", 3)[:3]))
            return server

    return CheckingFileSystem


def known_keys(name: str) -> Iterator[PKey]:
    """The keys that the files of ssh have for the server of this name, without those that they call revoked.

    Names are the same in upper and lower case. Patterns and certificates are not understood, so what they allow is
    refused. A line that cannot be read is ignored, as ssh does.
    """
    from paramiko.hostkeys import HostKeyEntry, HostKeys

    name = name.lower()

    def names_it(host: str) -> bool:
        return host.lower() == name or (host.startswith("|1|") and HostKeys.hash_host(name, host) == host)

    lines: list[list[str]] = []
    for file in _FILES:
        with suppress(OSError, RuntimeError):  # There may be no home.
            text = Path(file).expanduser().read_text(encoding="utf-8", errors="replace")
            lines += [words for line in text.splitlines() if len(words := line.split()) > 2]
    revoked = {words[3] for words in lines if words[0] == "@revoked" and len(words) > 3}
    for words in lines:
        with suppress(Exception):  # The library has errors of many kinds for lines that are damaged.
            is_key = words[0][0] not in "#@" and words[2] not in revoked
            if is_key and any(names_it(host) for host in words[0].split(",")):
                entry = HostKeyEntry.from_line(" ".join(words[:3]))
                if entry is not None and entry.key is not None:
                    yield entry.key


def _name_of(host: str, port: int) -> str:
    """The name of a server in the files of ssh."""
    return host if port == _SSH_PORT else f"[{host}]:{port}"


def _unknown(name: str, key: PKey) -> HostKeyError:
    host, _, port = name.strip("[").partition("]:")
    place = f"-p {port} {host}" if port else host
    hint = (
        f"Connect once with 'ssh {place}', and compare this fingerprint with that of the server's administrator; or "
        f"add what 'ssh-keyscan {place}' prints to ~/.ssh/known_hosts."
    )
    return HostKeyError(f"the key of the server {name} is not known: {_shown(key)}", hint)


def _refusal(error: Exception, name: str) -> Exception:
    """The error of a connection that failed, in a class that tells whether another attempt can succeed."""
    from paramiko import AuthenticationException, BadHostKeyException, SSHException

    if isinstance(error, BadHostKeyException):
        hint = (
            "It may be another server. Ask its administrator; if the key was changed, remove the old one with "
            f"\"ssh-keygen -R '{name}'\", and connect once with ssh."
        )
        return HostKeyError(f"the key of the server {name} is not the one that is known: {_shown(error.key)}", hint)
    has_no_way = isinstance(error, SSHException) and "No authentication methods" in str(error)
    if isinstance(error, AuthenticationException) or has_no_way:
        return PermissionError(str(error))
    return error


def _shown(key: Any) -> str:  # noqa: ANN401 (what the library passes on)
    return f"{key.get_name()} {key.fingerprint}"
