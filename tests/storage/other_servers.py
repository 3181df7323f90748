"""Servers of Azure Blob Storage and of Google Cloud Storage on loopback; each keeps its files in a folder.

Azurite is a program of npm (`.ci/run` installs it into `.servers`), the emulator of Google's store one of Python.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
from functools import cached_property
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from adacode_process import ROOT
from faulty_proxy import Proxy
from server_process import started

_CONTAINER = "museum"
# The name and the key that Azurite has for everybody; its documentation publishes them.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Server:
    """A running server; `address` is its container, `env` what the program needs to reach it through `proxy`."""

    scheme: str
    env: dict[str, str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()
        self.proxy = Proxy(self.port)

    @property
    def address(self) -> str:
        return f"{self.scheme}://{_CONTAINER}"

    @property
    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        self.process = started(self.command, self.port, self.folder / "log", cwd=self.folder)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.proxy.close()
        self.kill()

    def outputs(self, folder: str) -> dict[str, bytes]:
        """{place: content} of all files below a folder, without the state of runs."""
        names = (name.removeprefix(f"{folder}/") for name in self.names(f"{folder}/"))
        return {name: self.get(f"{folder}/{name}") for name in names if ".adacode" not in name}

    def names(self, prefix: str) -> list[str]:
        raise NotImplementedError

    def get(self, name: str) -> bytes:
        raise NotImplementedError


class Azure(Server):
    scheme = "az"

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("adlfs", reason="the package of the extra `azure` is absent")
        local = ROOT / ".servers" / "node_modules" / ".bin" / "azurite-blob"
        self._program = shutil.which("azurite-blob") or (str(local) if local.exists() else None)
        if self._program is None:
            pytest.skip("azurite-blob, a server for Azure from npm, is absent")
        super().__init__(folder)
        self.env = {"AZURE_STORAGE_CONNECTION_STRING": self._connection(self.proxy.url)}
        self._client.create_container()

    @staticmethod
    def _connection(url: str) -> str:
        account = f"AccountName={_ACCOUNT};AccountKey={_KEY}"
        return f"DefaultEndpointsProtocol=http;{account};BlobEndpoint={url}/{_ACCOUNT};"

    @property
    def command(self) -> list[str]:
        place = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", "data"]
        return [str(self._program), *place, "--silent", "--skipApiVersionCheck"]

    @cached_property
    def _client(self):
        from azure.storage.blob import ContainerClient

        connection = self._connection(f"http://127.0.0.1:{self.port}")
        return ContainerClient.from_connection_string(connection, _CONTAINER)

    def put(self, name: str, data: bytes) -> None:
        self._client.upload_blob(name, data)

    def get(self, name: str) -> bytes:
        return self._client.download_blob(name).readall()

    def names(self, prefix: str) -> list[str]:
        return list(self._client.list_blob_names(name_starts_with=prefix))

    def content_type(self, name: str) -> str:
        return self._client.get_blob_client(name).get_blob_properties().content_settings.content_type


class Google(Server):
    """It knows no conditions: a request that must not replace anything is recognised by what it asks for."""

    scheme = "gs"

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("gcsfs", reason="the package of the extra `gs` is absent")
        pytest.importorskip("gcp_storage_emulator", reason="the package gcp-storage-emulator is absent")
        super().__init__(folder)
        self.env = {"STORAGE_EMULATOR_HOST": self.proxy.url}

    @property
    def command(self) -> list[str]:
        program = [sys.executable, "-m", "gcp_storage_emulator", "-d", str(self.folder / "data"), "start", "-q"]
        return [*program, "--host", "127.0.0.1", "--port", str(self.port), "--default-bucket", _CONTAINER]

    def _asked(self, path: str, data: bytes | None = None) -> bytes:
        with urlopen(Request(f"http://127.0.0.1:{self.port}{path}", data)) as answer:
            return answer.read()

    def put(self, name: str, data: bytes) -> None:
        self._asked(f"/upload/storage/v1/b/{_CONTAINER}/o?uploadType=media&name={quote(name, safe='')}", data)

    def get(self, name: str) -> bytes:
        return self._asked(f"/storage/v1/b/{_CONTAINER}/o/{quote(name, safe='')}?alt=media")

    def names(self, prefix: str) -> list[str]:
        listed = json.loads(self._asked(f"/storage/v1/b/{_CONTAINER}/o?prefix={quote(prefix, safe='')}"))
        return [one["name"] for one in listed.get("items", ())]

    def content_type(self, name: str) -> str:
        return json.loads(self._asked(f"/storage/v1/b/{_CONTAINER}/o/{quote(name, safe='')}"))["contentType"]


SERVERS = {"azure": Azure, "google": Google}
