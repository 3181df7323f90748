"""A real Ray cluster of two machines, both of them this one, and the program that uses it."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys

import pytest
from ray_cluster import HERE, ROOT, Cluster, write_photos

sys.path.append(str(ROOT / "tests" / "cli"))

from adacode_process import Program

collect_ignore = ["faulty"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without ray, there is nothing to test here, except what the program says then."""
    if importlib.util.find_spec("ray") is not None:
        return
    for item in items:
        if HERE in item.path.parents and "without_ray" not in item.keywords:
            item.add_marker(pytest.mark.skip(reason="the package ray is not installed (adacode-cli[ray])"))


@pytest.fixture(scope="session")
def store_env():
    """With which a program reaches the store of `test_cluster_store.py`, whether it runs or not."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-prints",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@pytest.fixture(scope="session")
def _cluster(store_env):
    running = Cluster(**store_env)
    yield running
    running.close()


@pytest.fixture
def cluster(_cluster):
    """Two machines with two CPUs each. All tests use the same ones."""
    yield _cluster
    _cluster.have(2)


@pytest.fixture
def real_adacode(tmp_path) -> Program:
    """The program, started in `tmp_path`."""
    return Program(tmp_path, network=True)


@pytest.fixture
def adacode(tmp_path) -> Program:
    """The program with the nearest-neighbour restorer."""
    return Program(tmp_path, network=False)


@pytest.fixture
def photos(tmp_path):
    """Writes images of the given widths into `p`."""
    return lambda *widths: write_photos(tmp_path / "p", widths)
