"""A real S3 server on loopback, in a process of its own, behind a proxy that can fail; the program and images."""

from __future__ import annotations

import os
import socket
import sys
from functools import cached_property, partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from adacode_process import Program, write_noise
from faulty_proxy import Proxy
from server_process import started

REASON = "the packages of the extra `s3` or moto's server are absent"
BUCKET = "museum"


class Store:
    """moto's server behind a proxy, with one bucket; `env` is what the program needs to reach it."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "moto.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()
        self.proxy = Proxy(self.port)
        self.env = {
            "AWS_ENDPOINT_URL": self.proxy.url,
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
            "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-prints",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = started(command, self.port, self._log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @cached_property
    def client(self):
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id="x",
            aws_secret_access_key="y",
            region_name="us-east-1",
        )

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def outputs(self, prefix: str) -> dict[str, bytes]:
        """{place: content} of all files below `prefix`, without the state of runs."""
        names = (key.removeprefix(f"{prefix}/") for key in self.keys(f"{prefix}/"))
        return {name: self.get(f"{prefix}/{name}") for name in names if ".adacode" not in name}


@pytest.fixture(scope="session")
def _server(tmp_path_factory):
    for name in ("s3fs", "boto3", "moto.server"):
        pytest.importorskip(name, reason=REASON)
    store = Store(tmp_path_factory.mktemp("moto"))
    yield store
    store.proxy.close()
    store.kill()


@pytest.fixture
def store(_server):
    """An empty bucket; no fault is waiting."""
    if _server.process.poll() is not None:
        _server.start()
    _server.proxy.faults.clear()
    _server.proxy.seen.clear()
    client = _server.client
    for bucket in client.list_buckets()["Buckets"]:
        if keys := [{"Key": key} for key in _server.keys("")]:
            client.delete_objects(Bucket=bucket["Name"], Delete={"Objects": keys})
    client.create_bucket(Bucket=BUCKET)
    return _server


@pytest.fixture
def in_process(store, monkeypatch):
    """The store, for calls in the process of the test."""
    from adacode_cli.storage import opening, patience

    for name, value in store.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(opening, "_opened", {})
    return store


@pytest.fixture(autouse=True)
def _no_address_is_known(monkeypatch):
    from adacode_cli.storage import path

    monkeypatch.setattr(path, "_USERS", {})
    monkeypatch.setattr(path, "_QUERIES", {})


@pytest.fixture
def adacode(tmp_path) -> Program:
    """The program with the nearest-neighbour restorer, started in `tmp_path`."""
    return Program(tmp_path, network=False)


@pytest.fixture
def photo(tmp_path):
    """Writes a noisy image below `tmp_path`: photo("a/b.jpg", (width, height))."""
    return partial(write_noise, tmp_path)


@pytest.fixture
def scans(store, photo):
    """Makes images below `photos/` and the same in the bucket below `scans/`: scans(names)."""

    def make(*names: str, size: tuple[int, int] = (24, 16)) -> None:
        for name in names:
            store.put(f"scans/{name}", photo(f"photos/{name}", size).read_bytes())

    return make
