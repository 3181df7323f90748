"""A finished run that is continued: it says that nothing is left, refuses what differs, and goes on from its end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_recipes import after, tiny_recipe, tiny_session
from tiny_shards import save_shards

from adacode_cli.errors import TrainingError
from adacode_cli.training.checkpoint import read_checkpoint
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.runs import run_all, run_basis, run_fuse, run_joint, run_restore
from adacode_cli.training.session import Listeners, TrainingSession

RECIPE = tiny_recipe(steps=4, start_share=0.0)


@pytest.fixture(scope="module")
def done(shards, tmp_path_factory) -> Path:
    """A run folder with a finished stage II, of four steps. Not to be changed."""
    folder = tmp_path_factory.mktemp("done") / "run"
    assert run_joint(tiny_session(shards, RunFolder(folder), RECIPE))
    return folder


@pytest.fixture
def run(done, tmp_path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "run"))


def resumed(shards: Path, run: Path, recipe=RECIPE, *, extends=True, stop=lambda: False):
    """A session that continues, the notes that it gives, and the stages that it keeps."""
    notes: list[str] = []
    kept: list[str] = []
    session: TrainingSession = tiny_session(shards, RunFolder(run, resume=True), recipe)
    session.listeners = Listeners(on_note=notes.append, on_kept=kept.append, stop=stop)
    session.extends = extends
    return session, notes, kept


def steps_logged(run: Path, name: str = "fused") -> list[int]:
    return [json.loads(line)["step"] for line in (run / f"{name}.jsonl").read_text().splitlines()]


def test_a_finished_stage_says_so_and_offers_to_go_on(shards, run):
    before = (run / "fused.safetensors").read_bytes()
    for recipe, extends in ((RECIPE, True), (tiny_recipe(steps=9, start_share=0.0), False)):
        session, notes, kept = resumed(shards, run, recipe, extends=extends)
        assert run_joint(session)
        assert (session.written, kept) == ([], ["fused"])
        assert notes == [
            "fused is finished already, after 4 steps: nothing of it is trained; with more --steps or --minutes it "
            "goes on from its end"
        ]
    assert (run / "fused.safetensors").read_bytes() == before
    assert json.loads((run / "stages.json").read_text())["fused"]["steps"] == 4


def test_settings_that_have_no_effect_on_a_finished_stage_are_named(shards, run):
    session, notes, _ = resumed(shards, run, tiny_recipe(steps=4, start_share=0.0, fuse__optimiser__rate=5e-4))
    assert run_joint(session)
    assert notes[0].endswith("goes on from its end; without effect: fuse.optimiser.rate: 0.001 → 0.0005"), notes


@pytest.mark.parametrize("file", ["fused.checkpoint", "stages.json"])
def test_other_settings_and_other_shards_are_refused_by_name(file, shards, run, tmp_path):
    if file == "fused.checkpoint":
        (run / file).unlink()  # the weights and stages.json say enough
    other = save_shards(tmp_path / "other", each=2)
    with pytest.raises(TrainingError, match=r"fused\.safetensors: began with other shards"):
        run_joint(resumed(other, run)[0])
    with pytest.raises(TrainingError, match=r"other settings: fuse\.loss\.pixel: 1\.0 → 2\.0; seed: 0 → 3") as found:
        run_joint(resumed(shards, run, tiny_recipe(steps=4, start_share=0.0, seed=3, fuse__loss__pixel=2))[0])
    assert "--overwrite" in found.value.hint


def test_more_steps_go_on_from_the_end(shards, run):
    before = load_file(run / "fused.safetensors")
    at_end = read_checkpoint(run / "fused.checkpoint")
    assert at_end.steps == 4
    session, notes, _ = resumed(shards, run, tiny_recipe(steps=6, start_share=0.0))
    assert run_joint(session)
    assert session.written == ["fused"]
    assert notes == ["fused goes on from its end, after 4 steps; its learning rate rises once more"]
    assert steps_logged(run) == [1, 2, 3, 4, 5, 6]
    assert read_checkpoint(run / "fused.checkpoint").counters["adam"] == 6, "its optimiser went on too"
    changed = load_file(run / "fused.safetensors")
    assert any(not torch.equal(before[key], changed[key]) for key in before)
    assert run_joint(resumed(shards, run, tiny_recipe(steps=6, start_share=0.0))[0])


def test_an_extension_that_is_stopped_goes_on_and_keeps_the_earlier_weights_until_its_end(shards, run):
    before = (run / "fused.safetensors").read_bytes()
    longer = tiny_recipe(steps=8, start_share=0.0)
    session, *_ = resumed(shards, run, longer, stop=after(2))
    assert not run_joint(session)
    assert (run / "fused.safetensors").read_bytes() == before
    assert read_checkpoint(run / "fused.checkpoint").steps == 6
    session, *_ = resumed(shards, run, longer)
    assert run_joint(session)
    assert steps_logged(run) == list(range(1, 9))
    assert (run / "fused.safetensors").read_bytes() != before


def test_without_its_checkpoint_a_stage_goes_on_from_its_weights(shards, run):
    (run / "fused.checkpoint").unlink()
    session, *_ = resumed(shards, run, tiny_recipe(steps=6, start_share=0.0))
    assert run_joint(session)
    assert steps_logged(run) == [1, 2, 3, 4, 5, 6]
    assert read_checkpoint(run / "fused.checkpoint").counters["adam"] == 2


def test_a_run_of_an_earlier_version_is_continued_by_its_log(shards, run):
    (run / "fused.checkpoint").unlink()
    (run / "stages.json").unlink()
    session, notes, _ = resumed(shards, run)
    assert run_joint(session)
    assert notes[0].startswith("fused is finished already, after 4 steps")
    assert run_joint(resumed(shards, run, tiny_recipe(steps=5, start_share=0.0))[0])
    assert steps_logged(run) == [1, 2, 3, 4, 5]


def test_what_others_were_trained_over_does_not_go_on(shards, tmp_path):
    """Alone it is refused; where all stages are asked for, only the last ones go on."""
    run, tasks = tmp_path / "run", [("sr", 2)]
    assert run_all(tiny_session(shards, RunFolder(run), RECIPE), tasks)
    longer = tiny_recipe(steps=6, start_share=0.0)
    for train in (run_basis, lambda session: run_fuse(session, run)):
        with pytest.raises(TrainingError, match="cannot go on, because"):
            train(resumed(shards, run, longer)[0])
    before = {name: (run / f"{name}.safetensors").read_bytes() for name in ("basis-sky", "fused", "sr-x2")}
    session, notes, kept = resumed(shards, run, longer)
    assert run_all(session, tasks)
    assert (kept, session.written) == (["basis-ground", "basis-sky", "fused"], ["sr-x2"])
    assert "fused stays as it is, after 4 steps, because sr-x2 was trained over it" in notes
    after_it = {name: (run / f"{name}.safetensors").read_bytes() for name in before}
    assert {name for name in before if before[name] != after_it[name]} == {"sr-x2"}
    assert steps_logged(run, "sr-x2") == [1, 2, 3, 4, 5, 6]


def test_bases_go_on_apart_from_their_common_start(shards, tmp_path):
    run, recipe = tmp_path / "run", tiny_recipe(basis__steps=10, start_share=0.4)
    assert run_basis(tiny_session(shards, RunFolder(run), recipe))
    before = (run / "basis-start.safetensors").read_bytes()
    session, *_ = resumed(shards, run, tiny_recipe(basis__steps=20, start_share=0.4))
    assert run_basis(session)
    assert session.written == ["basis-ground", "basis-sky"]
    assert (run / "basis-start.safetensors").read_bytes() == before
    assert steps_logged(run, "basis-sky") == [1, 2, 3, 4, 5, 6]


def test_slim_runs_keep_no_state_beside_their_weights(shards, tmp_path):
    run = tmp_path / "run"
    assert run_joint(tiny_session(shards, RunFolder(run, slim=True), RECIPE))
    assert not list(run.glob("*.checkpoint"))
    assert run_joint(resumed(shards, run, tiny_recipe(steps=5, start_share=0.0))[0])
    assert steps_logged(run) == [1, 2, 3, 4, 5]


def test_a_run_that_starts_again_forgets_how_it_ended(shards, run):
    replaced = tiny_recipe(steps=9, start_share=0.0, seed=4)
    assert not run_joint(tiny_session(shards, RunFolder(run, overwrite=True), replaced, after(2)))
    assert "fused" not in json.loads((run / "stages.json").read_text())


def test_a_finished_task_is_kept(shards, run):
    fused = run / "fused.safetensors"
    assert run_restore(tiny_session(shards, RunFolder(run), RECIPE), fused, task="inpaint", scale=1)
    session, _, kept = resumed(shards, run)
    assert run_restore(session, fused, task="inpaint", scale=1)
    assert kept == ["inpaint"]
