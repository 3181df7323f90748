"""One whole file of the parts of a family: the same network, and all that its parts say of themselves."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from skimage import data

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from small_checkpoints import FAMILY, same_network, tiny_network, trunk_network, write_parts

from adacode_cli import Restorer
from adacode_cli.checkpoints.format import (
    CONFIG_TENSOR,
    METADATA_KEY,
    Provenance,
    Weights,
    read_weights,
    split,
    stored_dtype,
    to_bytes,
    write_file,
    write_weights,
)
from adacode_cli.checkpoints.load import WeightsSource, load_network
from adacode_cli.errors import UsageError, WeightsError
from adacode_cli.export import whole
from adacode_cli.export.whole import at_strength, whole_of, write_whole
from adacode_cli.model.ranges import Filters, InputRange

OWN = Path("own.safetensors")


def exported(source: str, target: Path) -> Path:
    write_whole(whole_of(WeightsSource(source)), target)
    return target


@pytest.mark.parametrize("task", ["sr", "inpaint", "reconstruct"])
def test_the_parts_of_a_family_become_one_file(tmp_path, task):
    network = tiny_network(task, 4 if task == "sr" else 1)
    (tmp_path / "family").mkdir()
    *_, own = write_parts(tmp_path / "family", network, "task")
    target = exported(str(own), tmp_path / "whole.safetensors")
    # Alone in its folder: no shared part lies beside it.
    assert same_network(load_network((target,))[0], network)
    assert read_weights(target).part == "whole"


def test_ranges_and_values_that_keep_noise_stay_bit_for_bit(tmp_path):
    network = trunk_network()
    state = network.state_dict()
    faithful = {key: state[key] * 0.5 for key in ("trunk.body.0.weight", "trunk.body.0.bias")}
    channels, conv = network.trunk.body[2].in_channels, network.trunk.body[2]
    filters = Filters(conv.weight.detach() * 1.01, conv.bias.detach() * 0.9)
    ranges = {"trunk.body.2": InputRange(torch.linspace(0.1, 0.2, channels), 7, filters)}
    weights = Weights("whole", network.config, Provenance(family=FAMILY), state, faithful, ranges, 47.5)
    parts = split(weights)
    for part, one in parts.items():
        write_weights(tmp_path / f"{FAMILY if part != 'task' else 'own'}-{part}.safetensors", one)
    target = exported(str(tmp_path / "own-task.safetensors"), tmp_path / "whole.safetensors")
    stored, written = load_file(tmp_path / "own-task.safetensors"), load_file(target)
    assert {"faithful.trunk.body.0.weight", "int8.trunk.body.2.weight", "int8.trunk.body.2.steps"} <= stored.keys()
    assert all(torch.equal(stored[key], written[key]) for key in stored)
    assert read_weights(target).int8_psnr_db == 47.5
    for strength in (0.0, 0.4, 1.0):
        ours, _ = load_network((target,), strength)
        theirs, _ = load_network((tmp_path / "own-task.safetensors",), strength)
        assert same_network(ours, theirs)


def test_one_strength_of_noise_removal(tmp_path):
    network = trunk_network()
    state = network.state_dict()
    faithful = {"trunk.body.0.weight": state["trunk.body.0.weight"] * 0.5}
    ranges = {"trunk.body.2": InputRange(torch.ones(8), 0)}
    weights = Weights("whole", network.config, Provenance(), state, faithful, ranges, 47.5)
    write_weights(tmp_path / "a.safetensors", weights)
    found = whole_of(WeightsSource(str(tmp_path / "a.safetensors")))
    assert at_strength(found, 1) is found
    for strength, factor in ((0.0, 0.5), (0.5, 0.75)):
        chosen = at_strength(found, strength).weights
        assert torch.allclose(chosen.tensors["trunk.body.0.weight"], state["trunk.body.0.weight"] * factor)
        assert (chosen.faithful, chosen.ranges, chosen.int8_psnr_db) == ({}, {}, None)
        assert chosen.tensors.keys() == state.keys()
    without = whole.Whole(replace(weights, faithful={}), (OWN,), torch.float32)
    with pytest.raises(WeightsError, match="one strength") as raised:
        at_strength(without, 0.5)
    assert raised.value.path == OWN
    far = {"trunk.body.0.weight": torch.full_like(state["trunk.body.0.weight"], 3e38)}
    other = state | {"trunk.body.0.weight": -far["trunk.body.0.weight"]}
    infinite = whole.Whole(replace(weights, tensors=other, faithful=far), (OWN,), torch.float32)
    with pytest.raises(WeightsError, match="not finite"):
        at_strength(infinite, 0.5)


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ((torch.float16,) * 3, torch.float16),
        ((torch.bfloat16,) * 3, torch.bfloat16),
        ((torch.float16, torch.float16, torch.bfloat16), torch.float32),
        ((torch.float32, torch.float16, torch.float16), torch.float32),
    ],
)
def test_no_value_changes_whatever_type_the_parts_have(tmp_path, dtypes, expected):
    network = tiny_network("reconstruct")
    parts = split(Weights("whole", network.config, Provenance(family=FAMILY), network.state_dict()))
    parts["task"] = replace(parts["task"], parts={})  # its digests are of parts of one type
    for (part, one), dtype in zip(parts.items(), dtypes, strict=True):
        write_weights(tmp_path / f"{FAMILY if part != 'task' else 'own'}-{part}.safetensors", one, dtype)
    before, _ = load_network((tmp_path / "own-task.safetensors",))
    target = exported(str(tmp_path / "own-task.safetensors"), tmp_path / "whole.safetensors")
    assert stored_dtype(target) == expected
    assert same_network(load_network((target,))[0], before)


def test_training_data_and_licences_of_all_parts_are_named(tmp_path):
    network = tiny_network("sr", 4)
    provenance = Provenance(family=FAMILY, trained_on="my photographs", licence="MIT", source="me", recipe="{}")
    parts = split(Weights("whole", network.config, provenance, network.state_dict()))
    other = replace(provenance, trained_on="other photographs", licence="CC0-1.0", source="somebody")
    for part, one in parts.items():
        own = part == "task"
        path = tmp_path / f"{'own' if own else FAMILY}-{part}.safetensors"
        write_weights(path, one if own else replace(one, provenance=other))
    target = exported(str(tmp_path / "own-task.safetensors"), tmp_path / "whole.safetensors")
    found = read_weights(target).provenance
    assert (found.trained_on, found.licence) == ("my photographs; other photographs", "MIT AND CC0-1.0")
    assert (found.family, found.source, found.recipe) == (FAMILY, "me", "{}")


def test_the_bundled_family_gives_the_same_pictures_from_one_file(tmp_path):
    image = data.astronaut()[100:148, 200:252]
    target = exported("compact-sr-x4", tmp_path / "sr.safetensors")
    ours, family = (Restorer.from_pretrained(name, device="cpu") for name in (str(target), "compact"))
    for scale, denoise in ((4, 1.0), (2, 1.0), (4, 0.3)):
        pair = [one.sr(image, scale, denoise=denoise) for one in (ours, family)]
        assert np.array_equal(*pair)


def test_the_shared_part_of_a_family_is_no_task(tmp_path):
    basis, *_ = write_parts(tmp_path, tiny_network("reconstruct"), "own")
    with pytest.raises(WeightsError, match="holds only the basis part"):
        whole_of(WeightsSource(str(basis)))


def test_a_family_of_several_tasks_is_asked_for_one():
    with pytest.raises(UsageError, match="several tasks") as raised:
        whole_of(WeightsSource("compact"))
    assert "compact-inpaint" in raised.value.hint


def test_parts_that_do_not_fit_one_another_are_refused(tmp_path):
    *_, own = write_parts(tmp_path, tiny_network("reconstruct"), "own")
    write_parts(tmp_path, tiny_network("reconstruct", decoder_depth=1), "other")
    with pytest.raises(WeightsError, match="trained with another decoder"):
        whole_of(WeightsSource(str(own)))


def whole_file(path: Path) -> Path:
    network = tiny_network("reconstruct")
    weights = Weights("whole", network.config, Provenance(), network.state_dict())
    write_file(path, to_bytes(weights, with_config=True))
    return path


def changed(path: Path, **tensors: torch.Tensor) -> None:
    """The file with other tensors and the same metadata."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({**load_file(path), **tensors}, path, metadata)


def test_the_configuration_among_the_tensors_is_that_of_the_metadata(tmp_path):
    path = whole_file(tmp_path / "a.safetensors")
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()[METADATA_KEY])
        text = bytes(file.get_tensor(CONFIG_TENSOR).tolist()).decode()
    assert json.loads(text) == header["config"]
    assert path.read_bytes() == to_bytes(read_weights(path), with_config=True)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.tensor(list(b"not JSON"), dtype=torch.uint8), "damaged configuration"),
        (torch.tensor([200, 201], dtype=torch.uint8), "damaged configuration"),
        (torch.zeros(2, 3, dtype=torch.uint8), "damaged configuration"),
        (torch.zeros(8), "values of the type|damaged configuration"),
        (torch.tensor([123, 125], dtype=torch.uint8), "cannot be read"),
        (torch.tensor([49], dtype=torch.uint8), "damaged configuration"),
        (torch.tensor(list(b"[" * 99999), dtype=torch.uint8), "damaged configuration"),
    ],
)
def test_a_damaged_configuration_among_the_tensors_is_refused(tmp_path, tensor, message):
    path = whole_file(tmp_path / "a.safetensors")
    changed(path, **{CONFIG_TENSOR: tensor})
    with pytest.raises(WeightsError, match=message) as raised:
        read_weights(path)
    assert raised.value.path == path


def test_another_configuration_among_the_tensors_is_refused(tmp_path):
    path = whole_file(tmp_path / "a.safetensors")
    other = json.dumps(replace(read_weights(path).config, softmax=True).to_dict())
    changed(path, **{CONFIG_TENSOR: torch.tensor(list(other.encode()), dtype=torch.uint8)})
    with pytest.raises(WeightsError, match="another configuration among its tensors"):
        read_weights(path)
