"""A real Ray cluster of two machines, both of them this one, and the program that uses it."""

from __future__ import annotations

import importlib.util
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


@pytest.fixture(scope="module")
def cluster():
    """Two machines with two CPUs each, with the real network."""
    running = Cluster()
    yield running
    running.close()


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
