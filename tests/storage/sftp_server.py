"""An SFTP server on loopback over a folder, of paramiko, for one user with a password."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import paramiko

USER, PASSWORD = "ada", "lovelace"


class _Access(paramiko.ServerInterface):
    def __init__(self, passwords):
        self._passwords = passwords

    def check_auth_password(self, username, password):
        self._passwords.append(password)
        is_known = (username, password) == (USER, PASSWORD)
        return paramiko.AUTH_SUCCESSFUL if is_known else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def get_allowed_auths(self, username):
        return "password"


def _answered(call):
    """A method of the server, whose errors become answers."""

    def answer(*arguments):
        try:
            result = call(*arguments)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        return paramiko.SFTP_OK if result is None else result

    return answer


class _Handle(paramiko.SFTPHandle):
    def stat(self):
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))


def _server(root: Path):
    def at(path):
        return root / path.lstrip("/")

    class Files(paramiko.SFTPServerInterface):
        @_answered
        def list_folder(self, path):
            return [paramiko.SFTPAttributes.from_stat(one.stat(), one.name) for one in at(path).iterdir()]

        @_answered
        def stat(self, path):
            return paramiko.SFTPAttributes.from_stat(at(path).stat())

        lstat = stat

        @_answered
        def open(self, path, flags, attr):
            mode = "r+b" if flags & (os.O_WRONLY | os.O_RDWR) else "rb"
            handle = _Handle(flags)
            handle.readfile = handle.writefile = os.fdopen(os.open(at(path), flags, 0o666), mode)
            return handle

        @_answered
        def remove(self, path):
            at(path).unlink()

        @_answered
        def mkdir(self, path, attr):
            at(path).mkdir()

        @_answered
        def rename(self, old, new):
            at(old).rename(at(new))

        @_answered
        def posix_rename(self, old, new):
            at(old).replace(at(new))

    return Files


class Server:
    """A running server; `url` is the address of its folder, `passwords` are those that it was sent."""

    def __init__(self, root: Path) -> None:
        self._files = _server(root)
        self._key = paramiko.RSAKey.generate(2048)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._transports = []
        self.passwords = []
        threading.Thread(target=self._serve, daemon=True).start()
        self.place = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"sftp://{USER}:{PASSWORD}@{self.place}"

    @property
    def known_host(self) -> str:
        """The line of `known_hosts` for this server."""
        host, _, port = self.place.partition(":")
        return f"[{host}]:{port} {self._key.get_name()} {self._key.get_base64()}\n"

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(self._key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, self._files)
            # It does not wait, because a client that refuses the key may be gone before the end of the greeting.
            transport.start_server(event=threading.Event(), server=_Access(self.passwords))
            self._transports.append(transport)

    def drop_connections(self):
        """Ends all connections; the server takes new ones."""
        for transport in self._transports:
            transport.close()

    def close(self):
        self._socket.close()
        self.drop_connections()
