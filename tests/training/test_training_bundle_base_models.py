"""A bundle of files that start from weights of others: licences, notice, card and catalogue say so, and stay true."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from finished_run import PROVENANCE, content, save_network, save_run

from adacode_cli.checkpoints import catalogue_file
from adacode_cli.checkpoints.format import read_weights, write_weights
from adacode_cli.checkpoints.load import load_network
from adacode_cli.errors import OutputError, WeightsError
from adacode_cli.training.bundle import bundle

BASE = "realesr-general-x4v3 (BSD-3-Clause, xinntao/Real-ESRGAN)"
NOTICE = "LICENSE.Real-ESRGAN"
STARTED = replace(PROVENANCE, base_model=BASE, base_licence="BSD-3-Clause", trained_on="9 others")


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder whose super-resolution starts from Real-ESRGAN's network, and learnt from other photographs."""
    folder = save_run(tmp_path / "run")
    for name in ("sr-x2", "sr-x4"):
        save_network(folder, name, STARTED)
    return folder


def test_each_file_keeps_its_statement_and_entries_hold_for_both(run, tmp_path):
    bundle(run, "mine", tmp_path / "out", licence="MIT")
    entries = {entry.name: (entry.licence, entry.base_model) for entry in catalogue_file.load(tmp_path / "out").entries}
    assert entries == {
        "mine-reconstruct": ("MIT", ""),
        "mine-sr-x2": ("MIT AND BSD-3-Clause", BASE),
        "mine-sr-x4": ("MIT AND BSD-3-Clause", BASE),
        "mine-inpaint": ("MIT", ""),
    }
    for name in ("basis", "fused", "reconstruct", "sr-x2", "sr-x4", "inpaint"):
        own = replace(STARTED if name.startswith("sr") else PROVENANCE, family="mine", licence="MIT")
        # A task is used with the shared parts, so it also states what these were trained on.
        own = replace(own, trained_on="9 others; 4 images") if name.startswith("sr") else own
        assert read_weights(tmp_path / "out" / f"mine-{name}.safetensors").provenance == own
    card = (tmp_path / "out" / "mine.md").read_text(encoding="utf-8")
    assert "## Base models" in card
    written = json.loads((tmp_path / "out" / "catalogue.json").read_text())["entries"]
    assert [entry.get("base_model") for entry in written] == [None, BASE, BASE, None]


def test_the_notice_of_the_authors_lies_beside(run, tmp_path):
    paths = bundle(run, "mine", tmp_path / "out")
    (notice,) = [path for path in paths if path.name == NOTICE]
    text = notice.read_text(encoding="utf-8")
    assert "Copyright (c) 2021, Xintao Wang" in text
    assert "Redistributions in binary form must reproduce the above copyright notice" in text
    assert notice.read_bytes() == (catalogue_file.weights_folder() / NOTICE).read_bytes()
    # An older bundle's notice is the same text, and no reason to refuse.
    for path in (tmp_path / "out").glob("*.safetensors"):
        path.unlink()
    assert notice in bundle(run, "mine", tmp_path / "out", overwrite=False)


def test_nobody_elses_notice_is_written_where_nothing_is_theirs(tmp_path):
    assert not [path for path in bundle(save_run(tmp_path / "run"), "mine", tmp_path / "out") if path.name == NOTICE]
    for name in ("sr-x2", "sr-x4"):
        save_network(tmp_path / "run", name, replace(PROVENANCE, base_model="some other network"))
    assert not [path for path in bundle(tmp_path / "run", "mine", tmp_path / "out") if path.name == NOTICE]
    entry = catalogue_file.load(tmp_path / "out").entry("mine-sr-x4")
    assert (entry.licence, entry.base_model) == ("Apache-2.0 AND LicenseRef-not-stated", "some other network")


def test_another_text_under_the_name_of_the_notice_stays_unless_overwrite_is_set(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NOTICE).write_text("mine")
    with pytest.raises(OutputError, match="another text") as caught:
        bundle(run, "mine", tmp_path / "out", overwrite=False)
    assert caught.value.path == tmp_path / "out" / NOTICE
    assert content(tmp_path / "out") == {NOTICE: b"mine"}
    bundle(run, "mine", tmp_path / "out")
    assert b"Xintao Wang" in (tmp_path / "out" / NOTICE).read_bytes()


def test_an_installation_without_the_notice_is_reported_and_nothing_is_written(run, tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    monkeypatch.setattr(catalogue_file, "weights_folder", lambda: tmp_path / "weights")
    with pytest.raises(WeightsError, match="has to be distributed with these weights") as caught:
        bundle(run, "mine", tmp_path / "out")
    assert caught.value.path == tmp_path / "weights" / NOTICE
    assert not (tmp_path / "out").exists()


def test_both_values_of_a_pair_are_bundled(run, tmp_path):
    whole = read_weights(run / "sr-x4.safetensors")
    key = next(key for key in whole.tensors if key.startswith("encoder."))
    write_weights(run / "sr-x4.safetensors", replace(whole, faithful={key: whole.tensors[key] + 1}))
    bundle(run, "mine", tmp_path / "out", torch.float32)
    made = read_weights(tmp_path / "out" / "mine-sr-x4.safetensors")
    assert torch.equal(made.faithful[key], whole.tensors[key] + 1)
    low, _ = load_network((tmp_path / "out" / "mine-sr-x4.safetensors",), 0.0)
    assert torch.equal(low.state_dict()[key], whole.tensors[key] + 1)
