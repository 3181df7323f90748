"""One file with the values of two networks, and every strength in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_checkpoints import same_network, start_tensors, tiny_network, trunk_network, write_parts, write_whole

from adacode_cli.checkpoints.average import average, pair
from adacode_cli.checkpoints.format import read_weights, split, write_weights
from adacode_cli.checkpoints.load import WeightsSource, load_network
from adacode_cli.errors import OutputError, UsageError, WeightsError

SHARED = trunk_network().state_dict()
BASE = {"name": "realesr-general-wdn-x4v3", "source": "xinntao/Real-ESRGAN", "licence": "BSD-3-Clause"}


@pytest.fixture
def ends(tmp_path) -> tuple[Path, Path]:
    """Two networks of one shape; nothing but their trunks and encoders differs."""
    clean, faithful = (trunk_network(4, SHARED, seed) for seed in (1, 2))
    return write_whole(tmp_path / "clean.safetensors", clean), write_whole(tmp_path / "faithful.safetensors", faithful)


def test_the_ends_are_the_two_networks_to_the_bit(ends, tmp_path):
    out = tmp_path / "new" / "pair.safetensors"
    differing, alike = pair(*ends, out)
    assert differing > 0
    assert alike > 0
    assert differing + alike == len(load_file(ends[0]))
    for strength, end in ((1.0, ends[0]), (0.0, ends[1])):
        assert same_network(load_network((out,), strength)[0], load_network((end,))[0])
    assert same_network(load_network((out,))[0], load_network((ends[0],))[0])


@pytest.mark.parametrize("strength", [0.25, 0.5, 0.9])
def test_in_between_the_values_are_the_mean(ends, tmp_path, strength):
    pair(*ends, tmp_path / "pair.safetensors")
    average(*ends, strength, tmp_path / "mean.safetensors")
    between = load_network((tmp_path / "pair.safetensors",), strength)[0].state_dict()
    mean = load_network((tmp_path / "mean.safetensors",))[0].state_dict()
    assert all(torch.allclose(tensor, mean[key], atol=1e-6) for key, tensor in between.items())


def test_a_network_of_real_esrgan_lends_its_values_to_the_trunk(ends, tmp_path):
    start = tmp_path / "wdn.safetensors"
    save_file(start_tensors(5), start, BASE)
    num = len(start_tensors(5))
    assert pair(ends[0], start, tmp_path / "pair.safetensors") == (num, len(load_file(ends[0])) - num)
    kept = load_network((tmp_path / "pair.safetensors",), 0.0)[0].state_dict()
    clean = load_file(ends[0])
    for key, tensor in kept.items():
        body = key.removeprefix("trunk.")
        assert torch.equal(tensor, start_tensors(5).get(body, clean[key]) if key.startswith("trunk.") else clean[key])
    provenance = read_weights(tmp_path / "pair.safetensors").provenance
    assert provenance.base_model == "realesr-general-wdn-x4v3 (BSD-3-Clause, xinntao/Real-ESRGAN)"
    assert provenance.base_licence == "BSD-3-Clause"
    assert provenance.source == "clean.safetensors; with --denoise 0 wdn.safetensors"


def test_the_file_of_a_task_is_paired_too_and_parts_keep_both(tmp_path):
    clean, faithful = (trunk_network(4, SHARED, seed) for seed in (1, 2))
    task = write_parts(tmp_path, clean, "tiny-sr-x4")[-1]
    other = write_whole(tmp_path / "faithful.safetensors", faithful)
    pair(write_whole(tmp_path / "clean.safetensors", clean, family="tiny"), other, tmp_path / "pair.safetensors")
    own = split(read_weights(tmp_path / "pair.safetensors"))
    assert not own["basis"].faithful
    assert not own["fused"].faithful
    assert own["task"].faithful.keys() <= own["task"].tensors.keys()
    write_weights(task, own["task"])
    assert same_network(load_network((task,), 0.0)[0], faithful)


@pytest.mark.parametrize("first", [True, False])
def test_both_ends_have_a_mean(ends, tmp_path, first):
    """A file with one set of values has those at both ends."""
    third = write_whole(tmp_path / "third.safetensors", trunk_network(4, SHARED, 3))
    pair(*ends, tmp_path / "pair.safetensors")
    files = (tmp_path / "pair.safetensors", third)
    average(*(files if first else files[::-1]), 0.5, tmp_path / "out.safetensors")
    for strength, end in ((1.0, ends[0]), (0.0, ends[1])):
        average(end, third, 0.5, tmp_path / "mean.safetensors", overwrite=True)
        made = load_network((tmp_path / "out.safetensors",), strength)[0].state_dict()
        mean = load_network((tmp_path / "mean.safetensors",))[0].state_dict()
        assert all(torch.allclose(tensor, mean[key], atol=1e-6) for key, tensor in made.items())


def test_a_whole_share_of_the_other_file_leaves_no_pair(ends, tmp_path):
    pair(*ends, tmp_path / "pair.safetensors")
    average(tmp_path / "pair.safetensors", ends[0], 0, tmp_path / "out.safetensors")
    assert not read_weights(tmp_path / "out.safetensors").faithful
    average(tmp_path / "pair.safetensors", ends[0], 1, tmp_path / "all.safetensors")
    assert same_network(load_network((tmp_path / "all.safetensors",), 0.0)[0], load_network((ends[1],))[0])


def test_the_end_of_a_pair_can_be_paired_again(ends, tmp_path):
    third = write_whole(tmp_path / "third.safetensors", trunk_network(4, SHARED, 3))
    pair(*ends, tmp_path / "one.safetensors")
    pair(third, tmp_path / "one.safetensors", tmp_path / "two.safetensors")
    for strength, end in ((1.0, third), (0.0, ends[1])):
        assert same_network(load_network((tmp_path / "two.safetensors",), strength)[0], load_network((end,))[0])


def test_what_cannot_be(ends, tmp_path):
    out = tmp_path / "out.safetensors"
    save_file(start_tensors(5), tmp_path / "start.safetensors", BASE)
    with pytest.raises(WeightsError, match="cannot hold a second set") as caught:
        pair(tmp_path / "start.safetensors", ends[0], out)
    assert caught.value.path == tmp_path / "start.safetensors"
    with pytest.raises(WeightsError, match="has the same values as"):
        pair(ends[0], ends[0], out)
    with pytest.raises(WeightsError, match="other network"):
        pair(ends[0], write_whole(tmp_path / "x2.safetensors", trunk_network(2, SHARED)), out)
    with pytest.raises(OutputError, match="one of the files"):
        pair(*ends, ends[1], overwrite=True)
    with pytest.raises(OutputError, match="the file name is too long"):
        pair(*ends, tmp_path / f"{'a' * 300}.safetensors")
    with pytest.raises(WeightsError, match="is a directory"):
        pair(tmp_path, ends[1], out)
    assert not out.exists()
    with pytest.raises(WeightsError, match="one strength of noise removal only") as caught:
        load_network((ends[0],), 0.5)
    assert caught.value.path == ends[0]
    pair(*ends, out)
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="is not between 0 and 1"):
            load_network((out,), strength)


def test_values_of_what_is_not_there_are_damage(ends, tmp_path):
    weights = read_weights(ends[0])
    shared = "decoder.head.conv.bias"
    for key, tensor in (
        ("trunk.other", torch.ones(1)),
        ("trunk.body.0.bias", torch.ones(1)),
        ("", torch.ones(1)),
        (shared, weights.tensors[shared] + 1),  # another task's file would not know of them
    ):
        write_weights(tmp_path / "bad.safetensors", replace(weights, faithful={key: tensor}))
        with pytest.raises(WeightsError, match=f"noise of other tensors than its own: faithful.{key}$"):
            read_weights(tmp_path / "bad.safetensors")


def test_values_that_are_not_finite_are_the_files_fault(ends, tmp_path):
    weights = read_weights(ends[0])
    faithful = {"trunk.body.0.bias": torch.full_like(weights.tensors["trunk.body.0.bias"], float("nan"))}
    write_weights(tmp_path / "bad.safetensors", replace(weights, faithful=faithful))
    for strength in (0.5, 1.0):
        with pytest.raises(WeightsError, match=r"faithful\.trunk\.body\.0\.bias has values that are not") as caught:
            load_network((tmp_path / "bad.safetensors",), strength)
        assert caught.value.path == tmp_path / "bad.safetensors"
    largest = torch.full_like(weights.tensors["trunk.body.0.bias"], torch.finfo(torch.float32).max)
    ends_of_range = {**weights.tensors, "trunk.body.0.bias": largest}
    apart = replace(weights, tensors=ends_of_range, faithful={"trunk.body.0.bias": -largest})
    write_weights(tmp_path / "bad.safetensors", apart)
    with pytest.raises(WeightsError, match=r"trunk\.body\.0\.bias has values that are not finite"):
        load_network((tmp_path / "bad.safetensors",), 0.5)
    weights.tensors["trunk.join.bias"][0] = float("inf")
    write_weights(tmp_path / "bad.safetensors", weights)
    with pytest.raises(WeightsError, match=r"trunk\.join\.bias has values that are not finite"):
        load_network((tmp_path / "bad.safetensors",))


@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
def test_ends_are_as_exact_as_the_type(ends, tmp_path, stored):
    """What differs by less than the type can hold does not differ."""
    pair(*ends, tmp_path / "pair.safetensors", stored)
    for strength, end in ((1.0, ends[0]), (0.0, ends[1])):
        made, wanted = (
            load_network((p,), s)[0].state_dict() for p, s in ((tmp_path / "pair.safetensors", strength), (end, 1.0))
        )
        assert all(torch.equal(tensor, wanted[key].to(stored).float()) for key, tensor in made.items())
    near = read_weights(ends[0])
    near.tensors["trunk.body.0.bias"] += near.tensors["trunk.body.0.bias"] * 1e-5
    write_weights(tmp_path / "near.safetensors", near)
    if stored == torch.float32:
        assert pair(ends[0], tmp_path / "near.safetensors", tmp_path / "out.safetensors", stored)[0] == 1
    else:
        with pytest.raises(WeightsError, match="has the same values"):
            pair(ends[0], tmp_path / "near.safetensors", tmp_path / "out.safetensors", stored)


def test_weights_of_another_task_are_named_as_such_whatever_the_strength(tmp_path):
    path = write_whole(tmp_path / "fill.safetensors", tiny_network("inpaint"))
    with pytest.raises(WeightsError, match="is for inpaint, not for sr"):
        WeightsSource(str(path)).network("sr", 4, 0.5)


def test_only_super_resolution_has_strengths(tmp_path):
    files = [write_whole(tmp_path / f"{n}.safetensors", tiny_network("inpaint")) for n in "ab"]
    with pytest.raises(WeightsError, match="is for inpaint, which has no strength"):
        pair(*files, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
