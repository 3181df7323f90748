"""The published layout as a target: what it holds comes back bit for bit, and everything else is refused by name."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("checkpoints", "model")]
from small_checkpoints import LAYOUTS, save_pth, small_published, tiny_network, trunk_network, write_parts
from small_networks import OWN_CONFIGS, network

from adacode_cli.checkpoints.format import Provenance, Weights, read_weights
from adacode_cli.checkpoints.load import WeightsSource, convert_published
from adacode_cli.checkpoints.published import DROPPED_PREFIXES, read_params
from adacode_cli.errors import WeightsError
from adacode_cli.export.published import published_state, write_published
from adacode_cli.export.whole import whole_of
from adacode_cli.model.config import NetworkConfig, SwinConfig
from adacode_cli.model.ranges import InputRange

OWN = Path("own.safetensors")
# The shape of the published networks, with few channels.
SMALL = NetworkConfig(
    "sr",
    4,
    channels=(32, 32, 32, 32),
    skip="add",
    num_skips=2,
    encoder_swin=SwinConfig(1, 2, 2, 4),
    predictor_swin=SwinConfig(1, 2, 2, 4),
    codebooks=((6, 4), (5, 4)),
)


def whole(config: NetworkConfig, **more: object) -> Weights:
    return Weights("whole", config, Provenance(licence="MIT"), network(config).state_dict(), **more)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_converting_exporting_and_converting_gives_equal_tensors(tmp_path, layout):
    original = save_pth(tmp_path / "published.pth", small_published(layout))
    convert_published(original, tmp_path / "first.safetensors")
    found = whole_of(WeightsSource(str(tmp_path / "first.safetensors")))
    assert write_published(found.weights, found.own_file, tmp_path / "again.pth") == []
    convert_published(tmp_path / "again.pth", tmp_path / "second.safetensors")
    first, second = (read_weights(tmp_path / f"{name}.safetensors") for name in ("first", "second"))
    assert first.config == second.config
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(first.tensors[key], second.tensors[key]) for key in first.tensors)
    # The same keys and values as the file that training code saved, without what is not the network's.
    before, after = read_params(original), read_params(tmp_path / "again.pth")
    assert after.keys() <= before.keys()
    assert all(torch.equal(after[key], before[key]) for key in after)
    left = {key for key in before.keys() - after.keys() if not key.startswith(DROPPED_PREFIXES)}
    assert all("attn_mask" in key or "relative_position_index" in key for key in left)


def test_the_provenance_lies_beside_the_tensors(tmp_path):
    write_published(whole(SMALL), OWN, tmp_path / "a.pth")
    content = torch.load(tmp_path / "a.pth", weights_only=True)
    assert content["adacode"]["licence"] == "MIT"
    assert content.keys() == {"params", "adacode"}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (trunk_network().config, ["a trunk", "base image", "without normalisation", "blocks of pixels"]),
        (tiny_network("inpaint").config, ["learnt fusions", "a mask channel"]),
        (OWN_CONFIGS[1], ["a decoder of its own"]),
        (OWN_CONFIGS[2], ["further levels of codes"]),
        (replace(SMALL, softmax=True), ["a softmax"]),
        (replace(SMALL, decoder_depth=1), ["two residual blocks"]),
        (replace(SMALL, task="inpaint", scale=1, base="filled", mask_channel=True, coarse_passes=2), ["coarse passes"]),
    ],
)
def test_what_the_layout_has_no_place_for_is_named(config, words):
    with pytest.raises(WeightsError, match="the published layout has no place for") as raised:
        published_state(Weights("whole", config, Provenance(), {}), OWN)
    assert [word for word in words if word not in raised.value.message] == []
    assert raised.value.path == OWN
    assert "--to onnx" in raised.value.hint


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (replace(SMALL, task="inpaint"), "task sr instead of inpaint"),
        (replace(SMALL, scale=1, channels=(32, 32, 32)), "task inpaint instead of sr"),
        (
            replace(SMALL, task="inpaint", scale=1, skip="none", num_skips=0, encoder_swin=None, up_depth=2),
            "task reconstruct instead of inpaint",
        ),
    ],
)
def test_what_would_be_read_as_another_network_is_refused(config, words):
    with pytest.raises(WeightsError, match=f"another network: {words}"):
        published_state(whole(config), OWN)


def test_what_is_left_out_is_said(tmp_path):
    weights = whole(replace(SMALL, categories=("meadow", "brick")))
    key = "encoder.stem.conv.weight"
    weights = replace(
        weights,
        faithful={key: weights.tensors[key] * 0.5},
        ranges={"encoder.stem.conv": InputRange(torch.ones(3), 0)},
    )
    notes = write_published(weights, OWN, tmp_path / "a.pth")
    assert [note.split()[0:3] for note in notes] == [
        ["the", "values", "that"],
        ["the", "ranges", "for"],
        ["the", "names", "of"],
    ]
    assert torch.equal(read_params(tmp_path / "a.pth")["multiscale_encoder.in_conv.weight"], weights.tensors[key])


def test_the_parts_of_a_family_are_exported_together(tmp_path):
    net = network(SMALL)
    *_, own = write_parts(tmp_path, net, "own")
    found = whole_of(WeightsSource(str(own)))
    write_published(found.weights, found.own_file, tmp_path / "a.pth")
    convert_published(tmp_path / "a.pth", tmp_path / "b.safetensors")
    again = read_weights(tmp_path / "b.safetensors").tensors
    state = net.state_dict()
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)
