"""From a catalogue entry to verified paths: bundled, cached, fetched, converted."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import HubServer
from loopback import FileServer

from adacode_cli.checkpoints import cache, store
from adacode_cli.checkpoints.catalogue import Catalogue, Entry, WeightsFile
from adacode_cli.errors import OutputError, WeightsError

SHARED, OWN = b"shared by the family", b"of one task"
PTH = b"a published checkpoint"


def described(name: str, content: bytes) -> WeightsFile:
    return WeightsFile(name, len(content), hashlib.sha256(content).hexdigest())


BUNDLED = Entry("tiny-sr-x4", "tiny", "sr", 4, ("shared.safetensors", "own.safetensors"), "CC0", "tests", "bundled")
RELEASED = Entry("old-inpaint", "old", "inpaint", 1, ("old.pth",), "theirs", "tests", "release")
FILES = (described("shared.safetensors", SHARED), described("own.safetensors", OWN), WeightsFile("old.pth", None, None))
CATALOGUE = Catalogue((BUNDLED, RELEASED), FILES, None, "https://example.org/v0")


class Converter:
    """Writes something that can be told from its input; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, source: Path, target: Path) -> None:
        assert target.suffix == ".safetensors"
        assert target.parent == source.parent
        self.calls += 1
        target.write_bytes(b"converted " + source.read_bytes())


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "shared.safetensors").write_bytes(SHARED)
    (folder / "own.safetensors").write_bytes(OWN)
    return folder


@pytest.fixture
def server(monkeypatch):
    with FileServer() as running:
        running.files["/v0/old.pth"] = PTH
        monkeypatch.setenv("ADACODE_RELEASE_BASE", f"{running.url}/v0")
        yield running


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("ADACODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ADACODE_HUB_REPO", raising=False)


def resolve(entry, convert=None, *, allow_download=False, **more):
    return store.resolve(entry, CATALOGUE, convert=convert or Converter(), allow_download=allow_download, **more)


def test_bundled_files_come_in_the_entrys_order(folder, tmp_path):
    assert resolve(BUNDLED, folder=folder) == (folder / "shared.safetensors", folder / "own.safetensors")
    assert store.state(BUNDLED, CATALOGUE, folder=folder) == "bundled"
    assert not (tmp_path / "cache").exists()


def test_a_damaged_bundled_file_is_refused(folder):
    (folder / "own.safetensors").write_bytes(OWN + b"!")
    with pytest.raises(WeightsError, match="wrong SHA-256") as caught:
        resolve(BUNDLED, folder=folder)
    assert caught.value.path == folder / "own.safetensors"
    assert "reinstall" in caught.value.hint


def test_a_bundled_file_that_is_missing_and_nowhere_else(folder):
    (folder / "own.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"own\.safetensors .*is not part of this installation"):
        resolve(BUNDLED, folder=folder, allow_download=True)
    assert store.state(BUNDLED, CATALOGUE, folder=folder) == "absent"


def test_a_release_is_fetched_converted_and_kept(server, tmp_path):
    convert = Converter()
    assert store.state(RELEASED, CATALOGUE) == "absent"
    (path,) = resolve(RELEASED, convert, allow_download=True)
    assert path == tmp_path / "cache" / "releases" / "old-inpaint.safetensors"
    assert path.read_bytes() == b"converted " + PTH
    assert store.state(RELEASED, CATALOGUE) == "cached"
    server.stop()
    assert resolve(RELEASED, convert) == (path,)
    assert convert.calls == 1
    names = {name.name for name in path.parent.iterdir() if name.suffix != ".lock"}
    assert names == {"old.pth", "old-inpaint.safetensors", "digests.json"}


def test_a_release_that_is_not_here_is_only_fetched_where_allowed(server):
    with pytest.raises(WeightsError, match="old-inpaint is not on this machine") as caught:
        resolve(RELEASED)
    assert "adacode weights pull old-inpaint" in caught.value.hint
    assert server.requests == []


def test_a_damaged_conversion_is_made_again_from_the_download(server):
    convert = Converter()
    (path,) = resolve(RELEASED, convert, allow_download=True)
    path.write_bytes(b"damaged")
    assert resolve(RELEASED, convert)[0].read_bytes() == b"converted " + PTH
    assert (convert.calls, len(server.requests)) == (2, 1)


def test_a_conversion_nobody_recorded_is_not_used(server):
    path = cache.cache_dir() / "releases" / "old-inpaint.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"slipped in")
    assert resolve(RELEASED, allow_download=True)[0].read_bytes() == b"converted " + PTH


def test_a_changed_download_is_never_converted(server):
    convert = Converter()
    (path,) = resolve(RELEASED, convert, allow_download=True)
    path.unlink()
    (path.parent / "old.pth").write_bytes(b"something else")
    with pytest.raises(WeightsError, match="wrong SHA-256"):
        resolve(RELEASED, convert, allow_download=True)
    assert convert.calls == 1


def test_a_conversion_that_fails_leaves_nothing_half(server):
    def convert(_source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise WeightsError("the layout is unknown")

    with pytest.raises(WeightsError, match="layout is unknown"):
        resolve(RELEASED, convert, allow_download=True)
    folder = cache.cache_dir() / "releases"
    assert {path.name for path in folder.iterdir() if path.suffix != ".lock"} == set()
    assert resolve(RELEASED, allow_download=True)[0].read_bytes() == b"converted " + PTH
    assert len(server.requests) == 2


def test_a_cache_that_is_a_file(server, tmp_path):
    (tmp_path / "cache").write_bytes(b"in the way")
    with pytest.raises(OutputError, match="cannot be stored") as caught:
        resolve(RELEASED, allow_download=True)
    assert "ADACODE_CACHE" in caught.value.hint


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert cache.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("ADACODE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir() == tmp_path / "xdg" / "adacode"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_dir() == tmp_path / ".cache" / "adacode"
    assert not (tmp_path / ".cache").exists()


FROM_HUB = """
import hashlib, json, sys
from pathlib import Path
from adacode_cli.checkpoints import store
from adacode_cli.checkpoints.catalogue import Catalogue, Entry, WeightsFile
from adacode_cli.errors import AdaCodeError
digests, folder, allow = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "yes"
files = tuple(WeightsFile(name, None, digest) for name, digest in digests.items())
entry = Entry("far-sr-x2", "far", "sr", 2, tuple(digests), "CC0", "tests", "hub")
catalogue = Catalogue((entry,), files, "in-the/catalogue", None)
answer = {"before": store.state(entry, catalogue, folder=folder)}
code = 0
try:
    paths = store.resolve(entry, catalogue, convert=None, allow_download=allow, folder=folder)
    answer["contents"] = [path.read_text() for path in paths]
    answer["after"] = store.state(entry, catalogue, folder=folder)
except AdaCodeError as error:
    answer |= {"error": str(error), "hint": error.hint}
    code = error.exit_code
print(json.dumps(answer))
sys.exit(code)
"""


def test_an_entry_on_the_hub_is_fetched_once_and_mixed_with_what_is_bundled(tmp_path, folder):
    digests = {file.name: file.sha256 for file in FILES[:2]}
    (folder / "own.safetensors").unlink()

    def run(endpoint: str, allow: str) -> tuple[int, dict]:
        settings = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"}
        sources = Path(store.__file__).resolve().parents[2]
        environment = {**os.environ, **settings, "ADACODE_HUB_REPO": "chosen/here", "PYTHONPATH": str(sources)}
        command = [sys.executable, "-c", FROM_HUB, json.dumps(digests), str(folder), allow]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    with HubServer("chosen/here", {"own.safetensors": OWN}) as server:
        code, refused = run(server.url, "no")
        assert code == 4
        assert "adacode weights pull far-sr-x2" in refused["hint"]
        assert server.requests == []
        contents = [SHARED.decode(), OWN.decode()]
        assert run(server.url, "yes") == (0, {"before": "absent", "contents": contents, "after": "cached"})
        assert [request.path for request in server.downloads()] == ["/chosen/here/resolve/main/own.safetensors"]
        asked = len(server.requests)
        assert run(server.url, "no") == (0, {"before": "cached", "contents": contents, "after": "cached"})
        assert len(server.requests) == asked, "what is cached is used without asking the network"
