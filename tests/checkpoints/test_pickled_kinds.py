"""State dicts as training code stores them: wrappers, prefixes, suffixes and types; and values that are refused."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from small_checkpoints import same_network, save_pth, small_published, start_tensors, trunk_network, write_whole

from adacode_cli.checkpoints import catalogue_file
from adacode_cli.checkpoints.catalogue import WeightsFile
from adacode_cli.checkpoints.format import read_weights
from adacode_cli.checkpoints.load import WeightsSource, convert_published, load_network
from adacode_cli.checkpoints.location import HubFile, parse
from adacode_cli.checkpoints.real_esrgan import read_trunk
from adacode_cli.errors import WeightsError


@pytest.fixture(scope="module")
def state():
    return small_published("sr_x2")


@pytest.fixture(scope="module")
def plain(state, tmp_path_factory):
    """The network as it is read from {"params": …}."""
    return load_network((save_pth(tmp_path_factory.mktemp("plain") / "a.pth", state),))[0]


def parallel(state):
    return {f"module.{key}": tensor for key, tensor in state.items()}


@pytest.mark.parametrize(
    "content",
    [
        lambda state: state,
        OrderedDict,
        parallel,
        lambda state: {"params": parallel(state)},
        lambda state: {"params_ema": parallel(state), "iter": 400},
        lambda state: {"state_dict": state, "epoch": 3, "params": {"rate": 0.1}},
        lambda state: {"params_ema": None, "params": state},
        lambda state: {"state_dict": parallel(state), "optimizer": {"lr": [1e-4]}},
    ],
    ids=["bare", "ordered", "module", "module in params", "ema", "state_dict", "no ema", "module in state_dict"],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
def test_the_network_is_the_same_however_it_was_stored(state, plain, content, suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    torch.save(content(state), path)
    convert_published(path, tmp_path / "own.safetensors")
    assert same_network(load_network((tmp_path / "own.safetensors",))[0], plain)
    source = WeightsSource(str(path))
    assert same_network(source.network("sr", 2)[0], plain)
    assert read_weights(tmp_path / "own.safetensors").provenance.source == path.name


def test_averaged_weights_beside_something_else_are_not_left_for_others(state, tmp_path):
    torch.save({"params_ema": {**state, "step": 400}, "params": state}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="tensors and other things under one name"):
        convert_published(tmp_path / "a.pth", tmp_path / "own.safetensors")
    assert not (tmp_path / "own.safetensors").exists()


def test_a_prefix_of_some_keys_only_belongs_to_them(state, tmp_path):
    keys = sorted(state)
    mixed = {(f"module.{key}" if key == keys[0] else key): tensor for key, tensor in state.items()}
    torch.save(mixed, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=f"missing keys: {keys[0]}"):
        load_network((tmp_path / "a.pth",))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_value_that_is_not_finite_is_refused_when_it_is_converted(state, value, dtype, tmp_path):
    key = "decoder_group.0.block.1.weight"
    damaged = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    damaged[key] = damaged[key].clone()
    damaged[key].view(-1)[7] = value
    path = save_pth(tmp_path / "a.pth", damaged)
    with pytest.raises(
        WeightsError, match=r"decoder\.stages\.0\.conv\.weight has values that are not finite"
    ) as caught:
        convert_published(path, tmp_path / "own.safetensors")
    assert caught.value.path == path
    assert not (tmp_path / "own.safetensors").exists()


def test_a_value_beyond_float32_is_refused_in_every_kind_of_file(state, tmp_path):
    """It is finite where it is stored, and would be infinite in the network."""
    wide = {k: v.double() if v.is_floating_point() else v for k, v in state.items()}
    save_pth(tmp_path / "a.pth", wide)
    load_network((tmp_path / "a.pth",))
    wide["out_conv.bias"][0] = 1e300
    ours = write_whole(tmp_path / "ours.safetensors", trunk_network())
    weights = read_weights(ours)
    key = next(iter(weights.tensors))
    tensors = {k: v.double().contiguous() for k, v in weights.tensors.items()}
    tensors[key].view(-1)[0] = 1e300
    save_file(tensors, ours, {"adacode": _metadata(ours)})
    start = {k: v.double() for k, v in start_tensors(1).items()}
    start["body.0.weight"].view(-1)[0] = -1e300
    torch.save(start, tmp_path / "start.pt")
    for read in (
        lambda: load_network((save_pth(tmp_path / "a.pth", wide),)),
        lambda: read_weights(ours),
        lambda: read_trunk(tmp_path / "start.pt", trunk_network().config),
    ):
        with pytest.raises(WeightsError, match="not finite"):
            read()


def _metadata(path) -> str:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()["adacode"]


def test_a_start_for_a_trunk_may_be_a_bare_state_dict(tmp_path):
    tensors = start_tensors(3)
    torch.save(parallel(tensors), tmp_path / "start.ckpt")
    start = read_trunk(tmp_path / "start.ckpt", trunk_network().config)
    assert all(torch.equal(start.tensors[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("suffix", [".pt", ".ckpt"])
def test_every_suffix_can_be_named(suffix, tmp_path):
    catalogue = catalogue_file.load()
    assert parse(f"hub:owner/repo/x/model{suffix}", catalogue) == HubFile("owner/repo", None, f"x/model{suffix}")
    assert WeightsFile(f"model{suffix}", None, None).name == f"model{suffix}"
    with pytest.raises(WeightsError, match="does not exist"):
        parse(f"model{suffix}", catalogue)
    with pytest.raises(WeightsError) as caught:
        parse(f"https://huggingface.co/owner/repo/resolve/main/y{suffix}", catalogue)
    assert caught.value.hint == f"Did you mean hub:owner/repo/y{suffix}?"
