"""A task's file and its shared parts: which belong together, how a file states it, and what does not matter."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_checkpoints import FAMILY, same_network, tiny_network, write_parts, write_whole

from adacode_cli.checkpoints.average import average, pair
from adacode_cli.checkpoints.format import Provenance, Weights, read_weights, split, write_weights
from adacode_cli.checkpoints.load import WeightsSource, load_network
from adacode_cli.checkpoints.parts import part_digest
from adacode_cli.errors import WeightsError

WEIGHTS = Path(__file__).parents[2] / "weights"


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path, Path]:
    """tiny-basis, tiny-fused and a task of super-resolution that belongs to them."""
    return write_parts(tmp_path, tiny_network("sr", 4), "mine")


def stated(path: Path) -> dict:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["adacode"])


def restate(path: Path, **changes: object) -> None:
    """Changes the metadata of a file; None removes a name. The tensors stay."""
    header = {k: v for k, v in (stated(path) | changes).items() if v is not None}
    save_file(load_file(path), path, {"adacode": json.dumps(header)})


@pytest.mark.parametrize(("number", "what"), [(0, "other codebooks than those"), (1, "another decoder than the one")])
def test_parts_of_another_training_are_refused(files, number, what):
    load_network(files[2:])
    path = files[number]
    part = read_weights(path)
    key = sorted(part.tensors)[0]
    write_weights(path, replace(part, tensors=part.tensors | {key: part.tensors[key] + 1e-3}))
    for given in (files[2:], files):
        with pytest.raises(WeightsError, match=what) as caught:
            load_network(given)
        assert caught.value.path == files[2]
        assert path.name in caught.value.hint
    with pytest.raises(WeightsError, match=what):
        WeightsSource(str(files[2])).shared_files()
    with pytest.raises(WeightsError, match=what):
        average(files[2], files[2], 0.5, files[2].with_name("mean.safetensors"))


def test_how_the_same_values_are_stored_does_not_matter(tmp_path):
    network = tiny_network("sr", 4)
    whole = Weights("whole", network.config, Provenance(family=FAMILY), network.state_dict())
    parts = split(whole, torch.float16)
    for part in ("basis", "fused", "task"):
        write_weights(tmp_path / f"{FAMILY}-{part}.safetensors", parts[part], torch.float16)
    task = tmp_path / f"{FAMILY}-task.safetensors"
    loaded, _ = load_network((task,))
    for part in ("basis", "fused"):
        path = tmp_path / f"{FAMILY}-{part}.safetensors"
        write_weights(path, replace(read_weights(path), provenance=Provenance(family=FAMILY, source="copied")))
    assert same_network(load_network((task,))[0], loaded), "stored as float32, with other metadata"
    assert read_weights(task).parts != split(whole)["task"].parts, "rounded values are others"


def test_a_digest_is_of_names_shapes_and_values():
    one = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([3.0])}
    digest = part_digest(one)
    assert part_digest(dict(reversed(one.items()))) == digest
    assert part_digest({k: v.half() for k, v in one.items()}) == digest
    assert part_digest({k: v.clone(memory_format=torch.contiguous_format).double() for k, v in one.items()}) == digest
    others = (
        one | {"b": torch.tensor([3.0001])},
        {"a": one["a"], "c": one["b"]},
        one | {"a": one["a"].T},
        {"a": one["a"]},
        one | {"b": torch.tensor([3.0, 0.0])},
    )
    assert len({digest, *(part_digest(other) for other in others)}) == len(others) + 1


def test_a_file_of_an_earlier_version_is_read_without_a_check(files):
    restate(files[2], parts=None)
    before, _ = load_network(files[2:])
    basis = read_weights(files[0])
    write_weights(files[0], replace(basis, tensors={k: v + 1 for k, v in basis.tensors.items()}))
    assert not same_network(load_network(files[2:])[0], before)


@pytest.mark.parametrize(
    "damaged", [["basis"], "basis", {"basis": "1" * 63}, {"basis": None, "fused": "2" * 64}, {"basis": "G" * 64}]
)
def test_damaged_digests_are_no_file_of_an_earlier_version(files, damaged):
    restate(files[2], parts=damaged)
    with pytest.raises(WeightsError, match="damaged adacode metadata"):
        read_weights(files[2])


def test_a_part_of_a_later_version_is_ignored(files):
    restate(files[2], parts=stated(files[2])["parts"] | {"later": "0" * 64})
    load_network(files[2:])


def test_means_and_pairs_keep_what_they_belong_to(files, tmp_path):
    other = read_weights(files[2])
    second = tmp_path / "second.safetensors"
    write_weights(second, replace(other, tensors={k: v + 0.01 for k, v in other.tensors.items()}))
    average(files[2], second, 0.5, tmp_path / "mean.safetensors", torch.float16)
    pair(files[2], second, tmp_path / "pair.safetensors")
    restate(files[2], parts=None)  # of an earlier version, but the other one states the parts of both
    average(files[2], second, 0.5, tmp_path / "older.safetensors")
    for name in ("mean", "pair", "older"):
        path = tmp_path / f"{name}.safetensors"
        assert read_weights(path).parts == other.parts, name
        load_network((path,))
    write_whole(tmp_path / "whole.safetensors", load_network((second,))[0], family=FAMILY)
    assert stated(tmp_path / "whole.safetensors").get("parts") is None, "it has its parts"


@pytest.mark.skipif(not (WEIGHTS / "compact-stage2.safetensors").exists(), reason="without bundled weights")
def test_the_bundled_files_state_their_parts():
    tasks = [path for path in sorted(WEIGHTS.glob("compact-*.safetensors")) if "part" in _header(path)]
    parts = {path.stem: read_weights(path) for path in tasks}
    digests = {name: part_digest(parts[f"compact-{name}"].tensors) for name in ("basis", "fused")}
    of_tasks = [weights.parts for weights in parts.values() if weights.part == "task"]
    assert of_tasks == [digests] * 4


def _header(path: Path) -> dict:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata().get("adacode", "{}"))


@pytest.mark.skipif(not (WEIGHTS / "catalogue.json").exists(), reason="without bundled weights")
def test_the_basis_of_another_training_beside_bundled_weights(tmp_path):
    """As files of two downloads get mixed: the same names, keys and shapes."""
    for name in ("basis", "fused", "stage2"):
        shutil.copy(WEIGHTS / f"compact-{name}.safetensors", tmp_path)
    basis = tmp_path / "compact-basis.safetensors"
    weights = read_weights(basis)
    moved = {key: tensor.roll(1, 0) for key, tensor in weights.tensors.items()}
    write_weights(basis, replace(weights, tensors=moved), torch.float16)
    with pytest.raises(WeightsError, match="was trained with other codebooks"):
        load_network((tmp_path / "compact-stage2.safetensors",))
