"""A whole run from a data set on the Hub, which is a server on loopback that speaks its protocol."""

from __future__ import annotations

import pytest
from hub_client import client
from hub_of_scans import DatasetHub
from test_storage_trees import NAMES, tree


@pytest.fixture
def hub():
    with DatasetHub() as server:
        yield server


def test_a_data_set_is_restored_as_a_folder_is(adacode, photo, hub, tmp_path):
    hub.add("museum/scans", {f"old/{name}": photo(f"photos/{name}").read_bytes() for name in NAMES})
    env = client(hub, tmp_path / "hub", token=None)
    assert adacode("sr", "photos", "-o", "wanted", "-q").returncode == 0
    for number in range(2):
        before = len(hub.downloads())
        result = adacode("sr", "hf://datasets/museum/scans/old", "-o", "large", "-v", **env)
        assert result.returncode == 0, result.stderr
        assert (b"4 skipped" in result.stderr) is bool(number)
        assert tree(tmp_path / "large") == tree(tmp_path / "wanted")
        assert (len(hub.downloads()) == before) is bool(number)
    one = adacode("sr", "hf://datasets/museum/scans/old/a.png", "-o", "one.png", **env)
    assert one.returncode == 0, one.stderr
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "wanted" / "a.png").read_bytes()
    missing = adacode("sr", "hf://datasets/museum/none", "-o", "other", **env)
    assert missing.returncode == 3
    assert b"there is no such repository, or it is private" in missing.stderr
    assert all("paths-info" in request for request in hub.writes())
