"""What files of weights state of everything that they were made from: photographs, licences, weights of other runs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_sessions import TINY, tiny_session, with_steps
from tiny_shards import save_shards
from training_commands import QUICK, adacode, ended, started

from adacode_cli.checkpoints import catalogue_file
from adacode_cli.checkpoints.format import Provenance, read_weights, write_weights
from adacode_cli.errors import UsageError
from adacode_cli.training.bundle import bundle
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.runs import run_joint, run_restore
from adacode_cli.training.session import Listeners

RESERVED = "All rights reserved"


def licensed(folder: Path, licence: str) -> Path:
    """Shards of the same crops under another licence."""
    shards = save_shards(folder)
    manifest = json.loads((shards / "manifest.json").read_text())
    (shards / "manifest.json").write_text(json.dumps(manifest | {"licence": licence, "source": folder.name}))
    return shards


@pytest.fixture(scope="module")
def reserved(tmp_path_factory) -> Path:
    return licensed(tmp_path_factory.mktemp("a") / "reserved", RESERVED)


@pytest.fixture(scope="module")
def free(tmp_path_factory) -> Path:
    return licensed(tmp_path_factory.mktemp("b") / "free", "CC0-1.0")


@pytest.fixture(scope="module")
def run(reserved, free, tmp_path_factory) -> Path:
    """A run by commands, of which stage I alone has seen the reserved photographs. Not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.json").write_text(json.dumps(TINY.to_dict()))
    recipe = ["-c", folder / "tiny.json", *QUICK, "--quiet"]
    adacode("train", "basis", reserved, "-o", folder / "run", *recipe)
    adacode("train", "fuse", free, "--basis", folder / "run", "-o", folder / "run", *recipe)
    task = ["--fused", folder / "run", "--task", "sr", "-o", folder / "run"]
    adacode("train", "restore", free, *task, *recipe)
    return folder / "run"


def stated(path: Path) -> Provenance:
    return read_weights(path).provenance


def test_every_stage_states_the_photographs_and_licences_of_those_before(run):
    assert stated(run / "basis-sky.safetensors").licence == RESERVED
    for name in ("fused", "sr-x4"):
        provenance = stated(run / f"{name}.safetensors")
        assert provenance.licence == f"CC0-1.0 AND {RESERVED}"
        assert "source: reserved" in provenance.trained_on
        assert "source: free" in provenance.trained_on
        assert provenance.trained_on.count("source: free") == 1
        assert provenance.base_model == "", "all is of one run"


def test_a_bundle_cannot_be_under_less_than_its_photographs(run, tmp_path):
    out = tmp_path / "mine"
    code, listed, notes = ended(started("weights", "bundle", run, "-o", out, "--family", "mine"))
    assert (code, len(listed.splitlines())) == (0, 6)
    assert f"CC0-1.0 AND {RESERVED}; the strictest is {RESERVED}" in " ".join(notes.split())
    for entry in catalogue_file.load(out).entries:
        assert entry.licence == f"CC0-1.0 AND {RESERVED}"
    card = (out / "mine.md").read_text(encoding="utf-8")
    assert f"| licence | CC0-1.0 AND {RESERVED} |" in card
    assert f"| strictest of these licences | {RESERVED} |" in card
    code, _, error = ended(started("weights", "bundle", run, "-o", tmp_path / "b", "--licence", "CC0-1.0"))
    assert code == 2
    text = " ".join(error.split())
    assert f"--licence CC0-1.0: basis was made from works under {RESERVED}" in text
    assert "Leave out --licence" in text
    assert not (tmp_path / "b").exists()


def test_what_is_not_stated_does_not_become_free(free, tmp_path, finished):
    """The shards of the last stage say nothing of those before."""
    copied = Path(shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("basis-*")))
    fused = read_weights(copied / "fused.safetensors")
    write_weights(copied / "fused.safetensors", replace(fused, provenance=replace(fused.provenance, licence="")))
    code, _, notes = ended(started("weights", "bundle", copied, "-o", tmp_path / "out", "--family", "mine"))
    assert code == 0, notes
    licences = {entry.name: entry.licence for entry in catalogue_file.load(tmp_path / "out").entries}
    assert licences["mine-reconstruct"] == "not stated"
    assert licences["mine-sr-x4"] == "CC0-1.0 AND LicenseRef-not-stated"
    more = ("--licence", "MIT", "--overwrite")
    code, _, notes = ended(started("weights", "bundle", copied, "-o", tmp_path / "out", "--family", "mine", *more))
    assert code == 0
    assert "--licence MIT is your own statement" in " ".join(notes.split())
    assert {entry.licence for entry in catalogue_file.load(tmp_path / "out").entries} == {"MIT"}


def test_weights_of_other_runs_are_base_models(run, free, tmp_path):
    recipe = with_steps(1)
    session = tiny_session(free, tmp_path / "on", recipe)
    assert run_restore(session, run / "fused.safetensors", task="sr", scale=4, start=run / "sr-x4.safetensors")
    made = stated(tmp_path / "on" / "sr-x4.safetensors")
    assert made.base_model == (
        f"tiny fused (CC0-1.0 AND {RESERVED}, adacode train) and tiny sr-x4 (CC0-1.0 AND {RESERVED}, adacode train)"
    )
    assert made.base_licence == f"CC0-1.0 AND {RESERVED}"
    assert made.licence == f"CC0-1.0 AND {RESERVED}"
    assert "source: reserved" in made.trained_on


def test_a_resumed_run_states_both_what_it_began_with_and_what_is_given_now(run, free, tmp_path):
    recipe, task = with_steps(4), {"task": "sr", "scale": 4}
    assert run_joint(tiny_session(free, tmp_path / "other", with_steps(1)))
    session = tiny_session(free, tmp_path / "on", recipe, listeners=Listeners(stop=lambda: True))
    assert not run_restore(session, run / "fused.safetensors", **task)
    session = tiny_session(free, RunFolder(tmp_path / "on", resume=True), recipe)
    assert run_restore(session, run / "fused.safetensors", **task, start=run / "sr-x4.safetensors")
    made = stated(tmp_path / "on" / "sr-x4.safetensors")
    assert [name.split(" (")[0] for name in made.base_model.split(" and ")] == ["tiny fused", "tiny sr-x4"]
    assert RESERVED in made.licence


def test_a_licence_that_demands_less_is_a_usage_error_before_anything_is_written(run, tmp_path):
    with pytest.raises(UsageError, match=f"was made from works under {RESERVED}"):
        bundle(run, "mine", tmp_path / "out", licence="CC-BY-4.0")
    assert not (tmp_path / "out").exists()
    notes: list[str] = []
    bundle(run, "mine", tmp_path / "out", licence=RESERVED, on_note=notes.append)
    assert notes == []
    assert {entry.licence for entry in catalogue_file.load(tmp_path / "out").entries} == {RESERVED}


def test_a_run_of_an_earlier_version_states_what_its_bases_do(run, tmp_path):
    """Its stage II states only its own photographs; the files of stage I lie beside it."""
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    for name in ("fused", "sr-x4"):
        path = copied / f"{name}.safetensors"
        weights = read_weights(path)
        older = replace(weights.provenance, licence="CC0-1.0", trained_on="8 free images")
        write_weights(path, replace(weights, provenance=older))
    bundle(copied, "mine", tmp_path / "out")
    licences = {entry.licence for entry in catalogue_file.load(tmp_path / "out").entries}
    assert licences == {f"CC0-1.0 AND {RESERVED}"}
    for path in copied.glob("basis-*.safetensors"):  # bases of another run do not count
        weights = read_weights(path)
        write_weights(path, replace(weights, tensors={k: v + 1 for k, v in weights.tensors.items()}))
    bundle(copied, "mine", tmp_path / "out")
    assert {entry.licence for entry in catalogue_file.load(tmp_path / "out").entries} == {"CC0-1.0"}


def test_a_task_of_an_earlier_bundle_brings_what_its_shared_parts_state(run, free, tmp_path):
    bundle(run, "mine", tmp_path / "mine")
    for name in ("reconstruct", "sr-x4"):
        path = tmp_path / "mine" / f"mine-{name}.safetensors"
        weights = read_weights(path)
        older = replace(weights.provenance, licence="CC0-1.0", trained_on="8 free images")
        write_weights(path, replace(weights, provenance=older))
    session = tiny_session(free, tmp_path / "on", with_steps(1))
    assert run_restore(session, tmp_path / "mine" / "mine-reconstruct.safetensors", task="sr", scale=4)
    assert RESERVED in stated(tmp_path / "on" / "sr-x4.safetensors").licence
