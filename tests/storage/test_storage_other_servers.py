"""Whole runs from and to real servers of Azure and Google on loopback, one of which is killed and comes back."""

from __future__ import annotations

import time

import pytest
from faulty_proxy import Fault
from other_servers import SERVERS
from test_storage_trees import NAMES, tree

from adacode_cli.errors import InputError
from adacode_cli.storage import objects, opening, patience
from adacode_cli.storage.path import path_of

WAITS_AT = 4


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    one = SERVERS[request.param](tmp_path_factory.mktemp(request.param))
    yield one
    one.close()


@pytest.fixture
def scans(server, photo):
    """Makes images below `photos/` and the same in a folder of the server: scans(folder, names)."""

    def make(folder: str, *names: str, size: tuple[int, int] = (24, 16)) -> None:
        for name in names:
            server.put(f"{folder}/{name}", photo(f"photos/{name}", size).read_bytes())

    return make


def test_a_tree_is_the_same_as_on_a_disk(adacode, server, scans, tmp_path):
    scans("scans", *NAMES)
    assert adacode("sr", "photos", "-o", "wanted", "-q").returncode == 0
    wanted = tree(tmp_path / "wanted")
    for number in range(2):
        server.proxy.seen.clear()
        result = adacode("sr", f"{server.address}/scans", "-o", f"{server.address}/large", "-v", **server.env)
        assert result.returncode == 0, result.stderr
        assert (b"4 skipped" in result.stderr) is bool(number)
        assert server.outputs("large") == wanted
        read = [path for method, path in server.proxy.seen if method == "GET" and "scans" in path and ".png" in path]
        assert bool(read) is not bool(number)
    assert server.content_type("large/1931/b.jpg") == "image/jpeg"
    state = server.names("large/.adacode/")
    assert [name.split("/")[2] for name in state] == ["journal", "report.json"]
    server.put("other/a.png", b"mine")
    refused = adacode("sr", f"{server.address}/scans", "-o", f"{server.address}/other", **server.env)
    assert refused.returncode == 6
    assert server.outputs("other") == {"a.png": b"mine"}
    missing = adacode("sr", f"{server.scheme}://nowhere/scans", "-o", "out", **server.env)
    assert missing.returncode == 3
    assert b"there is no bucket nowhere" in missing.stderr


def test_a_server_that_is_killed_and_comes_back_with_its_files(adacode, server, scans, tmp_path):
    """It is killed while a run waits, and away for some seconds, in which the run goes on."""
    if server.scheme == "az":
        pytest.skip("Azurite writes what it knows of its files every five seconds, so a killed one forgets some")
    scans("many", *(f"{number:02}.png" for number in range(8) if number != WAITS_AT))
    scans("many", f"{WAITS_AT:02}.png", size=(33, 16))
    go = tmp_path / "go"
    command = ("sr", f"{server.address}/many", "-o", f"{server.address}/made", "-w", "pause")
    run = adacode.start(*command, env=server.env | {"PAUSE": str(go)})
    while len(server.outputs("made")) < WAITS_AT:
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    server.kill()
    go.touch()
    time.sleep(1)
    server.start()
    _, errors = run.communicate(timeout=100)
    assert run.returncode == 0, errors
    assert adacode("sr", "photos", "-o", "wanted", "-q", "-w", "pause", PAUSE=str(go)).returncode == 0
    assert server.outputs("made") == tree(tmp_path / "wanted")
    again = adacode(*command, "-v", **server.env, PAUSE=str(go))
    assert again.returncode == 0, again.stderr
    assert b"8 skipped" in again.stderr


def test_what_is_denied_is_said_at_once_and_what_may_pass_is_tried_again(server, monkeypatch):
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(opening, "_opened", {})
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.01)
    path = path_of(f"{server.address}/faults/a.png")
    objects.write(path, b"content")
    server.proxy.faults[:] = [Fault("denied", "GET", "faults", 99)]
    with pytest.raises(InputError, match="denies permission"):
        objects.read(path)
    assert server.proxy.faults[0].times == 98
    server.proxy.faults[:] = [Fault("busy", "GET", "faults", 2)] if server.scheme == "gs" else []
    assert objects.read(path) == b"content"
    server.proxy.faults.clear()
