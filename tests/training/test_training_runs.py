"""The three stages one after the other through files: what they leave, what stays bit for bit, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_families import CATEGORIES
from tiny_sessions import NAMES, PROVENANCE, TASKS, TINY, tiny_session, with_steps
from tiny_shards import save_shards

from adacode_cli.checkpoints.format import read_weights, write_weights
from adacode_cli.checkpoints.load import load_network
from adacode_cli.errors import OutputError, TrainingError
from adacode_cli.training.family import Family
from adacode_cli.training.overrides import recipe_from
from adacode_cli.training.run_folder import RunFolder
from adacode_cli.training.runs import run_all, run_basis, run_fuse, run_joint, run_restore, shared_out
from adacode_cli.training.session import Listeners

OTHER = replace(TINY, network=Family(channels=(32, 32, 32, 64), codes=(16,), code_dim=8))


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_run_leaves_weights_a_log_and_samples_for_every_stage(finished):
    files = {path.name for path in finished.iterdir() if path.is_file()}
    of_stages = {name + suffix for name in NAMES for suffix in (".safetensors", ".jsonl", ".checkpoint")}
    assert files == of_stages | {"recipe.json", "shards.json", "stages.json"}
    logged = [json.loads(line) for line in (finished / "fused.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged] == [2, 4, 6]
    assert ["validation/psnr" in line for line in logged] == [False, True, True]
    assert logged[-1]["validation/crops"] == 2
    assert {"perplexity/ground", "used/sky", "learning_rate"} <= logged[0].keys()
    samples = {path.name for path in (finished / "samples" / "inpaint").iterdir()}
    assert samples == {"000004.png", "000006.png"}
    written = recipe_from(json.loads((finished / "recipe.json").read_text()))
    assert written == TINY
    provenance = read_weights(finished / "sr-x4.safetensors").provenance
    assert provenance == replace(PROVENANCE, recipe=provenance.recipe)
    assert recipe_from(json.loads(provenance.recipe)) == TINY


def test_codebooks_and_decoder_pass_through_the_stages_bit_for_bit(finished):
    fused = load_file(finished / "fused.safetensors")
    for k, category in enumerate(CATEGORIES):
        basis = load_file(finished / f"basis-{category}.safetensors")
        assert torch.equal(fused[f"codebook.books.{k}.embedding.weight"], basis["codebook.books.0.embedding.weight"])
    for task in ("sr-x2", "sr-x4", "inpaint"):
        tensors = load_file(finished / f"{task}.safetensors")
        shared = [k for k in fused if k.startswith(("codebook.books.", "codebook.after.", "decoder."))]
        assert len(shared) > 10
        assert all(torch.equal(fused[k], tensors[k]) for k in shared)
        own = [k for k in fused if k.startswith("codebook.predictor.")]
        assert any(not torch.equal(fused[k], tensors[k]) for k in own)


def test_categories_are_trained_apart(finished):
    ground, sky = (load_file(finished / f"basis-{c}.safetensors") for c in CATEGORIES)
    assert ground["codebook.books.0.embedding.weight"].shape == (16, 8)
    assert sky["codebook.books.0.embedding.weight"].shape == (24, 8)
    assert not torch.equal(ground["decoder.head.conv.weight"], sky["decoder.head.conv.weight"])
    network, _ = load_network((finished / "fused.safetensors",))
    assert network.config.categories == CATEGORIES
    assert network.config.codebooks == ((16, 8), (24, 8))


@pytest.mark.parametrize(
    ("name", "scale", "channels"), [("fused", 1, 3), ("sr-x2", 2, 3), ("sr-x4", 4, 3), ("inpaint", 1, 4)]
)
def test_files_load_and_restore_any_size(finished, name, scale, channels):
    network, provenance = load_network((finished / f"{name}.safetensors",))
    with torch.inference_mode():
        out = network(torch.rand(1, channels, 37, 29))
    assert out.image_BCHW.shape == (1, 3, 37 * scale, 29 * scale)
    assert torch.isfinite(out.image_BCHW).all()
    assert provenance.licence == "CC0-1.0"


def test_what_is_there_is_kept_taken_over_or_replaced_as_asked(copied, shards):
    before = {path.name: path.read_bytes() for path in copied.glob("*.safetensors")}
    with pytest.raises(OutputError, match="basis-ground is finished"):
        run_basis(tiny_session(shards, copied))
    again = tiny_session(shards, RunFolder(copied, resume=True))
    assert run_all(again, TASKS)
    assert again.written == []
    assert {path.name: path.read_bytes() for path in copied.glob("*.safetensors")} == before
    (copied / "basis-sky.safetensors").unlink()
    (copied / "sr-x4.safetensors").unlink()
    some = tiny_session(shards, RunFolder(copied, resume=True))
    assert run_all(some, TASKS)
    assert some.written == ["basis-sky", "sr-x4"]
    assert {path.name: path.read_bytes() for path in copied.glob("*.safetensors")} == before
    anew = tiny_session(shards, RunFolder(copied, overwrite=True), with_steps(7))
    assert run_basis(anew)
    assert anew.written == NAMES[:3]
    assert (copied / "basis-sky.safetensors").read_bytes() != before["basis-sky.safetensors"]


def test_a_whole_training_that_is_stopped_everywhere_ends_in_the_same_weights(finished, shards, tmp_path):
    folder, sessions = RunFolder(tmp_path / "run", resume=True), 0
    while True:
        asked = iter([False, True])  # two steps, then over
        session = tiny_session(shards, folder, listeners=Listeners(stop=lambda asked=asked: next(asked, True)))
        sessions += 1
        if run_all(session, TASKS):
            break
        assert session.stopped in NAMES
        assert (folder.path / f"{session.stopped}.checkpoint").is_file()
    assert sessions > len(NAMES)
    for name in NAMES:
        assert (folder.path / f"{name}.safetensors").read_bytes() == (finished / f"{name}.safetensors").read_bytes()
    assert {path.stem for path in folder.path.glob("*.checkpoint")} == set(NAMES)
    steps = [json.loads(line)["step"] for line in (folder.path / "fused.jsonl").read_text().splitlines()]
    assert all(a < b for a, b in pairwise(steps))


def test_joint_training_needs_no_stage_one(shards, tmp_path):
    session = tiny_session(shards, tmp_path / "run")
    assert run_joint(session)
    assert session.written == ["fused"]
    network, _ = load_network((tmp_path / "run" / "fused.safetensors",))
    assert network.config.codebooks == ((16, 8), (24, 8))
    assert run_restore(session, tmp_path / "run" / "fused.safetensors", task="inpaint", scale=1)


def test_idle_codes_are_warned_of(shards, tmp_path):
    notes: list[str] = []
    recipe = replace(TINY, network=replace(TINY.network, codes=(2000,)), start_share=0.0)
    run_basis(tiny_session(shards, tmp_path / "run", recipe, listeners=Listeners(on_note=notes.append)))
    assert len(notes) == 2
    assert all("of its 2000 codes" in note and "--codes" in note for note in notes)


def test_seeds_matter(tmp_path, shards):
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        recipe = replace(with_steps(1), seed=seed, start_share=0.0)
        run_basis(tiny_session(shards, tmp_path / name, recipe))
        weights = [read_weights(tmp_path / name / f"basis-{c}.safetensors").tensors for c in CATEGORIES]
        found.append(weights[1]["decoder.head.conv.weight"])
        assert not torch.equal(weights[0]["decoder.head.conv.weight"], weights[1]["decoder.head.conv.weight"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not (tmp_path / "a" / "basis-start.safetensors").exists()


def test_minutes_are_shared_among_the_stages():
    recipe = shared_out(TINY, 100.0, 3)
    assert recipe.basis.minutes + recipe.fuse.minutes + 3 * recipe.restore.minutes == pytest.approx(100)
    assert shared_out(TINY, None, 3) == TINY


def test_a_category_called_start_is_refused(tmp_path):
    folder = save_shards(tmp_path / "shards", categories=("sky", "start"), each=1)
    with pytest.raises(TrainingError, match="reserved name"):
        run_basis(tiny_session(folder, tmp_path / "run"))


def test_files_of_another_family_or_stage_are_refused(finished, tmp_path, shards):
    def session(recipe=TINY):
        return tiny_session(shards, RunFolder(tmp_path / "run", resume=True), recipe)

    with pytest.raises(TrainingError, match=r"does not hold any basis-\*"):
        run_fuse(session(), tmp_path)
    with pytest.raises(TrainingError, match="not hold a stage-I network of this family"):
        run_fuse(session(OTHER), finished)
    (tmp_path / "run").mkdir()
    shutil.copy(finished / "basis-start.safetensors", tmp_path / "run")
    with pytest.raises(TrainingError, match=r"basis-start\.safetensors: began with other settings: network\.add_base"):
        run_basis(session(OTHER))
    with pytest.raises(TrainingError, match="not hold a stage-II network"):
        run_restore(session(), finished / "sr-x4.safetensors", task="sr", scale=4)
    with pytest.raises(TrainingError, match="does not fit a network of this family"):
        run_restore(session(OTHER), finished / "fused.safetensors", task="sr", scale=4)


def test_a_run_folder_that_cannot_be_made_is_an_output_error(tmp_path, shards):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        run_basis(tiny_session(shards, tmp_path / "file" / "run"))


def test_a_stage_goes_on_only_over_what_it_was_begun_over(copied, shards, tmp_path):
    task = {"task": "sr", "scale": 4}
    folder = RunFolder(tmp_path / "new", resume=True)
    session = tiny_session(shards, folder, listeners=Listeners(stop=lambda: True))
    assert not run_restore(session, copied / "fused.safetensors", **task)
    other = read_weights(copied / "fused.safetensors")
    other.tensors["decoder.head.conv.bias"] += 1
    write_weights(copied / "fused.safetensors", other)
    with pytest.raises(TrainingError, match="other codebooks or another decoder"):
        run_restore(tiny_session(shards, folder), copied / "fused.safetensors", **task)
    elsewhere = tiny_session(save_shards(tmp_path / "shards", each=2), folder)
    with pytest.raises(TrainingError, match="began with other shards"):
        run_restore(elsewhere, copied / "fused.safetensors", **task)


def test_stage_two_wants_the_bases_of_its_categories_and_no_others(copied, shards, tmp_path):
    session = tiny_session(shards, tmp_path / "other")
    shutil.copy(copied / "basis-sky.safetensors", copied / "basis-sea.safetensors")
    with pytest.raises(TrainingError, match="a basis of 'sea'"):
        run_fuse(session, copied)
    (copied / "basis-sea.safetensors").unlink()
    (copied / "basis-sky.safetensors").unlink()
    with pytest.raises(TrainingError, match="no finished basis of the category 'sky'"):
        run_fuse(session, copied)


def test_a_finished_stage_is_not_taken_over_with_other_codebooks(copied, shards):
    assert run_basis(tiny_session(shards, RunFolder(copied, overwrite=True), replace(TINY, seed=3)))
    again = tiny_session(shards, RunFolder(copied, resume=True))
    with pytest.raises(TrainingError, match=r"fused\.safetensors: was trained with codebooks or a decoder that"):
        run_fuse(again, copied)
    assert run_fuse(tiny_session(shards, RunFolder(copied, overwrite=True)), copied)
    with pytest.raises(TrainingError, match=r"sr-x4\.safetensors: was trained with codebooks or a decoder that"):
        run_restore(again, copied / "fused.safetensors", task="sr", scale=4)
