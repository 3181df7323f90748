"""Files become networks, or an error that names file and keys."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from small_checkpoints import FAMILY, same_network, tiny_network, trunk_network, write_parts, write_whole

from adacode_cli.checkpoints.average import average
from adacode_cli.checkpoints.format import Provenance, Weights, read_weights, split, write_weights
from adacode_cli.checkpoints.load import build, load_network
from adacode_cli.checkpoints.soundness import key_problems, listing
from adacode_cli.errors import WeightsError
from adacode_cli.model.config import SwinConfig, TrunkConfig


@pytest.fixture(params=[("reconstruct", 1), ("sr", 4), ("inpaint", 1)], ids=lambda p: p[0])
def network(request):
    return tiny_network(*request.param)


@pytest.fixture
def paths(network, tmp_path):
    return write_parts(tmp_path, network, "own-name")


def refused(*paths):
    with pytest.raises(WeightsError) as caught:
        load_network(paths)
    assert caught.value.hint
    return caught.value


def test_three_parts_make_the_whole(network, paths, tmp_path):
    together, provenance = load_network(paths)
    whole, _ = load_network((write_whole(tmp_path / "whole.safetensors", network),))
    assert same_network(together, network)
    assert same_network(whole, network)
    assert provenance.family == FAMILY
    assert not together.training
    assert not any(p.requires_grad for p in together.parameters())


def test_a_task_finds_its_shared_parts_beside_it(network, paths):
    alone, _ = load_network(paths[-1:])
    assert same_network(alone, network)


def test_shared_parts_that_are_missing_are_named(paths):
    paths[0].unlink()
    error = refused(paths[-1])
    assert (error.path, error.message) == (
        paths[-1],
        f"is one part of a family; {FAMILY}-basis.safetensors must be in the same folder",
    )
    paths[1].unlink()
    assert f"{FAMILY}-basis.safetensors and {FAMILY}-fused.safetensors must be in" in refused(paths[-1]).message


@pytest.mark.parametrize("family", ["", "../elsewhere", "/etc/tiny", "a\0b", "."])
def test_a_familys_name_does_not_lead_out_of_the_folder(family, network, paths):
    task = read_weights(paths[-1])
    write_weights(paths[-1], Weights("task", task.config, Provenance(family=family), task.tensors))
    if family == "../elsewhere":
        for path in paths[:2]:
            shutil.copy(path, path.parent.parent / path.name.replace(FAMILY, "elsewhere"))
    assert "must be in the same folder" in refused(paths[-1]).message


@pytest.mark.parametrize("n", [0, 1])
def test_a_shared_part_is_no_network(paths, n):
    error = refused(paths[n])
    assert error.path == paths[n]
    assert error.message == f"holds only the {('basis', 'fused')[n]} part of a family"
    assert refused(paths[2], paths[n]).path == paths[n]


def test_a_part_too_few_is_reported_by_its_keys(paths):
    error = refused(paths[0], paths[2])
    assert error.path == paths[2]
    assert error.message.startswith("missing keys: codebook.after.0.bias, codebook.after.0.weight, ")
    assert refused(paths[1], paths[2]).message == (
        "missing keys: codebook.books.0.embedding.weight, codebook.books.1.embedding.weight"
    )


def test_a_part_twice_is_reported_by_file_and_keys(network, paths, tmp_path):
    error = refused(paths[0], paths[1], paths[0], paths[2])
    assert error.path == paths[0]
    assert error.message.startswith("repeats tensors of another part: codebook.books.0.embedding.weight, ")
    whole = write_whole(tmp_path / "whole.safetensors", network)
    assert refused(paths[1], whole).path == whole


def test_parts_of_two_families_do_not_mix(network, paths, tmp_path):
    (tmp_path / "b").mkdir()
    more = tiny_network("reconstruct", codebooks=((7, 4), (5, 4), (5, 4)))
    others = write_parts(tmp_path / "b", more, "other")
    error = refused(others[0], paths[1], paths[2])
    assert error.message == f"was trained with other codebooks than those in {others[0]}"
    older = read_weights(paths[2])
    write_weights(paths[2], replace(older, parts={}))
    error = refused(others[0], paths[1], paths[2])
    assert error.message == (
        "unexpected keys: codebook.books.2.embedding.weight; wrong shapes: codebook.books.0.embedding.weight"
    )
    assert "belong together" in error.hint


def test_the_part_that_is_damaged_is_named(paths):
    paths[1].write_bytes(paths[1].read_bytes()[:-5])
    assert refused(*paths).path == paths[1]
    assert refused(paths[2]).path == paths[1]


def test_one_wrong_tensor_of_a_whole_file_is_named(network, tmp_path):
    path = tmp_path / "whole.safetensors"
    state = network.state_dict()
    key = "decoder.head.conv.bias"
    for changed, message in (
        ({k: v for k, v in state.items() if k != key}, f"missing keys: {key}"),
        ({**state, "decoder.extra": torch.ones(1)}, "unexpected keys: decoder.extra"),
        ({**state, key: torch.ones(5)}, f"wrong shapes: {key}"),
    ):
        write_weights(path, Weights("whole", network.config, Provenance(), changed))
        error = refused(path)
        assert (error.path, error.message) == (path, message)
        with pytest.raises(WeightsError, match=message.replace(".", r"\.")):
            build(network.config, changed, path)


@pytest.mark.parametrize(
    "change",
    [
        {"trunk": TrunkConfig(10**6, 2, 3)},
        {"channels": (10**9, 10**9)},
        {"encoder_depth": 10**6},
        {"codebooks": ((10**6, 10**6), (5, 4))},
        {"encoder_swin": SwinConfig(10**6, 2, 2, 4)},
        {"encoder_swin": SwinConfig(1, 10**7, 2, 4)},
        {"encoder_swin": SwinConfig(1, 2, 2, 4, 10**7)},
    ],
    ids=str,
)
def test_a_file_does_not_choose_how_large_a_network_is_built(change, tmp_path):
    network, path = trunk_network(), tmp_path / "large.safetensors"
    config = replace(network.config, **change)
    write_weights(path, Weights("whole", config, Provenance(), network.state_dict()))
    assert "fewer values than the network that it describes" in refused(path).message
    with pytest.raises(WeightsError, match="fewer values"):
        average(path, path, 0.5, tmp_path / "out.safetensors")


def test_tasks_of_a_family_share_files(tmp_path):
    """Stage III keeps books, after-quant convolutions and decoder, so one copy of them serves all."""
    first = tiny_network("reconstruct")
    write_parts(tmp_path, first, "tiny-reconstruct")
    for task, scale in (("sr", 2), ("inpaint", 1)):
        network = tiny_network(task, scale, shared=first.state_dict())
        own = split(Weights("whole", network.config, Provenance(family=FAMILY), network.state_dict()))["task"]
        write_weights(tmp_path / f"{task}.safetensors", own)
        loaded, _ = load_network((tmp_path / f"{task}.safetensors",))
        assert same_network(loaded, network)


def test_problems_are_listed_in_order_and_counted():
    ones = {name: torch.ones(2) for name in "dcba"}
    assert key_problems(ones, ones) == ""
    assert key_problems(ones, {"a": torch.ones(3), "z": torch.ones(2)}) == (
        "missing keys: b, c, d; unexpected keys: z; wrong shapes: a"
    )
    assert listing(list("cab"), most=2) == "a, b and 1 more"
