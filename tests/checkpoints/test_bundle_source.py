"""Bundles in folders as `WeightsSource` and `Restorer` see them: one source for all tasks of a family."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from small_checkpoints import FAMILY, same_network, tiny_network, write_parts

from adacode_cli.checkpoints import presence
from adacode_cli.checkpoints.bundles import shared_parts_missing
from adacode_cli.checkpoints.format import Provenance
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.checkpoints.priors import StoredPrior, read_prior, write_prior
from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import AdaCodeError, UsageError, WeightsError

SHARED = [f"{FAMILY}-basis.safetensors", f"{FAMILY}-fused.safetensors"]
TASKS = {"tiny-reconstruct": ("reconstruct", 1), "tiny-sr-x4": ("sr", 4), "tiny-inpaint": ("inpaint", 1)}


@pytest.fixture(scope="module")
def networks():
    first = tiny_network("reconstruct")
    return {name: tiny_network(*task, shared=first.state_dict()) for name, task in TASKS.items()}


@pytest.fixture
def folder(networks, tmp_path) -> Path:
    folder = tmp_path / "mine"
    for name, network in networks.items():
        write_parts(folder, network, name)
    files = [
        {"name": p.name, "bytes": p.stat().st_size, "sha256": hashlib.sha256(p.read_bytes()).hexdigest()}
        for p in sorted(folder.glob("*.safetensors"))
    ]
    common = {"family": FAMILY, "kind": "bundled", "licence": "MIT", "source": "tests"}
    entries = [
        {"name": name, "task": task, "scale": scale, "files": [*SHARED, f"{name}.safetensors"], **common}
        for name, (task, scale) in TASKS.items()
    ]
    catalogue = {"version": 1, "hub_repo": None, "release": None, "files": files, "entries": entries}
    (folder / "catalogue.json").write_text(json.dumps(catalogue), encoding="utf-8")
    return folder


def test_a_folder_serves_every_task_it_has(folder, networks):
    for place in (folder, str(folder), folder / FAMILY):
        source = WeightsSource(place)
        for name, (task, scale) in TASKS.items():
            assert same_network(source.network(task, scale)[0], networks[name])
            assert not source.needs_download(task, scale)
        assert (source.largest_scale("sr"), source.largest_scale("inpaint")) == (4, 1)
        assert same_network(source.own_network()[0], networks["tiny-reconstruct"])


def test_what_a_folder_has_not_is_named_with_what_it_has(folder):
    data = json.loads((folder / "catalogue.json").read_text(encoding="utf-8"))
    data["entries"] = [entry for entry in data["entries"] if entry["task"] != "inpaint"]
    data["files"] = [file for file in data["files"] if "inpaint" not in file["name"]]
    (folder / "catalogue.json").write_text(json.dumps(data), encoding="utf-8")
    source = WeightsSource(folder)
    with pytest.raises(WeightsError, match="has no weights for inpaint") as caught:
        source.network("inpaint", 1)
    assert caught.value.hint == (
        f"It has tiny-reconstruct, tiny-sr-x4; write {folder}/tiny-reconstruct or another of them."
    )
    with pytest.raises(WeightsError, match="has no weights for inpaint"):
        presence.require_present(str(folder), "inpaint")


def test_an_entry_of_a_folder_is_one_network_with_the_files_it_needs(folder, networks):
    source = WeightsSource(folder / "tiny-sr-x4")
    assert same_network(source.network("sr", 4)[0], networks["tiny-sr-x4"])
    assert source.own_file() == folder / "tiny-sr-x4.safetensors"
    assert source.shared_files() == {name: folder / name for name in SHARED}
    with pytest.raises(WeightsError, match="is for sr, not for inpaint") as caught:
        source.network("inpaint", 1)
    assert "tiny-inpaint" in caught.value.hint
    with pytest.raises(UsageError, match="has several tasks") as caught:
        WeightsSource(folder).own_file()
    assert caught.value.hint == (
        f"Name one of them, written {folder}/tiny-reconstruct: tiny-reconstruct, tiny-sr-x4, tiny-inpaint."
    )


def test_a_file_that_was_exchanged_is_refused_although_it_would_load(folder):
    """A basis of another family with the same shapes gives wrong images."""
    other = tiny_network("sr", 2)
    write_parts(folder, other, "another")
    with pytest.raises(WeightsError, match="wrong SHA-256") as caught:
        WeightsSource(folder).network("sr", 4)
    assert caught.value.path == folder / SHARED[0]
    assert "Copy the folder again" in caught.value.hint


def test_the_shared_parts_that_a_file_needs_are_known_without_loading_it(folder, tmp_path):
    alone = tmp_path / "alone" / "tiny-sr-x4.safetensors"
    alone.parent.mkdir()
    alone.write_bytes((folder / alone.name).read_bytes())
    assert shared_parts_missing(alone) == SHARED
    for name in (*SHARED, "tiny-sr-x4.safetensors"):
        assert shared_parts_missing(folder / name) == []
    for content in (b"", b"weights", b"\x0c" + b"\0" * 7 + b'{"a":[1, 2]}', (folder / SHARED[0]).read_bytes()[:90]):
        alone.write_bytes(content)
        assert shared_parts_missing(alone) == []


def test_a_missing_file_is_known_before_anything_is_loaded(folder):
    presence.require_present(str(folder), "sr", (4,))
    (folder / "tiny-sr-x4.safetensors").unlink()
    with pytest.raises(WeightsError, match="is missing"):
        presence.require_present(str(folder), "sr", (4,))
    presence.require_present(str(folder), "inpaint")


def test_the_prior_beside_the_files_is_that_of_the_family(folder):
    assert WeightsSource(folder).prior() is None
    stated = Provenance(family=FAMILY, licence="MIT")
    write_prior(folder / f"{FAMILY}-prior.safetensors", StoredPrior((0, 1), (6, 5), {}, stated))
    for place in (folder, folder / "tiny-reconstruct"):
        path, prior = WeightsSource(place).prior()
        assert (path.name, prior.provenance) == (f"{FAMILY}-prior.safetensors", stated)
    text = (
        (folder / f"{FAMILY}-prior.safetensors")
        .read_bytes()
        .replace(b'\\"licence\\": \\"MIT\\"', b'\\"licence\\": [12345]')
    )
    (folder / "bad.safetensors").write_bytes(text)
    with pytest.raises(WeightsError, match="damaged metadata"):
        read_prior(folder / "bad.safetensors")


def test_one_restorer_is_made_of_a_folder_or_a_path(folder):
    restorer = Restorer.from_pretrained(folder, device="cpu")
    assert {task: restorer.prepare(task) for task in ("sr", "inpaint")} == {
        task: Restorer.from_pretrained(str(folder / name), device="cpu").prepare(task)
        for task, name in (("sr", "tiny-sr-x4.safetensors"), ("inpaint", "tiny-inpaint"))
    }


@pytest.mark.parametrize(
    "options",
    [
        {"name": 3},
        {"name": None},
        {"name": b"compact"},
        {"name": ["compact"]},
        {"name": ""},
        {"name": "compact", "revision": "v1"},
        {"name": "owner/repo", "revision": 3},
        {"name": "owner/repo", "revision": "../x"},
        {"name": "owner/repo", "token": "a b"},
        {"name": "owner/repo", "token": 7},
        {"name": "owner/repo", "cache_dir": 7},
        {"name": "owner/repo", "local_files_only": "yes"},
    ],
    ids=str,
)
def test_what_cannot_be_is_an_error_with_a_hint(options):
    name = options.pop("name")
    with pytest.raises(AdaCodeError) as caught:
        Restorer.from_pretrained(name, device="cpu", **options)
    assert caught.value.hint
    assert "a b" not in str(caught.value), "a token is not shown"


def test_a_detector_on_the_hub_has_to_be_pulled_first():
    with pytest.raises(WeightsError, match="is on the Hub") as caught:
        presence.require_detector("hub:owner/repo/marks.safetensors")
    assert "adacode weights pull hub:owner/repo/marks.safetensors" in caught.value.hint
