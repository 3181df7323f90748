"""Ranges for 8 bits in files of weights: kept to the bit, dropped where they no longer hold, refused where damaged."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_checkpoints import same_network, trunk_network, write_whole

from adacode_cli.checkpoints.average import average, pair
from adacode_cli.checkpoints.format import read_weights, split, stored_dtype, write_weights
from adacode_cli.checkpoints.load import load_network
from adacode_cli.errors import WeightsError
from adacode_cli.model.ranges import InputRange
from adacode_cli.model.rescaling import halved

SHARED = trunk_network().state_dict()
RANGES = {
    "trunk.body.2": InputRange(torch.tensor([0.1, 1e-7, 3.0, 0.25, 1 / 3, 2.0, 0.7, 100.0]), 131),
    "trunk.join": InputRange(torch.full((8,), 0.013), 0),
}


def same(found, wanted):
    return found.keys() == wanted.keys() and all(
        found[k].zero == wanted[k].zero and torch.equal(found[k].steps_C, wanted[k].steps_C) for k in wanted
    )


@pytest.fixture
def path(tmp_path):
    """A whole network with ranges; beside.safetensors is another network of the same shape, without."""
    write_whole(tmp_path / "plain.safetensors", trunk_network(4, SHARED, 1))
    other = write_whole(tmp_path / "beside.safetensors", trunk_network(4, SHARED, 2))
    write_weights(other, read_weights(other), torch.float16)
    out = tmp_path / "ranged.safetensors"
    ranged = replace(read_weights(tmp_path / "plain.safetensors"), ranges=RANGES, int8_psnr_db=46.25)
    write_weights(out, ranged, torch.float16)
    return out


def test_a_file_keeps_ranges_to_the_bit_whatever_its_weights_are_stored_as(path):
    assert same(read_weights(path).ranges, RANGES)
    assert stored_dtype(path) == torch.float16
    network, _ = load_network((path,))
    assert same(network.ranges, RANGES)
    assert same(halved(network).ranges, RANGES)
    assert read_weights(path).int8_psnr_db == network.int8_psnr_db == halved(network).int8_psnr_db == 46.25


def test_weights_with_ranges_are_the_same_weights(path, tmp_path):
    plain = read_weights(tmp_path / "plain.safetensors")
    write_weights(tmp_path / "half.safetensors", plain, torch.float16)
    half, _ = load_network((tmp_path / "half.safetensors",))
    assert half.ranges == {}
    assert half.int8_psnr_db is None
    assert same_network(half, load_network((path,))[0])


def test_ranges_belong_to_the_task(path):
    parts = split(read_weights(path))
    assert same(parts["task"].ranges, RANGES)
    assert parts["basis"].ranges == parts["fused"].ranges == {}
    assert [parts[part].int8_psnr_db for part in ("basis", "fused", "task")] == [None, None, 46.25]


def test_a_mean_has_none_and_a_pair_those_of_its_clean_end(path, tmp_path):
    other = tmp_path / "beside.safetensors"
    average(path, other, 0.5, tmp_path / "mean.safetensors")
    mean = read_weights(tmp_path / "mean.safetensors")
    assert (mean.ranges, mean.int8_psnr_db) == ({}, None)
    pair(path, other, tmp_path / "pair.safetensors")
    for strength, ranges, psnr_db in ((1.0, RANGES, 46.25), (0.5, {}, None), (0.0, {}, None)):
        network, _ = load_network((tmp_path / "pair.safetensors",), strength)
        assert same(network.ranges, ranges)
        assert network.int8_psnr_db == psnr_db


@pytest.mark.parametrize(
    ("stated", "found"),
    [(None, None), (45, 45.0), (-3.5, -3.5), *((wrong, "damaged") for wrong in ("46", True, [46], math.inf))],
)
def test_a_file_that_does_not_state_how_near_its_images_are_is_read_and_a_false_statement_is_refused(
    path, stated, found
):
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["adacode"])
    header["int8_psnr_db"] = stated
    save_file(load_file(path), path, {"adacode": json.dumps(header if stated is not None else without(header))})
    if found == "damaged":
        with pytest.raises(WeightsError, match="damaged adacode metadata"):
            read_weights(path)
        return
    weights = read_weights(path)
    assert weights.int8_psnr_db == found
    assert same(weights.ranges, RANGES)


def without(header):
    return {key: value for key, value in header.items() if key != "int8_psnr_db"}


def damaged(path, **changes):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = {key: value for key, value in (load_file(path) | changes).items() if value is not None}
    save_file(tensors, path, metadata)
    return path


STEPS, ZERO = "int8.trunk.join.steps", "int8.trunk.join.zero"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({ZERO: None}, "incomplete range for trunk.join"),
        ({STEPS: None}, "incomplete range for trunk.join"),
        ({ZERO: torch.tensor(0.5)}, "incomplete range for trunk.join"),
        ({ZERO: torch.zeros(2)}, "incomplete range for trunk.join"),
        ({ZERO: torch.tensor(300.0)}, "zero 300"),
        ({STEPS: torch.zeros(8)}, "step that is not positive"),
        ({STEPS: torch.ones(7)}, "another number of channels"),
        ({STEPS: torch.ones(8, 1)}, "another number of channels"),
        ({STEPS: torch.full((8,), torch.nan)}, "not finite"),
        ({"int8.trunk.steps": torch.ones(8), "int8.trunk.zero": torch.tensor(3.0)}, "no convolution"),
        ({"int8.x": torch.ones(8)}, "incomplete range"),
    ],
)
def test_damaged_ranges_are_refused_with_the_file(path, change, message):
    with pytest.raises(WeightsError, match=message) as error:
        load_network((damaged(path, **change),))
    assert str(path) in str(error.value)
