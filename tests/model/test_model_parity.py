"""Our network is the published one: recorded codes, mixing weights and images of five full-size checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from published_reference import LAYOUTS, golden, layout, meta_state, published_state
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from adacode_cli.checkpoints.load import build
from adacode_cli.checkpoints.published import PublishedLayout
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.runner import Runner
from adacode_cli.model.input import padded_size
from adacode_cli.model.network import AdaCode
from adacode_cli.model.rescaling import halved
from adacode_cli.training.presets import family_network

TOLERANCE = 1e-5
MILLIONS_OF_PARAMETERS = {"sr_x2": 60.0, "sr_x4": 57.3, "inpaint": 60.6, "reconstruct": 35.4, "basis": 11.1}
MFLOP_PER_OUTPUT_PIXEL = {"sr_x4": 3.67, "sr_x2": 4.00, "inpaint": 4.34, "reconstruct": 2.84}


def saved_by_enlarging(config):
    """FLOP an output pixel: 4 products in place of 9 where a map is enlarged and convolved."""
    channels, levels = config.channels, range(len(config.channels) - 1)
    blocks = [*levels, *list(levels)[::-1][: config.num_skips]]
    return sum(2 * 5 * channels[level + 1] * channels[level] / 4**level for level in blocks)


@pytest.mark.parametrize("name", LAYOUTS)
@torch.inference_mode()
def test_a_published_checkpoint_gives_the_recorded_output(name, tmp_path):
    known = golden(name)
    published = PublishedLayout(published_state(name, int(known["seed"])))
    config = published.config
    network = build(config, published.translated(), tmp_path)
    image = torch.from_numpy(known["image"]).permute(2, 0, 1)[None].float() / 255

    height, width = (side * config.scale for side in padded_size(config, *image.shape[-2:]))
    assert [1, 3, height, width] == known["padded_output_shape"].tolist()
    with FlopCounterMode(display=False) as counter:
        restored = network(image)

    assert len(restored.codes) == config.num_bases
    for k, codes in enumerate(restored.codes):
        np.testing.assert_array_equal(codes[0].numpy(), known[f"indices_{k}"])
    if name == "basis":
        assert torch.equal(restored.weights_BKHW, torch.ones(1, 1, *known["indices_0"].shape))
    else:
        np.testing.assert_allclose(restored.weights_BKHW[0], known["mixing_weights"], rtol=0, atol=TOLERANCE)
    output = restored.image_BCHW[0].permute(1, 2, 0)
    np.testing.assert_allclose(output, known["output"], rtol=0, atol=TOLERANCE)
    tiled = Runner(network, torch.device("cpu"), RunOptions("fp32", 64)).run(image, deep=False).image_CHW
    np.testing.assert_allclose(tiled.permute(1, 2, 0), known["output"], rtol=0, atol=10 * TOLERANCE)
    if name in MFLOP_PER_OUTPUT_PIXEL:
        # The counter does not see inside the fused attention, which is 1.3 % of the whole.
        cost = (counter.get_total_flops() / (height * width) + saved_by_enlarging(config)) / 1e6
        assert cost == pytest.approx(MFLOP_PER_OUTPUT_PIXEL[name], rel=0.02)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_configuration_and_the_size_are_read_from_the_shapes(name):
    described = layout(name)
    state = meta_state(name)
    config = PublishedLayout(state).config
    assert (config.task, config.scale) == (described["task"], described["scale"])
    assert [list(book) for book in config.codebooks] == described["codebooks"]
    with torch.device("meta"):
        network = AdaCode(config)
    num_parameters = sum(p.numel() for p in network.parameters())
    assert num_parameters == sum(t.numel() for t in state.values())
    assert round(num_parameters / 1e6, 1) == MILLIONS_OF_PARAMETERS[name]


@pytest.mark.parametrize("name", [n for n in LAYOUTS if n != "basis"])
def test_the_published_family_of_the_training_is_the_published_layout(name):
    config = PublishedLayout(meta_state(name)).config
    assert family_network("published", config.task, config.scale) == config


@pytest.mark.parametrize(
    ("task", "scale", "most"), [("sr", 2, 1.2), ("sr", 4, 0.5), ("inpaint", 1, 0.5), ("reconstruct", 1, 0.5)]
)
@torch.inference_mode()
def test_the_compact_family_costs_a_tenth(task, scale, most):
    """×2 is served by the network of ×4."""
    network = AdaCode(family_network("compact", task, 4 if task == "sr" else scale))
    network = halved(network) if scale == 2 else network
    side, channels = 64, network.config.in_channels
    # The plain attention, since the counter does not know the fused one of CPUs.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        detail = network.detail(torch.rand(1, channels, side // scale, side // scale))
    assert detail.image_BCHW.shape == (1, 3, side, side)
    assert 0.1 <= counter.get_total_flops() / side**2 / 1e6 <= most
