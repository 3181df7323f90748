"""A trunk is a plain row of convolutions while its codes are silent, and codes change its image when they are not."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from small_networks import TRUNK_CONFIGS, network, picture
from torch import nn

from adacode_cli.checkpoints.format import Provenance, Weights, write_weights
from adacode_cli.checkpoints.load import load_network
from adacode_cli.engine.device import rounded
from adacode_cli.model.config import TrunkConfig
from adacode_cli.model.network import AdaCode, Trunk
from adacode_cli.training.initialise import fresh_network
from adacode_cli.training.presets import family_network

every_trunk = pytest.mark.parametrize("config", TRUNK_CONFIGS, ids=lambda c: f"x{c.scale} {c.trunk}")
PRESETS = tuple(family_network("compact", "sr", scale) for scale in (4, 2))


def plain(net: AdaCode) -> nn.Module:
    """The trunk written down as one would by hand, with layers of torch and the weights of `net`."""
    config = net.config
    pack, grid = config.grid // config.scale, config.grid
    layers: list[nn.Module] = [nn.PixelUnshuffle(pack)]
    width = 3 * pack**2
    for i in range(config.trunk.depth - 1):
        conv, slopes = nn.Conv2d(width, config.channels[0], 3, padding=1), nn.PReLU(config.channels[0])
        conv.load_state_dict(net.trunk.body[2 * i].state_dict())
        slopes.load_state_dict(net.trunk.body[2 * i + 1].state_dict())
        layers += [conv, slopes]
        width = config.channels[0]
    last = nn.Conv2d(width, 3 * grid**2, 3, padding=1)
    last.load_state_dict(net.trunk.body[-1].state_dict())
    return nn.Sequential(*layers, last, nn.PixelShuffle(grid))


def without_codes(net: AdaCode) -> AdaCode:
    """The same network, its codes silent as before training."""
    nn.init.zeros_(net.trunk.join.weight)
    nn.init.zeros_(net.trunk.join.bias)
    return net


def whole_windows(config, height: int, width: int) -> torch.Tensor:
    """An image that needs no padding."""
    return picture(config, height * config.pad_multiple, width * config.pad_multiple, seed=5)


@pytest.mark.parametrize("config", [*TRUNK_CONFIGS, *PRESETS], ids=lambda c: f"x{c.scale} {c.trunk}")
@torch.inference_mode()
def test_without_codes_it_is_a_plain_network(config):
    net = without_codes(network(config))
    image = whole_windows(config, 1, 2)
    wanted = plain(net)(image)
    if config.base == "nearest":
        wanted = wanted + image.repeat_interleave(config.scale, 2).repeat_interleave(config.scale, 3)
    found = net(image).image_BCHW
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6 * max(1.0, float(wanted.abs().max())))


@every_trunk
@torch.inference_mode()
def test_a_new_network_is_its_trunk_and_codes_join_by_a_convolution(config):
    image = whole_windows(config, 1, 1)
    net = fresh_network(config, seed=3)
    alone = net(image).image_BCHW
    torch.testing.assert_close(alone, without_codes(net)(image).image_BCHW, rtol=0, atol=0)
    nn.init.normal_(net.trunk.join.weight, std=0.1)
    changed = net(image)
    assert (changed.image_BCHW - alone).abs().max() > 1e-3
    nn.init.constant_(net.codebook.after[0].weight, 0.0)
    assert not torch.equal(net(image).image_BCHW, changed.image_BCHW), "the codes themselves are heard"


@every_trunk
@torch.inference_mode()
def test_codes_leave_and_join_where_the_configuration_says(config):
    """Against the row of layers, cut by hand at both places."""
    net, image = network(config), whole_windows(config, 1, 1)
    layers = list(plain(net))
    tap, join = 1 + 2 * config.trunk.tap, 1 + 2 * config.trunk.join
    tapped = nn.Sequential(*layers[:tap])(image)
    mixture = net.codebook(net.encoder(tapped).latent_BCHW)
    decoded = mixture.latent_BCHW
    for stage in net.decoder.stages:
        decoded = stage(decoded)
    joined = nn.Sequential(*layers[tap:join])(tapped) + net.trunk.join(decoded)
    wanted, found = nn.Sequential(*layers[join:])(joined), net.detail(image)
    torch.testing.assert_close(found.image_BCHW, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(net.encode(image).skips[0], tapped, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(found.codes, mixture.codes, strict=True))


@pytest.mark.parametrize("config", [*TRUNK_CONFIGS, *PRESETS], ids=lambda c: f"x{c.scale} {c.trunk}")
def test_its_keys_are_those_of_a_row_of_layers(config):
    with torch.device("meta"):
        state = AdaCode(config).state_dict()
    depth = config.trunk.depth
    convolutions = {f"trunk.body.{2 * i}.{part}" for i in range(depth) for part in ("weight", "bias")}
    slopes = {f"trunk.body.{2 * i + 1}.weight" for i in range(depth - 1)}
    join = {"trunk.join.weight", "trunk.join.bias"}
    assert {key for key in state if key.startswith("trunk.")} == convolutions | slopes | join
    assert not [key for key in state if re.match(r"encoder\.(stem|up)\.|skips\.", key)]
    assert state["trunk.body.0.weight"].shape[1] == 3 * (config.grid // config.scale) ** 2
    assert state[f"trunk.body.{2 * depth - 2}.weight"].shape[0] == 3 * config.grid**2


def test_the_preset_is_the_small_general_network_of_real_esrgan():
    """34 convolutions of 64 channels on the input's own grid for ×4: 1,213,296 values without the join."""
    with torch.device("meta"):
        trunks = [Trunk(config) for config in PRESETS]
    sizes = [sum(p.numel() for p in trunk.body.parameters()) for trunk in trunks]
    assert PRESETS[0].trunk == PRESETS[1].trunk == TrunkConfig(34, 12, 20)
    assert sizes == [1_213_296, 1_213_296 + 9 * 64 * (12 - 3)]
    assert {config.base for config in PRESETS} == {"nearest"}


def test_only_super_resolution_of_the_preset_has_one():
    for task in ("basis", "reconstruct", "inpaint"):
        config = family_network("compact", task)
        assert config.trunk is None
        assert not [key for key in AdaCode(config).state_dict() if key.startswith("trunk.")]


@every_trunk
def test_codes_that_are_silent_learn_from_the_first_step(config):
    """A join of zeros hides the codes from the image, but its own gradient is there, so a second step has theirs."""
    net = without_codes(network(config)).requires_grad_(requires_grad=True)
    encoded = net.encode(whole_windows(config, 1, 1))
    net.render(encoded.latent_BCHW, encoded.skips).square().sum().backward()
    assert net.trunk.join.weight.grad.any()
    assert net.trunk.join.bias.grad.any()
    for i in range(config.trunk.depth):
        conv, activation = net.trunk.layer(i)
        assert conv.weight.grad.any()
        assert activation is None or activation.weight.grad.any()


@pytest.mark.parametrize("config", [TRUNK_CONFIGS[0], PRESETS[0]], ids=["small", "preset"])
@torch.inference_mode()
def test_a_file_brings_it_back(config, tmp_path):
    net = network(config)
    write_weights(tmp_path / "sr.safetensors", Weights("whole", config, Provenance(), net.state_dict()))
    again, _ = load_network((tmp_path / "sr.safetensors",))
    assert again.config == config
    assert again.config.trunk == config.trunk
    image = picture(config, 9, 14)
    assert torch.equal(again(image).image_BCHW, net(image).image_BCHW)


@every_trunk
@torch.inference_mode()
def test_short_precision_is_close(config):
    """In what the network adds to the base image, which is float32 either way."""
    net, image = fresh_network(config, seed=1), whole_windows(config, 1, 1)
    nn.init.normal_(net.trunk.join.weight, std=0.02)
    short = rounded(net, torch.bfloat16)
    assert {p.dtype for p in short.trunk.parameters()} == {torch.bfloat16}
    made, wanted = short.detail(image).image_BCHW, net.detail(image).image_BCHW
    assert made.dtype == torch.bfloat16
    assert (made.float() - wanted).square().mean().sqrt() < 0.03 * wanted.square().mean().sqrt()
    assert short(image).image_BCHW.dtype == (torch.float32 if config.base == "nearest" else torch.bfloat16)


@every_trunk
@torch.inference_mode()
def test_the_decoder_alone_shows_codes_as_stage_two_does(config):
    """Without the trunk's map there is the head that the trunk is in place of; atlases of codes are drawn with it."""
    net = network(config)
    clean = replace(config, task="reconstruct", scale=1, trunk=None, base="none", encoder_swin=None)
    fused = network(clean, seed=9)
    for ours, theirs in ((net.codebook, fused.codebook), (net.decoder, fused.decoder)):
        ours.load_state_dict(theirs.state_dict())
    latent = torch.randn(1, config.channels[-1], 6, 5, generator=torch.Generator().manual_seed(2))
    assert torch.equal(net.render(latent), fused.render(latent))
