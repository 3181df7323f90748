"""A trunk in the engine: its steps are the forward pass, wherever codes leave and join, and tiles leave no trace."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_engine_exact import by_tiles
from tiny_networks import CPU, LAYOUTS, TinyWeights, lively, network, photograph, psnr, tensor, varied, whole

from adacode_cli.engine.codes import Coder
from adacode_cli.engine.halves import halves_of
from adacode_cli.engine.plan import RunOptions
from adacode_cli.engine.program import decoder_steps, encoder_steps
from adacode_cli.engine.restorer import Restorer, network_digest
from adacode_cli.engine.runner import Runner
from adacode_cli.errors import WeightsError
from adacode_cli.model.config import TrunkConfig

TRUNKS = [name for name, config in LAYOUTS.items() if config.trunk]
# Every tap and join of up to six convolutions.
SHAPES = [TrunkConfig(d, t, j) for d in (2, 3, 6) for j in range(1, d) for t in range(1, j + 1)]
every_trunk = pytest.mark.parametrize("layout", TRUNKS)
shapes, scales = st.sampled_from(SHAPES), st.sampled_from([1, 2, 4])


@cache
@torch.inference_mode(mode=False)  # whoever asks first may be in it, and others want parameters as they usually are
def made(trunk, scale):
    """A network whose codes are as loud as its trunk."""
    return lively(varied(LAYOUTS["trunk sr ×4"], scale=scale, trunk=trunk))


@pytest.mark.parametrize("trunk", SHAPES, ids=str)
@torch.inference_mode()
def test_the_steps_are_the_forward_pass(trunk):
    net = made(trunk, 4)
    detail, code, prepared = by_tiles(net, tensor(net.config, 19, 30))
    wanted = net.detail(prepared)
    np.testing.assert_allclose(detail, wanted.image_BCHW[0], rtol=0, atol=1e-5)
    assert all(torch.equal(a, b[0]) for a, b in zip(code.codes, wanted.codes, strict=True))
    silent = replace(wanted, image_BCHW=net.trunk.finish(net.trunk.begin(prepared), None))
    assert (silent.image_BCHW - wanted.image_BCHW).abs().max() > 1e-2, "the codes are heard at all"


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(shapes, scales, st.integers(1, 200), st.integers(1, 200), st.sampled_from([64, 72, 100, 128, "none"]))
def test_an_image_of_any_size_in_tiles_of_any_size(trunk, scale, height, width, tile):
    net = made(trunk, scale)
    x = tensor(net.config, -(-height // scale), -(-width // scale))
    wanted, found = whole(net, x), Runner(net, CPU, RunOptions("fp32", tile)).run(x, deep=False)
    np.testing.assert_allclose(found.image_CHW, wanted.image_BCHW[0], rtol=0, atol=1e-4)
    rows, columns = found.codes[0].shape
    for codes, expected in zip(found.codes, wanted.codes, strict=True):
        assert torch.equal(codes, expected[0, :rows, :columns])


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(shapes, scales, st.integers(65, 200), st.integers(65, 200), st.sampled_from([64, 100]))
def test_short_precision_is_that_of_the_whole_pass(trunk, scale, height, width, tile):
    net = made(trunk, scale)
    x = tensor(net.config, -(-height // scale), -(-width // scale))
    found = Runner(net, CPU, RunOptions("bf16", tile)).run(x, deep=False).image_CHW
    assert psnr(found, whole(net, x, "bf16").image_BCHW[0].float()) >= 50


@every_trunk
def test_steps_are_as_many_as_convolutions(layout):
    """The trunk's up to the branch with the encoder, the others and the join with the decoder, each once."""
    net = network(LAYOUTS[layout])
    trunk = net.config.trunk
    before, after = encoder_steps(net), decoder_steps(net, skips=True)
    own = [[step.writes for step in steps if step.writes.startswith("trunk")] for steps in (before, after)]
    assert own[0] == [f"trunk{i + 1}" for i in range(trunk.tap)]
    assert own[1] == [f"trunk{i + 1}" for i in range(trunk.tap, trunk.depth - 1)]
    (join,) = (step for step in after if step.writes == "joined")
    assert join.reads == (f"stage{len(net.decoder.stages) - 1}", f"trunk{trunk.join}")
    assert not [step for step in decoder_steps(net, skips=False) if "trunk" in "".join((*step.reads, step.writes))]


@every_trunk
def test_one_map_waits_between_the_halves(layout):
    """The trunk's where the branch begins; all that is made on the way is let go."""
    net = network(LAYOUTS[layout])
    parts, tap = halves_of(net, torch.float32), f"trunk{net.config.trunk.tap}"
    assert parts.encoder.kept == {"feature", tap}
    assert not parts.normalise
    shape = parts.encoder.shapes[tap]
    assert (shape.channels, shape.per_cell) == (net.config.channels[0], net.config.latent_stride // net.config.cell_px)


@every_trunk
def test_the_halves_make_the_codes_and_the_decoder_alone_an_image(layout):
    net = lively(LAYOUTS[layout])
    image = photograph(90 // net.config.scale, 70 // net.config.scale, np.float32)
    runner = Runner(net, CPU, RunOptions("fp32", 64))
    code, notes = runner.encode(image)
    run = runner.run(torch.from_numpy(image).permute(2, 0, 1)[None], deep=False)
    assert not notes
    rows, columns = run.codes[0].shape
    assert all(torch.equal(a[:rows, :columns], b) for a, b in zip(code.codes, run.codes, strict=True))
    decoded = runner.decode(code, dtype=np.float32, grey=False).pixels
    with torch.inference_mode():
        latent = net.codebook.mixed(tuple(c[None] for c in code.codes), code.weights_KHW[None])
        wanted = net.render(latent)[0, :, : code.height, : code.width].permute(1, 2, 0).clamp(0, 1)
    np.testing.assert_allclose(decoded, wanted, atol=1e-5)
    with pytest.raises(WeightsError, match="more than codes"):
        Coder(runner, "tiny")


@every_trunk
def test_any_value_of_it_distinguishes_weights(layout):
    net = network(LAYOUTS[layout])
    keys = [key for key in net.state_dict() if key.startswith("trunk.")]
    for key in keys:
        before = network_digest(net)
        with torch.no_grad():
            net.state_dict()[key].view(-1)[-1] += 1
        assert network_digest(net) != before, key
    other = network(replace(net.config, trunk=replace(net.config.trunk, tap=net.config.trunk.join)))
    if other.config != net.config:
        other.load_state_dict(net.state_dict())
        assert network_digest(other) != network_digest(net), "the same values in another place"


class TrunkWeights(TinyWeights):
    """A family whose super-resolution has a trunk."""

    def network(self, task, scale, denoise=1.0):
        self.asked.append((task, scale))
        return network(varied(self.config, scale=scale)), None


class Strengths(TrunkWeights):
    """Another network for each strength, as different as can be."""

    def network(self, task, scale, denoise=1.0):
        self.asked.append((task, scale, denoise))
        return network(varied(self.config, scale=scale), seed=int(100 * denoise)), None


def test_each_strength_has_a_network_of_its_own_and_a_digest():
    weights = Strengths(LAYOUTS["trunk sr ×4"])
    r, image = Restorer(weights, CPU, RunOptions("fp32")), photograph(20, 30)
    first = r.sr(image, 4, denoise=0.25)
    assert (r.sr(image, 4) != first).any()
    assert (r.sr(image, 4, denoise=0.25) == first).all()
    r.sr(image, 4, denoise=0.25)
    assert [strength for _, _, strength in weights.asked] == [0.25, 1.0, 0.25], "the last one is kept"
    assert r.prepare("sr", 4, 0.25) != r.prepare("sr", 4, 0.5)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_python_api_enlarges_images_with_it(scale, channels):
    image = photograph(50, 61, channels=channels)
    tiled, at_once = (
        Restorer(TrunkWeights(LAYOUTS["trunk sr ×4"]), CPU, RunOptions("fp32", tile)).sr(image, scale)
        for tile in (64, "none")
    )
    assert tiled.shape == (50 * scale, 61 * scale, *image.shape[2:])
    assert np.abs(tiled.astype(int) - at_once.astype(int)).max() <= 1
