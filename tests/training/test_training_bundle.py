"""A run folder becomes the files of a family: networks bit for bit, a catalogue that serves them, or nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finished_run import PROVENANCE, TASKS, content, save_network, save_run
from safetensors.torch import load_file

from adacode_cli import atomic
from adacode_cli.checkpoints import catalogue_file
from adacode_cli.checkpoints.format import read_weights, write_weights
from adacode_cli.checkpoints.load import load_network
from adacode_cli.engine.restorer import Restorer
from adacode_cli.errors import OutputError, TrainingError, UsageError, WeightsError
from adacode_cli.model.config import DecoderConfig, ResidualConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.training.bundle import DTYPES, bundle

STEMS = ["mine-basis", "mine-fused", "mine-reconstruct", "mine-sr-x2", "mine-sr-x4", "mine-inpaint"]
NAMES = [*(f"{stem}.safetensors" for stem in STEMS), "catalogue.json", "mine.md"]
SOURCES = {"reconstruct": "fused", "sr-x2": "sr-x2", "sr-x4": "sr-x4", "inpaint": "inpaint"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run folder with all tasks. Not to be changed."""
    return save_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def picture(height: int = 21, width: int = 34) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_bundled_tasks_are_the_trained_networks_rounded_once(finished, tmp_path, dtype):
    paths = bundle(finished, "mine", tmp_path / "out", dtype)
    assert [path.name for path in paths] == NAMES
    assert sorted(paths) == sorted((tmp_path / "out").iterdir())
    for name, whole in SOURCES.items():
        network, provenance = load_network((tmp_path / "out" / f"mine-{name}.safetensors",))
        trained = load_file(finished / f"{whole}.safetensors")
        assert network.state_dict().keys() == trained.keys()
        assert all(torch.equal(v, trained[k].to(dtype).float()) for k, v in network.state_dict().items())
        assert network.config == read_weights(finished / f"{whole}.safetensors").config
        assert provenance == replace(PROVENANCE, family="mine")
    stored = [load_file(path) for path in paths[:6]]
    assert {tensor.dtype for tensors in stored for tensor in tensors.values()} == {dtype}
    keys = [key for tensors in stored for key in tensors if key.startswith(("codebook.books.", "decoder."))]
    assert len(keys) == len(set(keys)) > 0  # stored once for all tasks


def test_the_same_run_makes_the_same_bytes(finished, tmp_path):
    for name in ("a", "b"):
        bundle(finished, "mine", tmp_path / name)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_bundled_files_serve_the_restorer(finished, tmp_path):
    bundle(finished, None, tmp_path)
    image = picture()
    hole = np.zeros((21, 34), np.bool_)
    hole[5:9, 7:20] = True
    for scale in (2, 4):
        restorer = Restorer.from_pretrained(str(tmp_path / f"tiny-sr-x{scale}.safetensors"), device="cpu")
        assert restorer.sr(image, scale).shape == (21 * scale, 34 * scale, 3)
    filled = Restorer.from_pretrained(str(tmp_path / "tiny-inpaint.safetensors"), device="cpu").inpaint(image, hole)
    assert np.array_equal(filled[~hole], image[~hole])
    assert not np.array_equal(filled[hole], image[hole])
    rebuilt = Restorer.from_pretrained(str(tmp_path / "tiny-reconstruct.safetensors"), device="cpu").reconstruct(image)
    assert rebuilt.shape == image.shape


def test_the_licence_is_what_was_said_then_that_of_the_files(copied, tmp_path):
    def licences(**options: str) -> set[str]:
        bundle(copied, "mine", tmp_path / "out", **options)
        found = {read_weights(path).provenance.licence for path in (tmp_path / "out").glob("*.safetensors")}
        return found | {entry.licence for entry in catalogue_file.load(tmp_path / "out").entries}

    assert licences(licence="MIT") == {"MIT"}
    assert licences() == {"Apache-2.0"}
    save_network(copied, "sr-x4", replace(PROVENANCE, licence="CC-BY-4.0"))
    # A task is used with the shared parts, whose licence holds for it too.
    assert licences() == {"Apache-2.0", "CC-BY-4.0 AND Apache-2.0"}
    for name in ("fused", *TASKS):
        save_network(copied, name, replace(PROVENANCE, licence=""))
    assert json.loads((copied / "shards.json").read_text())["licence"] == "CC0-1.0", "of the last stage alone"
    assert licences() == {"", "not stated"}
    (copied / "shards.json").unlink()
    assert licences() == {"", "not stated"}


@pytest.mark.parametrize("family", ["", "Mine", "../mine", "a/b", "a--b", "a b"])
def test_a_name_that_no_family_can_have_is_a_usage_error(finished, tmp_path, family):
    with pytest.raises(UsageError, match="cannot be a family's name"):
        bundle(finished, family, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_decoder_of_reconstructions_own_is_in_its_file_and_changes_no_other(finished, copied, tmp_path):
    path = copied / "fused.safetensors"
    weights = read_weights(path)
    config = replace(weights.config, own_decoder=DecoderConfig(1, 1, 0), residual=ResidualConfig())
    own = {k: v for k, v in AdaCode(config).state_dict().items() if k.startswith("own_decoder.")}
    write_weights(path, replace(weights, config=config, tensors=weights.tensors | own))
    bundle(copied, "mine", tmp_path / "out", torch.float32)
    bundle(finished, "mine", tmp_path / "before", torch.float32)
    for stem in ("mine-basis", "mine-fused", "mine-sr-x2", "mine-sr-x4", "mine-inpaint"):
        name = f"{stem}.safetensors"
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()
    network, _ = load_network((tmp_path / "out" / "mine-reconstruct.safetensors",))
    assert network.config == config
    assert all(torch.equal(network.state_dict()[key], tensor) for key, tensor in own.items())
    assert (tmp_path / "out" / "mine-reconstruct.safetensors").stat().st_size > 4 * sum(v.numel() for v in own.values())


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
    message = f"{key} does not fit float16" if value == 7e4 else f"{key} has values that are not finite"
    with pytest.raises((TrainingError, WeightsError), match=message) as found:
        bundle(copied, "mine", tmp_path / "out")
    assert found.value.path == path
    assert not (tmp_path / "out").exists()
    if value == 7e4:  # bf16 has the range of fp32
        assert bundle(copied, "mine", tmp_path / "out", torch.bfloat16)


def test_tasks_that_are_there_are_taken_and_stage_two_is_needed(copied, tmp_path):
    notes: list[str] = []
    (copied / "sr-x2.safetensors").unlink()
    (copied / "inpaint.safetensors").rename(copied / "inpaint.checkpoint")
    (copied / "sr-x4.checkpoint").write_bytes(b"a finished run's state")
    paths = bundle(copied, "mine", tmp_path / "out", on_note=notes.append)
    assert [path.name for path in paths if path.suffix == ".safetensors"] == [NAMES[i] for i in (0, 1, 2, 4)]
    assert notes == [f"left out: {copied / 'inpaint.checkpoint'}: the training of inpaint has not ended"]
    assert [entry.name for entry in catalogue_file.load(tmp_path / "out").entries] == ["mine-reconstruct", "mine-sr-x4"]
    shutil.copy(copied / "sr-x4.safetensors", copied / "sr-x2.safetensors")
    with pytest.raises(TrainingError, match="not hold a whole network for sr-x2"):
        bundle(copied, "mine", tmp_path / "other")
    (copied / "fused.safetensors").rename(copied / "fused.checkpoint")
    with pytest.raises(TrainingError, match="is missing"):
        bundle(copied, "mine", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_run_of_which_only_weights_are_left_is_bundled(tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("fused", *TASKS):
        save_network(tmp_path / "run", name)
    assert [path.name for path in bundle(tmp_path / "run", "mine", tmp_path / "out")] == NAMES


def test_weights_are_written_again_only_on_request(finished, tmp_path):
    (tmp_path / "mine-fused.safetensors").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        bundle(finished, "mine", tmp_path, overwrite=False)
    assert content(tmp_path) == {"mine-fused.safetensors": b"mine"}
    assert [path.name for path in bundle(finished, "mine", tmp_path)] == NAMES


def test_a_card_that_somebody_wrote_is_kept_unless_overwrite_is_set(finished, tmp_path):
    notes: list[str] = []
    (tmp_path / "mine.md").write_text("by hand")
    written = bundle(finished, "mine", tmp_path, overwrite=False, on_note=notes.append)
    assert [path.name for path in written] == NAMES[:-1]
    assert (tmp_path / "mine.md").read_text() == "by hand"
    assert notes == [f"{tmp_path / 'mine.md'} is kept as it is; --overwrite replaces it"]
    assert [path.name for path in bundle(finished, "mine", tmp_path)] == NAMES
    assert (tmp_path / "mine.md").read_text().startswith("# The `mine` weights\n")


def test_a_task_of_an_earlier_bundle_is_not_left_over_other_shared_parts(finished, copied, tmp_path):
    bundle(finished, "mine", tmp_path / "out")
    before = content(tmp_path / "out")
    (copied / "sr-x2.safetensors").unlink()
    with pytest.raises(OutputError, match="another bundle") as caught:
        bundle(copied, "mine", tmp_path / "out")
    assert caught.value.path == tmp_path / "out" / "mine-sr-x2.safetensors"
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize("refused", NAMES)
def test_a_disk_that_refuses_one_file_leaves_all_as_they_were(finished, copied, tmp_path, monkeypatch, refused):
    bundle(finished, "mine", tmp_path / "out")
    before = content(tmp_path / "out")
    # No file name is as long as this temporary one, so that the system itself refuses it.
    named = atomic.sibling
    monkeypatch.setattr(atomic, "sibling", lambda p: p.with_name("x" * 300) if p.name == refused else named(p))
    with pytest.raises(OutputError) as caught:
        bundle(copied, "mine", tmp_path / "out", torch.float32)
    assert caught.value.path == tmp_path / "out" / refused
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize("taken", ["mine-inpaint.safetensors", "mine.md"])
def test_a_folder_under_the_name_of_a_file_is_reported_and_nothing_is_written(finished, tmp_path, taken):
    (tmp_path / taken).mkdir()
    with pytest.raises(OutputError, match="is a folder") as caught:
        bundle(finished, "mine", tmp_path)
    assert caught.value.path == tmp_path / taken
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def test_a_folder_that_cannot_be_made_is_an_output_error(finished, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        bundle(finished, "mine", tmp_path / "file" / "out")
