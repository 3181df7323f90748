"""The three stages one after the other through files, and the bundle that comes out of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_families import CATEGORIES, packed, picture, plain, save_photos

from adacode_cli.checkpoints.format import Provenance, read_weights, write_weights
from adacode_cli.checkpoints.load import load_network
from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import OutputError, TrainingError
from adacode_cli.training.bundle import bundle
from adacode_cli.training.corpus import PhotoCorpus
from adacode_cli.training.run_folder import Run
from adacode_cli.training.runs import run_basis, run_fuse, run_restore
from adacode_cli.training.settings import TrainSettings

SETTINGS = TrainSettings(steps=6, batch=1, patch=64, precision="fp32", warmup=1, learning_rate=1e-3, log_every=2)
PROVENANCE = Provenance(family="tiny", trained_on="generated pictures", licence="Apache-2.0", source="a test")
TASKS = (("sr", 2), ("sr", 4), ("inpaint", 1))


def make_run(folder: Path, settings: TrainSettings = SETTINGS) -> Run:
    return Run(folder, settings, PROVENANCE, lambda _name, _line: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, corpus) -> Path:
    """A run folder with all stages of the packed family. Not to be changed."""
    folder = tmp_path_factory.mktemp("run")
    run = make_run(folder)
    run_basis(run, corpus, packed)
    run_fuse(run, corpus, packed, folder)
    for task, scale in TASKS:
        run_restore(run, corpus, packed, folder / "fused.safetensors", task=task, scale=scale)
    names = ["basis-start", "basis-ground", "basis-sky", "fused", "sr-x2", "sr-x4", "inpaint"]
    assert run.written == [folder / f"{name}.safetensors" for name in names]
    return folder


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_run_leaves_weights_settings_and_a_log_for_every_stage(finished):
    names = {"basis-start", "basis-ground", "basis-sky", "fused", "sr-x2", "sr-x4", "inpaint"}
    suffixes = (".safetensors", ".json", ".jsonl")
    assert {path.name for path in finished.iterdir()} == {name + suffix for name in names for suffix in suffixes}
    logged = [json.loads(line) for line in (finished / "fused.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged] == [2, 4, 6]
    written = json.loads((finished / "fused.json").read_text())
    assert (written["steps"], written["patch"], written["loss"]["commitment"]) == (6, 64, 0.25)
    assert read_weights(finished / "fused.safetensors").provenance == PROVENANCE


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
    assert provenance.licence == "Apache-2.0"


def test_first_values_of_an_earlier_run_are_used_again(copied, corpus):
    before = (copied / "basis-start.safetensors").read_bytes()
    run = make_run(copied)
    run_basis(run, corpus, packed)
    assert (copied / "basis-start.safetensors").read_bytes() == before
    assert [path.stem for path in run.written] == ["basis-ground", "basis-sky"]


def test_restoring_goes_on_from_an_earlier_result(finished, tmp_path, corpus):
    earlier = load_file(finished / "sr-x4.safetensors")
    still = make_run(tmp_path / "run", replace(SETTINGS, steps=1, learning_rate=1e-9))
    task = {"task": "sr", "scale": 4}
    run_restore(still, corpus, packed, finished / "fused.safetensors", **task, start=finished / "sr-x4.safetensors")
    went_on = load_file(tmp_path / "run" / "sr-x4.safetensors")
    assert max(float((went_on[k] - earlier[k]).abs().max()) for k in earlier) < 1e-6
    run_restore(still, corpus, packed, finished / "fused.safetensors", **task)
    afresh = load_file(tmp_path / "run" / "sr-x4.safetensors")
    assert max(float((afresh[k] - earlier[k]).abs().max()) for k in earlier) > 1e-4
    with pytest.raises(TrainingError, match="not an earlier result of this task"):
        run_restore(still, corpus, packed, finished / "fused.safetensors", **task, start=finished / "sr-x2.safetensors")


def test_seeds_matter(tmp_path, corpus):
    one_step = replace(SETTINGS, steps=1)
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_basis(make_run(tmp_path / name, replace(one_step, seed=seed)), corpus, packed, start_share=0)
        found.append((tmp_path / name / "basis-sky.safetensors").read_bytes())
        used = [json.loads((tmp_path / name / f"basis-{c}.json").read_text())["seed"] for c in CATEGORIES]
        assert used == [seed + 1, seed + 2]
    assert found[0] == found[1] != found[2]
    assert not (tmp_path / "a" / "basis-start.safetensors").exists()


def test_a_loss_that_is_not_finite_leaves_no_weights(tmp_path, corpus):
    run = make_run(tmp_path / "run", replace(SETTINGS, learning_rate=1e30, clip=1e30))
    with pytest.raises(TrainingError, match="at step"):
        run_basis(run, corpus, packed, start_share=0)
    assert [path.name for path in (tmp_path / "run").iterdir() if path.suffix == ".safetensors"] == []
    assert [path for path in (tmp_path / "run").iterdir() if "part" in path.name] == []


def test_a_category_called_start_is_refused(tmp_path):
    corpus = PhotoCorpus(save_photos(tmp_path / "photos", ("sky", "start"), each=1), 64)
    with pytest.raises(TrainingError, match="needs itself"):
        run_basis(make_run(tmp_path / "run"), corpus, packed)


def test_files_of_another_family_or_stage_are_refused(finished, tmp_path, corpus):
    run = make_run(tmp_path / "run")
    with pytest.raises(TrainingError, match=r"holds no basis-\*"):
        run_fuse(run, corpus, packed, tmp_path)
    with pytest.raises(TrainingError, match="no stage-I network of this family"):
        run_fuse(run, corpus, plain, finished)
    shutil.copy(finished / "basis-start.safetensors", tmp_path / "run")
    with pytest.raises(TrainingError, match="no stage-I network of this family"):
        run_basis(run, corpus, plain)
    with pytest.raises(TrainingError, match="no stage-II network"):
        run_restore(run, corpus, packed, finished / "sr-x4.safetensors", task="sr", scale=4)
    with pytest.raises(TrainingError, match="does not fit a network of this family"):
        run_restore(run, corpus, plain, finished / "fused.safetensors", task="sr", scale=4)
    assert run.written == []


def test_a_run_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        make_run(tmp_path / "file" / "run")


def test_bundled_tasks_are_the_trained_networks_rounded_to_16_bits(finished, tmp_path):
    paths = bundle(finished, "mine", tmp_path / "out")
    stems = ["mine-basis", "mine-fused", "mine-reconstruct", "mine-sr-x2", "mine-sr-x4", "mine-inpaint"]
    assert [path.stem for path in paths] == stems
    assert sorted(paths) == sorted((tmp_path / "out").iterdir())
    for name, whole in (("reconstruct", "fused"), ("sr-x2", "sr-x2"), ("sr-x4", "sr-x4"), ("inpaint", "inpaint")):
        network, provenance = load_network((tmp_path / "out" / f"mine-{name}.safetensors",))
        trained = load_file(finished / f"{whole}.safetensors")
        assert network.state_dict().keys() == trained.keys()
        assert all(torch.equal(v, trained[k].half().float()) for k, v in network.state_dict().items())
        assert network.config == read_weights(finished / f"{whole}.safetensors").config
        assert provenance == replace(PROVENANCE, family="mine")
    stored = [tensor for path in paths for tensor in load_file(path).values()]
    assert {tensor.dtype for tensor in stored} == {torch.float16}
    keys = [key for path in paths for key in load_file(path) if key.startswith(("codebook.books.", "decoder."))]
    assert len(keys) == len(set(keys)) > 0  # stored once for all tasks


def test_bundled_files_serve_the_restorer(finished, tmp_path):
    bundle(finished, "mine", tmp_path)
    image = picture(5, 21, 34)
    hole = np.zeros((21, 34), np.bool_)
    hole[5:9, 7:20] = True
    for scale in (2, 4):
        restorer = Restorer.from_pretrained(str(tmp_path / f"mine-sr-x{scale}.safetensors"), device="cpu")
        assert restorer.sr(image, scale).shape == (21 * scale, 34 * scale, 3)
    filled = Restorer.from_pretrained(str(tmp_path / "mine-inpaint.safetensors"), device="cpu").inpaint(image, hole)
    assert np.array_equal(filled[~hole], image[~hole])
    assert not np.array_equal(filled[hole], image[hole])
    rebuilt = Restorer.from_pretrained(str(tmp_path / "mine-reconstruct.safetensors"), device="cpu").reconstruct(image)
    assert rebuilt.shape == image.shape


def test_a_licence_is_written_into_every_file(finished, tmp_path):
    for path in bundle(finished, "mine", tmp_path, licence="CC0-1.0"):
        assert read_weights(path).provenance == replace(PROVENANCE, family="mine", licence="CC0-1.0")


def test_another_type_can_be_stored(finished, tmp_path):
    bundle(finished, "mine", tmp_path, torch.float32)
    network, _ = load_network((tmp_path / "mine-sr-x4.safetensors",))
    trained = load_file(finished / "sr-x4.safetensors")
    assert all(torch.equal(v, trained[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize(
    "key", ["codebook.books.1.embedding.weight", "codebook.after.0.bias", "decoder.head.conv.bias"]
)
def test_a_task_over_other_shared_parts_is_named_and_nothing_is_written(copied, tmp_path, key):
    path = copied / "sr-x2.safetensors"
    weights = read_weights(path)
    first = (0,) * weights.tensors[key].ndim
    weights.tensors[key][first] = weights.tensors[key][first].nextafter(torch.tensor(9.0))
    write_weights(path, weights)
    with pytest.raises(TrainingError, match=f"task sr-x2 .* 1 tensors differ, such as {key}") as found:
        bundle(copied, "mine", tmp_path / "out")
    assert found.value.path == path
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "key"), [("fused", "codebook.predictor.out.weight"), ("inpaint", "encoder.stem.conv.bias")]
)
@pytest.mark.parametrize("value", [7e4, float("nan")])
def test_values_beyond_16_bits_are_an_error_and_nothing_is_written(copied, tmp_path, name, key, value):
    path = copied / f"{name}.safetensors"
    weights = read_weights(path)
    weights.tensors[key].view(-1)[0] = value
    write_weights(path, weights)
    with pytest.raises(TrainingError, match=f"{key} does not fit float16") as found:
        bundle(copied, "mine", tmp_path / "out")
    assert found.value.path == path
    assert not (tmp_path / "out").exists()


def test_bundle_takes_the_tasks_that_are_there_and_needs_stage_two(copied, tmp_path):
    (copied / "sr-x2.safetensors").unlink()
    assert "mine-sr-x2" not in [path.stem for path in bundle(copied, "mine", tmp_path / "out")]
    shutil.copy(copied / "sr-x4.safetensors", copied / "sr-x2.safetensors")
    with pytest.raises(TrainingError, match="no whole network for sr-x2"):
        bundle(copied, "mine", tmp_path / "other")
    (copied / "fused.safetensors").unlink()
    with pytest.raises(TrainingError, match="is missing"):
        bundle(copied, "mine", tmp_path / "other")


def test_bundle_does_not_overwrite_unless_told(finished, tmp_path):
    (tmp_path / "mine-fused.safetensors").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        bundle(finished, "mine", tmp_path, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine-fused.safetensors"]
    assert len(bundle(finished, "mine", tmp_path)) == 6
