"""A run folder: what is free, gone on with or replaced; settings that must agree; logs without lines of the past."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_recipes import after, tiny_recipe, tiny_session

from adacode_cli.errors import OutputError, TrainingError, UsageError
from adacode_cli.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from adacode_cli.training.recipe import Recipe
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.runs import run_all, run_basis, run_fuse, run_joint

MANIFEST = {"categories": ["ground", "sky"], "licence": "CC0-1.0", "source": "gezeichnet für einen Test"}


def leave(folder: Path, *, finished: tuple[str, ...] = (), unfinished: tuple[str, ...] = ()) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in finished:
        (folder / f"{name}.safetensors").write_bytes(b"weights")
    for name in unfinished:
        write_checkpoint(folder / f"{name}.checkpoint", checkpoint_of(tiny_recipe()))


def checkpoint_of(recipe: Recipe) -> Checkpoint:
    return Checkpoint(3, 1.0, recipe.to_dict(), {"network.x": torch.zeros(1)}, {"adam": 3})


def test_what_a_stage_finds_of_itself(tmp_path):
    leave(tmp_path, finished=("a", "c"), unfinished=("b", "c"))
    states = {name: RunFolder(tmp_path).state(name) for name in "abcd"}
    assert states == {"a": "finished", "b": "unfinished", "c": "finished", "d": "absent"}
    assert {RunFolder(tmp_path, overwrite=True).state(name) for name in "abcd"} == {"absent"}


@pytest.mark.parametrize(("name", "words"), [("a", "a is finished"), ("b", "b is unfinished")])
def test_earlier_results_are_in_the_way_unless_somebody_says_what_to_do(name, words, tmp_path):
    leave(tmp_path, finished=("a",), unfinished=("b",))
    with pytest.raises(OutputError, match=words) as found:
        RunFolder(tmp_path).require_free(["d", name])
    assert "--resume" in found.value.hint
    assert "--overwrite" in found.value.hint
    RunFolder(tmp_path).require_free(["d"])
    RunFolder(tmp_path, resume=True).require_free(["a", "b", "d"])
    RunFolder(tmp_path, overwrite=True).require_free(["a", "b", "d"])
    assert len(list(tmp_path.iterdir())) == 2, "asking changes nothing"


def test_a_file_where_the_folder_should_be_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        RunFolder(tmp_path / "file" / "run").make()


def test_a_checkpoint_is_read_only_to_go_on(tmp_path):
    leave(tmp_path, unfinished=("fused",))
    assert RunFolder(tmp_path).read_checkpoint("fused", "fuse", tiny_recipe()) == (None, [])
    assert RunFolder(tmp_path, overwrite=True).read_checkpoint("fused", "fuse", tiny_recipe()) == (None, [])
    resumed = RunFolder(tmp_path, resume=True)
    found, changed = resumed.read_checkpoint("fused", "fuse", tiny_recipe())
    assert (found.steps, changed) == (3, [])
    assert resumed.read_checkpoint("other", "fuse", tiny_recipe()) == (None, [])
    with pytest.raises(TrainingError, match="began with other shards"):
        resumed.read_checkpoint("fused", "fuse", tiny_recipe(), "another digest")


def test_settings_that_changed_are_named_each(tmp_path):
    leave(tmp_path, unfinished=("fused",))
    changed = {
        "fuse.loss.pixel": "1.0 → 2.0",
        "fuse.patch": "64 → 128",
        "network.code_dim": "8 → 16",
        "seed": "0 → 5",
    }
    values = {name.replace(".", "__"): text.split(" → ")[1].strip('"') for name, text in changed.items()}
    with pytest.raises(TrainingError, match="began with other settings") as found:
        RunFolder(tmp_path, resume=True).read_checkpoint("fused", "fuse", tiny_recipe(**values))
    differences = str(found.value).partition("settings: ")[2].split("; ")
    assert sorted(differences) == sorted(f"{name}: {text}" for name, text in changed.items())
    assert found.value.path == tmp_path / "fused.checkpoint"


def test_a_run_of_an_earlier_version_goes_on_with_the_defaults_of_later_settings(tmp_path):
    """And not with other values of them; a setting that this version does not know is a difference."""
    leave(tmp_path, unfinished=("fused",))
    path = tmp_path / "fused.checkpoint"
    whole = read_checkpoint(path)
    early = json.loads(json.dumps(whole.recipe))
    for later in ("own_decoder", "context", "residual"):
        del early["network"][later]
    del early["holes"]["traces"]
    write_checkpoint(path, replace(whole, recipe=early))
    run = RunFolder(tmp_path, resume=True)
    assert run.read_checkpoint("fused", "fuse", tiny_recipe())[1] == []
    with pytest.raises(TrainingError, match=r"holes\.traces: 0\.0 → 0\.5"):
        run.read_checkpoint("fused", "fuse", tiny_recipe(holes__traces=0.5))
    write_checkpoint(path, replace(whole, recipe=early | {"later": 1}))
    with pytest.raises(TrainingError, match="later: 1 → null"):
        run.read_checkpoint("fused", "fuse", tiny_recipe())


def test_length_and_other_stages_may_change(tmp_path):
    leave(tmp_path, unfinished=("fused",))
    recipe = tiny_recipe(fuse__steps=900, fuse__minutes=3, basis__batch=8, restore__loss__pixel=3)
    assert RunFolder(tmp_path, resume=True).read_checkpoint("fused", "fuse", recipe)[1] == []


def test_what_helps_against_an_infinite_loss_or_too_little_memory_may_change_and_is_reported(tmp_path):
    leave(tmp_path, unfinished=("fused",))
    recipe = tiny_recipe(fuse__optimiser__rate=1e-5, fuse__optimiser__clip=0.5, precision="bf16", fuse__batch=1)
    found, changed = RunFolder(tmp_path, resume=True).read_checkpoint("fused", "fuse", recipe)
    assert found.steps == 3
    names = {"fuse.optimiser.rate", "fuse.optimiser.clip", "precision", "fuse.batch"}
    assert {text.split(":")[0] for text in changed} == names


def test_settings_of_stages_that_ran_earlier_stay_as_they_were(tmp_path):
    folder = RunFolder(tmp_path)
    folder.describe(tiny_recipe(basis__batch=8, fuse__batch=16), "basis", MANIFEST)
    folder.describe(tiny_recipe(basis__batch=2, fuse__batch=6, seed=3), "fuse", MANIFEST)
    written = json.loads((tmp_path / "recipe.json").read_text())
    assert (written["basis"]["batch"], written["fuse"]["batch"], written["seed"]) == (8, 6, 3)
    assert json.loads((tmp_path / "shards.json").read_text(encoding="utf-8")) == MANIFEST


@pytest.mark.parametrize("broken", ["", "[1]", "3", '{"basis": ', "\udcff"])
def test_a_description_that_cannot_be_kept_is_replaced(broken, tmp_path):
    (tmp_path / "recipe.json").write_bytes(broken.encode(errors="surrogateescape"))
    RunFolder(tmp_path).describe(tiny_recipe(), "fuse", MANIFEST)
    assert json.loads((tmp_path / "recipe.json").read_text()) == tiny_recipe().to_dict()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 40), st.sampled_from(["", "\n", "[1]\n", '{"a": 1}\n']))
def test_a_log_goes_on_with_whole_lines_up_to_its_checkpoint(tmp_path_factory, lines, steps, cut, junk):
    folder = RunFolder(tmp_path_factory.mktemp("log"))
    for step in range(1, lines + 1):
        folder.append_log("fused", {"step": step, "total": step / 3})
    path = folder.log("fused")
    path.write_text((path.read_text() if lines else "") + junk + '{"step": 1, "total": 0.333333333333333}'[:cut])
    folder.begin_log("fused", steps)
    folder.append_log("fused", {"step": steps + 1})
    read = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [{"step": n, "total": n / 3} for n in range(1, min(lines, steps) + 1)]
    whole = cut >= len('{"step": 1, "total": 0.333333333333333}') and steps > 0
    assert read[: len(kept)] == kept
    assert len(read) == len(kept) + 1 + whole
    assert read[-1] == {"step": steps + 1}


def test_a_log_that_cannot_be_written_is_reported(tmp_path):
    with pytest.raises(OutputError, match=r"fused\.jsonl: cannot be written"):
        RunFolder(tmp_path / "none").append_log("fused", {"step": 1})


def test_what_is_to_be_replaced_is_not_taken_for_this_runs_result_later(shards, tmp_path):
    """Replaced, stopped, gone on with: results of the run before must not come back."""
    recipe = tiny_recipe(steps=4)
    assert run_basis(tiny_session(shards, RunFolder(tmp_path), recipe))
    replaced = tiny_recipe(steps=4, seed=7)
    assert not run_basis(tiny_session(shards, RunFolder(tmp_path, overwrite=True), replaced, after(1)))
    assert not list(tmp_path.glob("*.safetensors"))
    session = tiny_session(shards, RunFolder(tmp_path, resume=True), replaced)
    assert run_basis(session)
    assert session.written == ["basis-start", "basis-ground", "basis-sky"]


def test_all_stages_find_out_first_what_is_in_the_way(shards, tmp_path):
    leave(tmp_path, finished=("sr-x2",))
    with pytest.raises(OutputError, match="sr-x2 is finished"):
        run_all(tiny_session(shards, RunFolder(tmp_path), tiny_recipe()), [("sr", 2)])
    assert [path.name for path in tmp_path.iterdir()] == ["sr-x2.safetensors"]
    session = tiny_session(shards, RunFolder(tmp_path, overwrite=True), tiny_recipe(), after(1))
    assert not run_all(session, [("sr", 2)])
    assert not list(tmp_path.glob("*.safetensors"))


def test_nothing_is_removed_for_settings_that_cannot_be(shards, tmp_path):
    leave(tmp_path, finished=("fused",))
    for recipe, error in ((tiny_recipe(patch=256), TrainingError), (tiny_recipe(batch=3), UsageError)):
        session = tiny_session(shards, RunFolder(tmp_path, overwrite=True), recipe)
        session.processes = _Three()
        with pytest.raises(error):
            run_joint(session)
        assert (tmp_path / "fused.safetensors").read_bytes() == b"weights"


class _Three:
    """Two processes, as far as sharing a batch goes."""

    rank, world, device = 0, 2, torch.device("cpu")


def test_a_checkpoint_of_other_bases_is_reported(shards, tmp_path):
    """The recipe says nothing of the files that stage II is given."""
    small, large = tmp_path / "small", tmp_path / "large"
    for folder in (small, large):
        assert run_basis(tiny_session(shards, RunFolder(folder), tiny_recipe(steps=1)))
    (large / "basis-ground.safetensors").rename(large / "basis-more.safetensors")
    (large / "shards.json").unlink()  # as if somebody had put bases together by hand
    recipe, run = tiny_recipe(steps=4), tmp_path / "run"
    (large / "basis-rest.safetensors").write_bytes((large / "basis-sky.safetensors").read_bytes())
    assert not run_fuse(tiny_session(shards, RunFolder(run), recipe, after(1)), small)
    with pytest.raises(TrainingError, match="another network"):
        run_fuse(tiny_session(shards, RunFolder(run, resume=True), recipe), large)
