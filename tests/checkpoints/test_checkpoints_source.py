"""What a person names becomes the network of the task: a family, an entry, a file."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from loopback import FileServer
from small_checkpoints import (
    FAMILY,
    same_network,
    save_pth,
    small_published,
    tiny_network,
    trunk_network,
    write_parts,
    write_whole,
)

from adacode_cli.checkpoints import catalogue_file, store
from adacode_cli.checkpoints.load import WeightsSource, convert_published, load_network
from adacode_cli.errors import WeightsError
from adacode_cli.model.rescaling import halved

SHARED = [f"{FAMILY}-basis.safetensors", f"{FAMILY}-fused.safetensors"]
TASKS = {"tiny-sr-x2": ("sr", 2), "tiny-sr-x4": ("sr", 4), "tiny-inpaint": ("inpaint", 1)}
ABOUT = {"licence": "CC0", "source": "tests"}


def describe(folder):
    """Writes sizes and digests of the bundled files into the catalogue of a folder."""
    path = folder / "catalogue.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    for file in data["files"]:
        if (stored := folder / file["name"]).exists():
            content = stored.read_bytes()
            file |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(data), encoding="utf-8")


@pytest.fixture
def networks():
    first = tiny_network("sr", 2)
    return {name: tiny_network(*task, shared=first.state_dict()) for name, task in TASKS.items()}


@pytest.fixture
def folder(networks, tmp_path, monkeypatch):
    """A `weights` folder as it is installed, with a bundled family of three tasks and one published release."""
    monkeypatch.setenv("ADACODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("ADACODE_HUB_REPO", raising=False)
    folder = tmp_path / "weights"
    entries = [
        {"name": n, "family": FAMILY, "task": t, "scale": s, "kind": "bundled", "files": [*SHARED, f"{n}.safetensors"]}
        for n, (t, s) in TASKS.items()
    ]
    entries += [{"name": "old-sr-x2", "family": "old", "task": "sr", "scale": 2, "kind": "release", "files": ["o.pth"]}]
    names = dict.fromkeys(name for entry in entries for name in entry["files"])
    for name, network in networks.items():
        write_parts(folder, network, name)
    catalogue = {
        "version": 1,
        "hub_repo": None,
        "release": "https://example.invalid/v0",
        "files": [{"name": name, "bytes": None, "sha256": None} for name in names],
        "entries": [{**entry, **ABOUT} for entry in entries],
    }
    (folder / "catalogue.json").write_text(json.dumps(catalogue), encoding="utf-8")
    describe(folder)
    return folder


def refused(source, task, scale=1):
    with pytest.raises(WeightsError) as caught:
        source.network(task, scale)
    assert caught.value.hint
    return caught.value


def test_a_family_serves_every_task_it_has(folder, networks):
    source = WeightsSource(FAMILY, folder=folder)
    for name, (task, scale) in TASKS.items():
        network, provenance = source.network(task, scale)
        assert same_network(network, networks[name])
        assert provenance.family == FAMILY
    error = refused(source, "reconstruct")
    assert "no weights for reconstruct" in error.message
    assert "tiny-inpaint" in error.message


def test_an_entry_is_one_network(folder, networks):
    network, _ = WeightsSource("tiny-sr-x4", folder=folder).network("sr", 4)
    assert same_network(network, networks["tiny-sr-x4"])
    # A larger factor than asked for will do: the result is made smaller afterwards.
    assert WeightsSource("tiny-sr-x4", folder=folder).network("sr", 2)[0].config.scale == 4


def test_without_a_network_of_two_that_of_four_serves(folder, tmp_path):
    """Halved where it has a trunk, else as it is: the result is made smaller afterwards."""
    catalogue = json.loads((folder / "catalogue.json").read_text(encoding="utf-8"))
    catalogue["entries"] = [e for e in catalogue["entries"] if e["name"] != "tiny-sr-x2"]
    catalogue["files"] = [f for f in catalogue["files"] if f["name"] != "tiny-sr-x2.safetensors"]
    (folder / "catalogue.json").write_text(json.dumps(catalogue), encoding="utf-8")
    assert WeightsSource(FAMILY, folder=folder).network("sr", 2)[0].config.scale == 4
    shared = WeightsSource(FAMILY, folder=folder).network("sr", 4)[0].state_dict()
    network = trunk_network(4, shared, 3)
    write_parts(folder, network, "tiny-sr-x4")
    describe(folder)
    whole = write_whole(tmp_path / "mine.safetensors", network)
    for name in (FAMILY, "tiny-sr-x4", str(whole)):
        source = WeightsSource(name, folder=folder)
        assert same_network(source.network("sr", 2)[0], halved(network))
        assert same_network(source.network("sr", 4)[0], network)


def test_a_file_is_one_network(folder, networks, tmp_path):
    path = write_whole(tmp_path / "mine.safetensors", networks["tiny-inpaint"])
    assert same_network(WeightsSource(str(path), folder=folder).network("inpaint", 1)[0], networks["tiny-inpaint"])
    part = folder / "tiny-sr-x2.safetensors"
    assert same_network(WeightsSource(str(part), folder=folder).network("sr", 2)[0], networks["tiny-sr-x2"])
    published = save_pth(tmp_path / "theirs.pth", small_published("sr_x2"))
    network, provenance = WeightsSource(str(published), folder=folder).network("sr", 2)
    assert (network.config.scale, provenance.source) == (2, "theirs.pth")


def test_the_wrong_task_is_refused(folder, tmp_path, networks):
    path = write_whole(tmp_path / "mine.safetensors", networks["tiny-sr-x4"])
    for name in ("tiny-sr-x4", str(path)):
        assert refused(WeightsSource(name, folder=folder), "inpaint").message == f"{name} is for sr, not for inpaint"
    assert refused(WeightsSource("tiny-inpaint", folder=folder), "sr", 4).message.endswith("is for inpaint, not for sr")


def test_too_small_a_scale_is_refused(folder, tmp_path, networks):
    path = write_whole(tmp_path / "mine.safetensors", networks["tiny-sr-x2"])
    for name in ("tiny-sr-x2", str(path)):
        error = refused(WeightsSource(name, folder=folder), "sr", 4)
        assert error.message == f"{name} enlarges ×2 at most"
        assert "--scale 2" in error.hint


def test_the_largest_scale_of_a_name(folder, tmp_path, networks):
    path = write_whole(tmp_path / "mine.safetensors", networks["tiny-sr-x2"])
    published = save_pth(tmp_path / "theirs.pth", small_published("sr_x4"))
    names = {FAMILY: 4, "tiny-sr-x2": 2, "tiny-sr-x4": 4, str(path): 2, str(published): 4, "tiny-inpaint": 1}
    assert {name: WeightsSource(name, folder=folder).largest_scale("sr") for name in names} == names
    assert WeightsSource(FAMILY, folder=folder).largest_scale("inpaint") == 1


def test_what_cannot_exist_is_refused_at_once(folder):
    for name in ("tiny-sr-x3", "absent.safetensors", "hub:nobody"):
        with pytest.raises(WeightsError):
            WeightsSource(name, folder=folder)
    with pytest.raises(WeightsError, match=r"catalogue\.json"):
        WeightsSource(FAMILY, folder=folder / "nowhere")


def test_a_bundled_file_that_changed_is_refused(folder):
    path = folder / "tiny-inpaint.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert refused(WeightsSource(FAMILY, folder=folder), "inpaint").path == path


def test_a_release_is_used_once_it_has_been_pulled(folder, tmp_path, monkeypatch):
    source = WeightsSource("old", folder=folder)
    error = refused(source, "sr", 2)
    assert error.message == "old-sr-x2 is not on this machine"
    assert "weights pull old-sr-x2" in error.hint
    published = save_pth(tmp_path / "o.pth", small_published("sr_x2"))
    with FileServer() as server:
        server.files["/v0/o.pth"] = published.read_bytes()
        monkeypatch.setenv("ADACODE_RELEASE_BASE", f"{server.url}/v0")
        entry = source.catalogue.entry("old-sr-x2")
        store.resolve(entry, source.catalogue, convert=convert_published, allow_download=True, folder=folder)
    assert same_network(source.network("sr", 2)[0], load_network((published,))[0])


def test_the_bundled_super_resolution_has_every_strength_at_both_factors():
    for scale in (2, 4):
        low, middle, high = (WeightsSource("compact").network("sr", scale, s)[0].state_dict() for s in (0.0, 0.5, 1.0))
        key = "trunk.body.2.weight"
        assert not torch.equal(low[key], high[key])
        assert torch.allclose(middle[key], (low[key] + high[key]) / 2, atol=1e-6)


INSTALLED = catalogue_file.weights_folder()
BUNDLED = [entry for entry in catalogue_file.load().entries if entry.kind == "bundled"]


@pytest.mark.parametrize("entry", BUNDLED, ids=lambda entry: entry.name)
def test_the_bundled_weights_are_what_the_catalogue_says(entry):
    if not all((INSTALLED / name).is_file() for name in entry.files):
        pytest.skip("not trained yet")
    network, provenance = WeightsSource(entry.name).network(entry.task, entry.scale)
    assert (network.config.task, network.config.scale) == (entry.task, entry.scale)
    assert (provenance.family, provenance.whole_licence) == (entry.family, entry.licence)
    assert provenance.base_model == entry.base_model
