"""First values, and what stage III takes over from stage II."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny_families import FAMILIES, packed, plain

from adacode_cli.checkpoints.format import differing, part_of
from adacode_cli.model.network import AdaCode
from adacode_cli.training.initialise import adopt, adopt_first, adopt_fused, fresh_network


def state(network: AdaCode) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in network.state_dict().items()}


def test_first_values_depend_on_the_seed_alone():
    a, b, c = (state(fresh_network(packed("sr", 4), seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)


def test_mixing_weights_start_even():
    network = fresh_network(packed("reconstruct"), 0)
    with torch.inference_mode():
        weights = network(torch.rand(1, 3, 64, 64)).weights_BKHW
    assert torch.allclose(weights, torch.full_like(weights, 0.5), atol=0.2)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_stem_for_smaller_blocks_answers_as_the_old_one_on_the_repeated_image(scale):
    task = "inpaint" if scale == 1 else "sr"
    old, new = fresh_network(packed("reconstruct"), 0), fresh_network(packed(task, scale), 1)
    adopt_first(new, old.encoder.stem.conv.weight, old.config)
    with torch.no_grad():
        new.encoder.stem.conv.bias.copy_(old.encoder.stem.conv.bias)
    image = torch.rand(2, 3, 16, 24)
    extra = torch.rand(2, new.config.in_channels - 3, 16, 24)  # a mask does not matter at first
    repeated = F.interpolate(image, scale_factor=scale, mode="nearest")
    with torch.inference_mode():
        wanted = old.encoder.stem.conv(F.pixel_unshuffle(repeated, old.encoder.stem.pack))
        seen = torch.cat((image, extra), 1)
        packed_input = F.pixel_unshuffle(seen, new.encoder.stem.pack) if new.encoder.stem.pack > 1 else seen
        found = new.encoder.stem.conv(packed_input)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_a_stem_for_larger_blocks_answers_as_the_old_one_on_the_averaged_image():
    old, new = fresh_network(packed("sr", 4), 0), fresh_network(packed("sr", 2), 1)
    adopt_first(new, old.encoder.stem.conv.weight, old.config)
    image = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        new.encoder.stem.conv.bias.copy_(old.encoder.stem.conv.bias)
        wanted = old.encoder.stem.conv(F.avg_pool2d(image, 2))
        found = new.encoder.stem.conv(F.pixel_unshuffle(image, new.encoder.stem.pack))
    assert (old.encoder.stem.pack, new.encoder.stem.pack) == (1, 2)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_adopt_copies_what_fits_and_says_what():
    network = fresh_network(packed("reconstruct"), 0)
    source = {
        "decoder.head.conv.bias": torch.ones(48),
        "decoder.head.conv.weight": torch.ones(1),
        "other": torch.ones(1),
    }
    assert adopt(network, source) == ["decoder.head.conv.bias"]
    assert torch.equal(network.decoder.head.conv.bias, torch.ones(48))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("task", "scale"), [("sr", 2), ("sr", 4), ("inpaint", 1)])
def test_stage_three_takes_over_all_shared_parts(family, task, scale):
    fused = fresh_network(FAMILIES[family]("reconstruct", 1), 0)
    network = fresh_network(FAMILIES[family](task, scale), 1)
    assert differing(network.state_dict(), fused.state_dict(), ("basis", "fused"))
    adopt_fused(network, fused)
    assert differing(network.state_dict(), fused.state_dict(), ("basis", "fused")) == []


@pytest.mark.parametrize("scale", [2, 4])
def test_encoder_blocks_are_taken_over_from_the_same_level(scale):
    fused = fresh_network(plain("reconstruct"), 0)
    network = fresh_network(plain("sr", scale), 1)
    adopt_fused(network, fused)
    level = network.config.input_level
    assert level > 0
    for i, block in enumerate(network.encoder.down):
        own, theirs = block.state_dict(), fused.encoder.down[i + level].state_dict()
        assert own.keys() == theirs.keys()
        assert all(torch.equal(own[k], theirs[k]) for k in own)


def test_an_untouched_inpainting_encoder_starts_as_the_fused_one():
    fused, network = fresh_network(plain("reconstruct"), 0), fresh_network(plain("inpaint"), 1)
    copied = adopt_fused(network, fused)
    assert "encoder.stem.conv.weight" in copied
    assert set(fused.state_dict()) == set(copied)


def test_differing_names_every_change_of_shared_parts_and_nothing_else():
    ours = fresh_network(packed("reconstruct"), 0).state_dict()
    for key, tensor in list(ours.items()):
        theirs = dict(ours)
        theirs[key] = tensor.clone()
        first = (0,) * tensor.ndim
        theirs[key][first] = tensor[first].nextafter(torch.tensor(9.0))
        expected = [key] if part_of(key) in ("basis", "fused") else []
        assert differing(ours, theirs, ("basis", "fused")) == expected
        del theirs[key]
        assert differing(ours, theirs, ("basis", "fused")) == expected
