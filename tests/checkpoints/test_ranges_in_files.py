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
from adacode_cli.model.ranges import Filters, InputRange, whole_weight
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


def filtered(name, seed):
    """The range of RANGES with filters of their own, of the size of the convolution."""
    random = torch.Generator().manual_seed(seed)
    shapes = (SHARED[f"{name}.weight"].shape, SHARED[f"{name}.bias"].shape)
    return replace(RANGES[name], filters=Filters(*(torch.randn(shape, generator=random) for shape in shapes)))


FILTERED = RANGES | {"trunk.join": filtered("trunk.join", 1)}


@pytest.fixture
def filters_path(path, tmp_path):
    """As `path`, and trunk.join has filters."""
    out = tmp_path / "filters.safetensors"
    write_weights(out, replace(read_weights(path), ranges=FILTERED), torch.float16)
    return out


def same_filters(found):
    """Whether ranges are those of FILTERED, whose weight a file has in whole numbers."""
    own, wanted = found["trunk.join"].filters, FILTERED["trunk.join"].filters
    (whole, factor), (wanted_whole, wanted_factor) = (
        whole_weight(one.weight_OIHW, FILTERED["trunk.join"]) for one in (own, wanted)
    )
    return (
        same(found, RANGES)
        and found["trunk.body.2"].filters is None
        and torch.equal(whole, wanted_whole)
        and torch.allclose(factor, wanted_factor, rtol=1e-6, atol=0)
        and torch.equal(own.bias_O, wanted.bias_O)
    )


JOIN = "int8.trunk.join."


def test_filters_are_whole_numbers_in_a_file_whatever_its_weights_are_stored_as(path, filters_path):
    stored = load_file(filters_path)
    whole, factor = whole_weight(FILTERED["trunk.join"].filters.weight_OIHW, FILTERED["trunk.join"])
    assert stored[JOIN + "weight"].dtype == torch.int8
    assert torch.equal(stored[JOIN + "weight"], whole)
    assert torch.equal(stored[JOIN + "factor"], factor.flatten())
    assert torch.equal(stored[JOIN + "bias"], FILTERED["trunk.join"].filters.bias_O)
    added = stored.keys() - load_file(path).keys()
    assert added == {JOIN + end for end in ("weight", "factor", "bias")}
    assert stored_dtype(filters_path) == torch.float16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_filters_survive_reading_and_writing_again(filters_path, tmp_path, dtype):
    once = read_weights(filters_path)
    assert same_filters(once.ranges)
    write_weights(tmp_path / "again.safetensors", once, dtype)
    network, _ = load_network((tmp_path / "again.safetensors",))
    assert same_filters(network.ranges)
    assert same_filters(halved(network).ranges)
    assert same_filters(split(once)["task"].ranges)


def test_a_network_with_filters_is_the_same_in_float32(path, filters_path):
    assert same_network(load_network((filters_path,))[0], load_network((path,))[0])


def test_a_mean_has_no_filters_and_a_pair_those_of_its_clean_end(filters_path, tmp_path):
    other, mean = tmp_path / "beside.safetensors", tmp_path / "mean.safetensors"
    for share, pairs in ((0.5, (filters_path, other)), (0.5, (other, filters_path)), (1.0, (filters_path, other))):
        average(*pairs, share, mean, overwrite=True)
        assert not any(key.startswith("int8.") for key in load_file(mean))
    pair(filters_path, other, tmp_path / "pair.safetensors")
    assert same_filters(load_network((tmp_path / "pair.safetensors",))[0].ranges)
    assert load_network((tmp_path / "pair.safetensors",), 0.5)[0].ranges == {}
    pair(other, filters_path, tmp_path / "turned.safetensors")
    assert read_weights(tmp_path / "turned.safetensors").ranges == {}


EIGHT = torch.ones(8, 8, 3, 3, dtype=torch.int8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({JOIN + end: None}, "incomplete filters in 8 bits for trunk.join") for end in ("weight", "factor", "bias")),
        ({JOIN + "steps": None}, "incomplete range for trunk.join"),
        ({JOIN + "zero": None}, "incomplete range for trunk.join"),
        ({JOIN + "weight": EIGHT[:, :7].contiguous()}, "incomplete filters in 8 bits for trunk.join"),
        ({JOIN + "weight": EIGHT[0].contiguous()}, "incomplete filters in 8 bits for trunk.join"),
        ({JOIN + "weight": torch.ones(8, 8, 5, 5, dtype=torch.int8)}, "filters in 8 bits for trunk.join of another"),
        ({JOIN + "factor": torch.ones(8, 1, 1, 1)}, "incomplete filters in 8 bits for trunk.join"),
        ({JOIN + "factor": torch.ones(7)}, "incomplete filters in 8 bits for trunk.join"),
        ({JOIN + "bias": torch.ones(7)}, "filters in 8 bits for trunk.join of another size"),
        ({JOIN + "factor": torch.full((8,), torch.nan)}, "not finite"),
        ({JOIN + "factor": torch.zeros(8)}, "filters in 8 bits for trunk.join with a factor that is not positive"),
        ({JOIN + "factor": torch.full((8,), -0.01)}, "with a factor that is not positive"),
        ({JOIN + "bias": torch.full((8,), torch.nan)}, "not finite"),
        ({JOIN + "bias": torch.full((8,), -torch.inf)}, "not finite"),
        ({JOIN + "factor": torch.full((8,), 1e38)}, "filters in 8 bits for trunk.join with values that are not finite"),
        ({JOIN + "bias": torch.ones(8, dtype=torch.int8)}, "bias has values of the type int8"),
        ({JOIN + "steps": torch.ones(8, dtype=torch.int8)}, "steps has values of the type int8"),
        ({"trunk.join.weight": EIGHT}, "trunk.join.weight has values of the type int8"),
        ({"faithful.trunk.join.weight": EIGHT}, "faithful.trunk.join.weight has values of the type int8"),
        ({JOIN + "weight": EIGHT.int()}, "weight has values of the type int32"),
        ({JOIN + "weight": EIGHT.view(torch.uint8)}, "weight has values of the type uint8"),
        ({"int8.trunk.weight": EIGHT}, "incomplete range for trunk"),
        ({f"int8.encoder.stem.conv.{end}": torch.ones(8) for end in ("weight", "factor")}, "incomplete range for enc"),
    ],
)
def test_damaged_filters_are_refused_with_the_file(filters_path, change, message):
    with pytest.raises(WeightsError, match=message) as error:
        load_network((damaged(filters_path, **change),))
    assert str(filters_path) in str(error.value)
    assert error.value.exit_code == 4
