"""Published `.pth` files: what their keys become, and which keys and shapes are refused."""

from __future__ import annotations

import random

import pytest
import torch
from small_checkpoints import LAYOUTS, same_network, save_pth, small_published

from adacode_cli.checkpoints.format import read_weights
from adacode_cli.checkpoints.load import convert_published, load_network, read_any
from adacode_cli.checkpoints.published import DROPPED_PREFIXES, PublishedLayout, read_published
from adacode_cli.errors import OutputError, WeightsError
from adacode_cli.model.config import PAPER_CATEGORIES


@pytest.fixture(scope="module")
def states():
    return {name: small_published(name) for name in LAYOUTS}


def refused(path):
    with pytest.raises(WeightsError) as caught:
        read_published(path)
    assert caught.value.path == path
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("params", ["params", "params_ema"])
def test_every_layout_is_read_whole(states, name, params, tmp_path):
    config, tensors = read_published(save_pth(tmp_path / "a.pth", states[name], params))
    task, _, scale = name.partition("_x")
    assert (config.task, config.scale) == (task, int(scale or 1))
    assert config.categories == (() if name == "basis" else PAPER_CATEGORIES)
    assert (config.encoder_swin is not None) == (task in ("sr", "inpaint"))
    network, _ = load_network((tmp_path / "a.pth",))
    assert network.state_dict().keys() == tensors.keys()
    assert torch.isfinite(network(torch.rand(1, 3, 5, 20)).image_BCHW).all()


def test_every_parameter_finds_its_place(states):
    """No two keys meet in one place, and each place has the values of its key."""
    state = states["sr_x4"]
    layout = PublishedLayout(state)
    tensors = layout.translated()
    names = {layout.published_name(key) for key in tensors}
    assert len(names) == len(tensors)
    assert names == {k for k, v in state.items() if v.is_floating_point()}
    for key, name in {
        "encoder.stem.conv.bias": "multiscale_encoder.in_conv.bias",
        "encoder.down.0.body.1.norm2.weight": "multiscale_encoder.blocks.0.2.conv.3.norm.weight",
        "encoder.swin.0.conv.bias": "multiscale_encoder.blocks.1.swin_blks.0.conv.bias",
        "encoder.swin.0.blocks.1.fc2.bias": (
            "multiscale_encoder.blocks.1.swin_blks.0.residual_group.blocks.1.mlp.fc2.bias"
        ),
        "encoder.up.1.conv.weight": "multiscale_encoder.blocks.3.1.weight",
        "encoder.up.0.body.0.conv1.weight": "multiscale_encoder.blocks.2.2.conv.2.weight",
        "decoder.stages.2.body.1.conv2.bias": "decoder_group.2.block.3.conv.5.bias",
        "codebook.after.3.weight": "after_quant_group.3.weight",
        "codebook.predictor.out.weight": "weight_predictor.blocks.1.weight",
        "codebook.predictor.swin.0.blocks.0.attn.position_bias": (
            "weight_predictor.blocks.0.swin_blks.0.residual_group.blocks.0.attn.relative_position_bias_table"
        ),
    }.items():
        assert torch.equal(tensors[key], state[name])


def test_averaged_weights_are_preferred(states, tmp_path):
    averaged = {k: v + 1 if v.is_floating_point() else v for k, v in states["basis"].items()}
    torch.save({"params": states["basis"], "params_ema": averaged, "iter": 3}, tmp_path / "both.pth")
    _, tensors = read_published(tmp_path / "both.pth")
    assert torch.equal(tensors["decoder.head.conv.bias"], averaged["out_conv.bias"])


def test_half_precision_and_the_old_file_format_are_read(states, tmp_path):
    half = {k: v.half() if v.is_floating_point() else v for k, v in states["reconstruct"].items()}
    path = save_pth(tmp_path / "old.pth", half, _use_new_zipfile_serialization=False)
    _, tensors = read_published(path)
    assert {v.dtype for v in tensors.values()} == {torch.float32}
    assert torch.equal(tensors["decoder.head.conv.weight"], half["out_conv.weight"].float())


def test_what_training_left_behind_is_dropped_by_name_and_nothing_else(states):
    left = {f"{prefix}0.weight": torch.ones(2) for prefix in DROPPED_PREFIXES}
    assert PublishedLayout({**states["sr_x2"], **left}).translated().keys() == (
        PublishedLayout(states["sr_x2"]).translated().keys()
    )
    for stranger in (
        "conv_semantics.0.weight",
        "module.vgg_feat_extractor.weight",
        "multiscale_encoder.blocks.4.0.weight_orig",
        "decoder_group.0.block.7.conv.2.weight",
        "out_conv.scale",
        "attn_mask",
        "weight_predictor.blocks.0.swin_blks.0.residual_group.blocks.0.attn.scale",
        "quantize_group.0.embedding.bias",
    ):
        with pytest.raises(WeightsError, match="unexpected keys: ") as caught:
            PublishedLayout({**states["sr_x2"], stranger: torch.ones(2)}).translated()
        assert stranger in caught.value.message


@pytest.mark.parametrize("name", ["basis", "sr_x4"])
def test_each_missing_key_is_named(states, name):
    keys = [k for k, v in states[name].items() if v.is_floating_point()]
    for key in random.Random(0).sample(keys, 40):
        with pytest.raises(WeightsError) as caught:
            PublishedLayout({k: v for k, v in states[name].items() if k != key}).translated()
        assert key in caught.value.message


def test_many_missing_keys_are_counted(states, tmp_path):
    rest = {k: v for k, v in states["inpaint"].items() if not (k.startswith("multiscale_encoder") and "norm" in k)}
    message = refused(save_pth(tmp_path / "a.pth", rest))
    assert message.startswith("missing keys: multiscale_encoder.blocks.0.1.conv.0.norm.bias, ")
    assert message.endswith(" and 40 more")


@pytest.mark.parametrize("key", ["out_conv.weight", "multiscale_encoder.blocks.1.2.conv.5.weight"])
def test_a_tensor_of_another_shape_is_named(states, key):
    for wrong in (torch.ones(3), torch.ones(0, 1, 1, 1), torch.ones(5, 5, 5, 5)):
        with pytest.raises(WeightsError, match=f"wrong shapes: {key}"):
            PublishedLayout({**states["sr_x2"], key: wrong}).translated()


def test_shapes_that_make_no_network_are_refused(states):
    """A shape that the configuration is read from can make others wrong, or an impossible network."""
    key = "decoder_group.1.block.1.weight"
    for wrong, message in (
        (torch.ones(3), f"wrong shapes: {key}"),
        (torch.ones(5, 32, 3, 3), "impossible: GroupNorm"),
        (torch.ones(64, 32, 3, 3), "wrong shapes: decoder_group.1.block.1.bias"),
    ):
        with pytest.raises(WeightsError, match=message):
            PublishedLayout({**states["sr_x2"], key: wrong}).translated()
    fewer = {k: v for k, v in states["basis"].items() if not k.startswith(("decoder_group.1", "decoder_group.2"))}
    with pytest.raises(WeightsError, match="3 down blocks, 1 decoder stages"):
        PublishedLayout(fewer)


@pytest.mark.parametrize("key", ["decoder_group.{}.block.1.weight", "quantize_group.{}.embedding.weight"])
def test_a_large_number_in_a_key_does_not_size_the_network(states, key):
    with pytest.raises(WeightsError):
        PublishedLayout({**states["basis"], key.format(10**12): torch.ones(4, 4)}).translated()


def test_a_discriminator_is_not_taken_for_a_network(tmp_path):
    layers = {f"conv{i}.weight_orig": torch.ones(4, 4, 3, 3) for i in range(1, 9)}
    layers |= {f"conv{i}.weight_u": torch.ones(4) for i in range(1, 9)}
    path = save_pth(tmp_path / "AdaCode_S2_model_d.pth", {"conv0.weight": torch.ones(4, 3, 3, 3), **layers})
    assert refused(path).startswith("this is not a published AdaCode checkpoint: decoder_group.0")
    with pytest.raises(WeightsError, match="not a published") as caught:
        load_network((path,))
    assert "discriminator" in caught.value.hint


@pytest.mark.parametrize("name", ["basis", "sr_x2"])
def test_a_converted_checkpoint_gives_the_identical_output(states, name, tmp_path):
    source = save_pth(tmp_path / "AdaCode_x.pth", states[name])
    target = tmp_path / "own.safetensors"
    convert_published(source, target)
    (original, _), (converted, provenance) = load_network((source,)), load_network((target,))
    assert same_network(original, converted)
    weights = read_weights(target)
    assert weights.part == "whole"
    assert (provenance.family, provenance.source) == ("published", "AdaCode_x.pth")
    assert "authors" in provenance.licence
    assert read_any(source).provenance == provenance


def test_conversion_fails_before_it_writes(states, tmp_path):
    target = tmp_path / "own.safetensors"
    with pytest.raises(WeightsError):
        convert_published(save_pth(tmp_path / "a.pth", {"out_conv.bias": torch.ones(3)}), target)
    assert not target.exists()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        convert_published(save_pth(tmp_path / "a.pth", states["basis"]), tmp_path / "file" / "own.safetensors")
