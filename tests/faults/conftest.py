"""The program in a directory of its own, images for it, and the table of faults that the tests write and compare."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from adacode_process import Program, write_noise
from fault_table import PAGE, Table


@pytest.fixture
def adacode(tmp_path) -> Program:
    """The program with the nearest-neighbour restorer, started in `tmp_path`."""
    return Program(tmp_path, network=False)


@pytest.fixture
def photo(tmp_path):
    """Writes a noisy image below `tmp_path`: photo("a/b.jpg", (width, height))."""
    return partial(write_noise, tmp_path)


@pytest.fixture
def table(pytestconfig) -> Table:
    """Compares a row with docs/reliability.md; with ADACODE_WRITE_RELIABILITY=1 the page is written anew instead."""
    found = pytestconfig.stash.get(_TABLE, None)
    if found is None:
        found = pytestconfig.stash[_TABLE] = Table(PAGE, rewrite=os.environ.get("ADACODE_WRITE_RELIABILITY") == "1")
    return found


_TABLE = pytest.StashKey[Table]()


def pytest_sessionfinish(session):
    """The whole table is known only now."""
    table = session.config.stash.get(_TABLE, None)
    if table is not None:
        table.save()
