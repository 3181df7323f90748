"""Whole runs from and to a real SFTP server, which shows files while they are written and creates nothing once only."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_storage_trees import NAMES, tree

from adacode_cli.errors import OutputError
from adacode_cli.storage import objects
from adacode_cli.storage.path import path_of

pytest.importorskip("paramiko", reason="the package of the extra `sftp` is absent")


@pytest.fixture
def server(tmp_path):
    from sftp_server import Server

    (tmp_path / "remote").mkdir()
    one = Server(tmp_path / "remote")
    yield one
    one.close()


def test_a_tree_is_the_same_as_on_a_disk(adacode, photo, server, tmp_path):
    for name in NAMES:
        photo(f"photos/{name}")
        photo(f"remote/scans/{name}").write_bytes((tmp_path / "photos" / name).read_bytes())
    assert adacode("sr", "photos", "-o", "wanted", "-q", "--save-weights-map", "maps").returncode == 0
    more = ("--save-weights-map", f"{server.url}/maps", "--report", "-v")
    for number in range(2):
        result = adacode("sr", f"{server.url}/scans", "-o", f"{server.url}/large", *more)
        assert result.returncode == 0, result.stderr
        assert (b"4 skipped" in result.stdout + result.stderr) is bool(number)
        for name, wanted in (("large", "wanted"), ("maps", "maps")):
            assert tree(tmp_path / "remote" / name) == tree(tmp_path / wanted)
    files = [path for path in (tmp_path / "remote" / "large" / ".adacode").rglob("*") if path.is_file()]
    assert (
        sum(path.match("report/pictures/*/*.webp") for path in files) == len(NAMES) + 2
    )  # Browsers need previews of the TIFF.
    state = {path.name for path in files if "report" not in path.parts}
    assert not [name for name in state if name.endswith((".json", ".adacode-part")) and name != "report.json"]
    said = result.stdout + result.stderr + b"".join(p.read_bytes() for p in tmp_path.rglob(".adacode/*/*.jsonl"))
    assert b"lovelace" not in said
    assert b"sftp://127.0.0.1" in said


def test_nothing_is_replaced_and_nothing_is_half(server, tmp_path):
    path = path_of(f"{server.url}/deep/folder/a.png")
    objects.write(path, b"one", replaces=objects.Replaces.NOTHING)
    with pytest.raises(OutputError, match="exists already"):
        objects.write(path, b"two", replaces=objects.Replaces.NOTHING)
    objects.write(path, b"three")
    written = {one.name: one.read_bytes() for one in (tmp_path / "remote" / "deep" / "folder").iterdir()}
    assert written == {"a.png": b"three"}
    assert objects.read(path, 1, 3) == b"hr"


@pytest.mark.parametrize("folder", ["one", "two/deep", "three/deeper/still"])
def test_writers_make_the_same_folders_at_the_same_moment(server, tmp_path, folder):
    writers = 6
    together = threading.Barrier(writers)

    def write(number):
        objects.is_folder(path_of(f"{server.url}/"))  # Each thread has a connection of its own; now it is open.
        together.wait()
        objects.write(path_of(f"{server.url}/{folder}/{number}.png"), b"content")

    with ThreadPoolExecutor(writers) as threads:
        list(threads.map(write, range(writers)))
    assert len(list((tmp_path / "remote" / folder).iterdir())) == writers
