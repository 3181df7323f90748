"""The catalogue beside bundled weights: it serves them, keeps other families, and is never half right."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from finished_run import PROVENANCE, content, save_run

from adacode_cli.checkpoints import catalogue_file
from adacode_cli.checkpoints.average import pair
from adacode_cli.checkpoints.format import read_weights, write_weights
from adacode_cli.checkpoints.load import WeightsSource
from adacode_cli.errors import UsageError, WeightsError
from adacode_cli.training.bundle import bundle

TASKS = ("reconstruct", "sr-x2", "sr-x4", "inpaint")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run folder with all tasks. Not to be changed."""
    return save_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_the_folder_is_a_catalogue(finished, tmp_path):
    paths = bundle(finished, "mine", tmp_path)
    catalogue = catalogue_file.load(tmp_path)
    assert [entry.name for entry in catalogue.entries] == [f"mine-{task}" for task in TASKS]
    for path, file in zip(paths[:6], catalogue.files, strict=True):
        assert (file.name, file.bytes) == (path.name, path.stat().st_size)
        assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for entry in catalogue.entries:
        assert (entry.licence, entry.kind, entry.base_model) == (PROVENANCE.licence, "bundled", "")
        network, _ = WeightsSource("mine", folder=tmp_path).network(entry.task, entry.scale)
        assert (network.config.task, network.config.scale) == (entry.task, entry.scale)
    assert catalogue_file.to_bytes(catalogue) == (tmp_path / "catalogue.json").read_bytes()


def test_a_catalogue_keeps_other_families_and_the_places_of_all(finished, copied, tmp_path):
    folder = tmp_path / "out"
    for family in ("one", "two", "three"):
        bundle(finished, family, folder)
    data = json.loads((folder / "catalogue.json").read_text())
    data["hub_repo"] = "someone/weights"
    (folder / "catalogue.json").write_text(json.dumps(data))
    before = catalogue_file.load(folder)
    weights = read_weights(copied / "inpaint.safetensors")
    weights.tensors["encoder.stem.conv.bias"] += 1
    write_weights(copied / "inpaint.safetensors", weights)
    bundle(copied, "two", folder, licence="mine alone")
    after = catalogue_file.load(folder)
    assert (after.families(), after.hub_repo) == (("one", "two", "three"), "someone/weights")
    assert [entry.name for entry in after.entries] == [entry.name for entry in before.entries]
    changed = {file.name for file in after.files} - {f.name for f in after.files if f in before.files}
    assert changed == {path.name for path in folder.glob("two-*")}  # the licence is in all of them
    assert [file.name for file in after.files] == [file.name for file in before.files]
    assert {entry.licence for entry in after.entries if entry.family == "two"} == {"mine alone"}
    for family in after.families():
        WeightsSource(family, folder=folder).network("inpaint", 1)


def test_a_file_with_strengths_keeps_them_and_card_and_catalogue_say_so(finished, copied, tmp_path):
    weights = read_weights(finished / "sr-x4.safetensors")
    weights.tensors["encoder.stem.conv.bias"] += 1
    write_weights(tmp_path / "other.safetensors", weights)
    (copied / "sr-x4.safetensors").unlink()
    pair(finished / "sr-x4.safetensors", tmp_path / "other.safetensors", copied / "sr-x4.safetensors")
    out = tmp_path / "out"
    bundle(copied, "mine", out, torch.float32)
    assert {entry.name for entry in catalogue_file.load(out).entries if entry.denoise} == {"mine-sr-x4"}
    source = WeightsSource("mine", folder=out)
    clean, faithful = (source.network("sr", 4, strength)[0].state_dict() for strength in (1, 0))
    differing = [key for key, tensor in clean.items() if not torch.equal(tensor, faithful[key])]
    assert differing == ["encoder.stem.conv.bias"]
    rows = {line.split(" | ")[0].lstrip("| "): line for line in (out / "mine.md").read_text("utf-8").splitlines()}
    twice = clean["encoder.stem.conv.bias"].numel()
    assert f" and {twice} for --denoise |" in rows["mine-sr-x4.safetensors"]
    assert "values that keep noise" in rows["mine-sr-x4.safetensors"]
    assert "denoise" not in rows["mine-sr-x2.safetensors"]


def published(data: dict) -> None:
    files = data["entries"][0]["files"][:1]
    more = {"name": "a", "family": "mine", "kind": "release", "files": files}
    data["entries"].append(data["entries"][0] | more)
    data["release"] = "https://example.invalid"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda data: data["entries"][0].update(name="mine-sr-x4"), WeightsError, "named twice: mine-sr-x4"),
        (lambda data: data["entries"][0].update(name="mine"), WeightsError, "both an entry and a family"),
        (lambda data: data.update(version=9), WeightsError, "version 9"),
        (published, UsageError, "published family"),
    ],
)
def test_a_catalogue_that_does_not_fit_is_reported_and_nothing_is_written(finished, tmp_path, change, error, words):
    bundle(finished, "other", tmp_path)
    data = json.loads((tmp_path / "catalogue.json").read_text())
    change(data)
    (tmp_path / "catalogue.json").write_text(json.dumps(data))
    before = content(tmp_path)
    with pytest.raises(error, match=words) as caught:
        bundle(finished, "mine", tmp_path)
    assert caught.value.hint
    assert content(tmp_path) == before
