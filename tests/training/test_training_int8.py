"""Training that rounds to 8 bits: its values, its gradients, and what it gains."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from tiny_ranges import LAYOUTS, lively, pair, ranges_of
from tiny_recipes import CPU
from tiny_trunks import trunked
from torch import nn

from adacode_cli.evaluation.calibration import convolutions_for, in_eight_bits, through
from adacode_cli.model.blocks import UpBlock
from adacode_cli.model.ranges import InputRange
from adacode_cli.training import rounding as rounding_module
from adacode_cli.training.eight_bits import LearntRanges, rounded_within
from adacode_cli.training.optimisation import Optimisation
from adacode_cli.training.recipe import LossWeights, Optimiser, StageRecipe
from adacode_cli.training.rounding import RoundingStage
from adacode_cli.training.stages import StageContext
from adacode_cli.training.validation import Validation

PIXELS = LossWeights(perceptual=0, codebook=0)


def rounding(network, ranges, learns="trunk") -> RoundingStage:
    return RoundingStage(network, StageContext(PIXELS, None, CPU), ranges, learns)


@pytest.fixture
def without_noise(monkeypatch):
    monkeypatch.setattr(rounding_module, "_MOST_NOISE", 0.0)


def optimised(stage: RoundingStage, steps: int = 8, precision: str = "fp32", **settings) -> Optimisation:
    optimiser = Optimiser(**({"rate": 1e-3, "warmup": 1, "ema": 0.5} | settings))
    return Optimisation(stage, StageRecipe(steps=steps, batch=2, patch=64, optimiser=optimiser), 0, precision)


def in_8_bits(network, ranges, image):
    with in_eight_bits(network, ranges):
        return through(network, image)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_are_those_of_8_bits_bit_for_bit(layout):
    network = lively(LAYOUTS[layout])
    image = pair(network.config, 3).input_BCHW
    learnt = LearntRanges(ranges_of(network), CPU.device)
    ranges = {name: InputRange(one.steps_C.detach(), one.zero) for name, one in learnt.ranges().items()}
    assert ranges.keys() == convolutions_for(network).keys()
    exact, keys = through(network, image), list(network.state_dict())
    with rounded_within(network, learnt.ranges()):
        found = network(image).image_BCHW
        copied = copy.deepcopy(network.state_dict())
    assert found.requires_grad
    assert torch.equal(found.detach(), in_8_bits(network, ranges, image))
    assert not torch.equal(found.detach(), exact)
    assert torch.equal(through(network, image), exact), "outside, the network is as it was"
    assert list(network.state_dict()) == list(copied) == keys


@pytest.mark.usefixtures("without_noise")
def test_the_image_that_is_compared_in_training_is_that_of_8_bits():
    network = lively(LAYOUTS["trunk"])
    stage = rounding(network, ranges_of(network))
    batch = pair(network.config, 3)
    _, compared = stage.losses(batch)
    assert torch.equal(compared.detach(), in_8_bits(network, optimised(stage).ranges(), batch.input_BCHW))


@pytest.mark.parametrize("layout", ["trunk", "holes"])
def test_about_half_of_the_images_that_are_enlarged_have_noise(layout):
    """Also in batches of one image."""
    network = lively(LAYOUTS[layout])
    image = pair(network.config, 3).input_BCHW[:1].mul(0.5).add(0.25)
    stage = rounding(network, ranges_of(network), "all")
    torch.manual_seed(1)
    noisy = [stage._with_noise(image) for _ in range(40)]
    changed = sum(not torch.equal(one, image) for one in noisy)
    assert changed == 0 if layout == "holes" else 10 < changed < 30
    assert all(0 <= one.amin() <= one.amax() <= 1 for one in noisy)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_validation_scores_the_image_of_8_bits(layout):
    """Without gradients the convolutions after an enlargement are other functions, which would not be rounded."""
    network = lively(LAYOUTS[layout])
    assert any(isinstance(module, UpBlock) for module in network.modules())
    ranges = ranges_of(network, coarse=4)
    batch = pair(network.config, 3, side=64)
    one = type(batch)(*(None if v is None else v[:1] for v in (batch.input_BCHW, batch.target_BCHW, batch.hole_B1HW)))
    shown = {}
    for name, given in (("8 bits", ranges), ("float32", {})):
        _, [(_, shown[name], _)] = Validation([one], None, bf16=False).measure(network, network.state_dict(), given)
    wanted = in_8_bits(network, ranges, one.input_BCHW)[0].clamp(0, 1)
    wanted = (255 * wanted).round().permute(1, 2, 0).byte().numpy()
    if one.hole_B1HW is not None:
        known = one.hole_B1HW[0, 0].numpy() == 0
        wanted[known] = shown["8 bits"][known]
    assert (shown["8 bits"] == wanted).all()
    assert (shown["float32"] != wanted).any()


def test_an_error_within_leaves_the_network_as_it_was():
    network = lively(LAYOUTS["trunk"])
    image = pair(network.config, 3).input_BCHW
    exact = through(network, image)
    with pytest.raises(RuntimeError), rounded_within(network, ranges_of(network)):
        network(image[:, :1])
    assert torch.equal(through(network, image), exact)


class OneConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


def test_gradients_are_those_of_the_formulas():
    """Straight-through, clipped outside; steps as in arXiv:1902.08153, equation 3, for inputs and for weights."""
    torch.manual_seed(0)
    net, x, factors = OneConvolution(), 2 * torch.randn(2, 2, 5, 7), torch.randn(2, 3, 5, 7)
    steps, zero = torch.tensor([0.01, 0.03]), 100
    learnt = LearntRanges({"conv": InputRange(steps, zero)}, CPU.device)
    x.requires_grad_()
    with rounded_within(net, learnt.ranges()):
        (net(x) * factors).sum().backward()

    weight, steps = net.conv.weight.detach().double(), learnt.ranges()["conv"].steps_C.detach().double()
    counted = x.detach().double() / steps[:, None, None]
    inside = (counted >= -zero) & (counted <= 255 - zero)
    assert 0.2 < inside.double().mean() < 0.9
    whole = counted.round().clamp(-zero, 255 - zero)
    input_8 = whole * steps[:, None, None]
    scaled = weight * steps[:, None, None]
    largest = scaled.abs().amax((1, 2, 3), keepdim=True)
    of_weight = (127 * scaled / largest).round() * largest / 127 / steps[:, None, None]

    to_input = F.conv_transpose2d(factors.double(), of_weight, padding=1)
    torch.testing.assert_close(x.grad.double(), to_input * inside, rtol=1e-4, atol=1e-6)

    to_weight = nn.grad.conv2d_weight(input_8, weight.shape, factors.double(), padding=1)
    error = to_weight * (of_weight - weight)
    wanted, chosen = to_weight.clone(), torch.zeros(2, dtype=torch.float64)
    for o in range(3):  # the largest product of weight and step sets the factor of its output channel
        i, y, z = (int(v) for v in torch.unravel_index(scaled[o].abs().argmax(), scaled[o].shape))
        wanted[o, i, y, z] += error[o].sum() / weight[o, i, y, z]
        chosen[i] += error[o].sum()
    torch.testing.assert_close(net.conv.weight.grad.double(), wanted, rtol=1e-4, atol=1e-5)

    by_input = (to_input * (whole - counted * inside)).sum((0, 2, 3)) * steps
    by_weight = chosen - error.sum((0, 2, 3))
    found = learnt.named_parameters()["int8.conv"].grad.double()
    torch.testing.assert_close(found, by_input + by_weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.conv.bias.grad.double(), factors.double().sum((0, 2, 3)), rtol=1e-5, atol=1e-6)


def test_rounded_values_are_not_rounded_again_by_bf16():
    torch.manual_seed(0)
    net, x = OneConvolution(), torch.randn(1, 2, 5, 7)
    with rounded_within(net, {"conv": InputRange(torch.tensor([0.01, 0.03]), 100)}):
        wanted = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(net(x), wanted)


def learnt_for(steps, network, ranges, learns="trunk", **settings) -> Optimisation:
    run = optimised(rounding(network, ranges, learns), steps, **settings)
    for i in range(steps):
        run.step(pair(network.config, 2 * (i % 6), side=64), i, i / steps)
    return run


def test_after_it_8_bits_are_nearer_to_float32_than_before():
    """With steps that are sixty times as large as measured ones; on images that were not learnt from."""
    start = lively(trunked(4))
    ranges = ranges_of(start, coarse=60)
    run = learnt_for(150, copy.deepcopy(start), ranges, "all", rate=3e-3, range_share=4.0)
    state, after = run.stage.result(run.result(), run.ranges())
    assert all(torch.equal(state[key], value) for key, value in start.state_dict().items())

    def error(given) -> float:
        batches = [pair(start.config, seed, side=64) for seed in (20, 30)]
        pairs = [(in_8_bits(start, given, b.input_BCHW), through(start, b.input_BCHW)) for b in batches]
        return sum(float(F.l1_loss(found, exact)) for found, exact in pairs)

    assert error(after) < 0.65 * error(ranges)
    filters_alone = {name: InputRange(ranges[name].steps_C, one.zero, one.filters) for name, one in after.items()}
    assert error(after) < error(filters_alone), "the steps that were learnt are better than those of the start"
    assert after.keys() == ranges.keys()
    assert all(after[name].zero == ranges[name].zero for name in ranges)


@pytest.mark.usefixtures("without_noise")
def test_filters_of_earlier_training_are_where_the_next_one_begins():
    start = lively(trunked(4))
    _, once = (run := learnt_for(5, copy.deepcopy(start), ranges_of(start), rate=3e-3)).stage.result(
        run.result(), run.ranges()
    )
    batch = pair(start.config, 3)
    stage = rounding(copy.deepcopy(start), once)
    _, compared = stage.losses(batch)
    with_filters = in_8_bits(start, once, batch.input_BCHW)
    without = in_8_bits(start, ranges_of(start), batch.input_BCHW)
    # The logarithm of a step gives it back with another last bit: a value here and there is rounded to its neighbour.
    assert F.l1_loss(compared.detach(), with_filters) < 0.1 * F.l1_loss(without, with_filters)


@pytest.mark.usefixtures("without_noise")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_target_is_the_image_of_the_initial_weights_in_float32(precision):
    network = lively(trunked(4))
    ranges, batch = ranges_of(network, coarse=20), pair(network.config, 3, side=64)
    exact = through(copy.deepcopy(network), batch.input_BCHW)
    run = optimised(rounding(network, ranges), precision=precision)
    for step in range(3):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            terms, image = run.stage.losses(batch)
        assert float(terms["pixel"].detach()) == pytest.approx(float((image - exact).abs().mean().detach()), rel=1e-4)
        run.step(batch, step, step / 8)


def moved(run: Optimisation, ranges) -> dict[str, float]:
    """By how much the logarithm of a step of each convolution has changed at most."""
    now = run.stage.learnt_ranges.ranges()
    return {k: float((now[k].steps_C.detach() / ranges[k].steps_C).log().abs().max()) for k in ranges}


@pytest.mark.parametrize("share", [4.0, 0.5, 0.0])
def test_the_logarithms_of_steps_have_a_rate_of_their_own(share):
    """The first step of Adam is nearly as long as the rate, whatever the gradient."""
    network = lively(trunked(4))
    ranges = ranges_of(network, coarse=40)
    run = learnt_for(1, network, ranges, "all", range_share=share)
    for found in moved(run, ranges).values():
        assert found == pytest.approx(1e-3 * share, rel=0.1, abs=1e-6)


@pytest.mark.parametrize("learns", ["all", "codes", "trunk"])
def test_what_does_not_learn_stays_bit_for_bit(learns):
    network = lively(trunked(4))
    ranges, before = ranges_of(network), copy.deepcopy(network.state_dict())
    run = learnt_for(1, network, ranges, learns)
    state, found = run.stage.result(run.result(), run.ranges())
    assert all(torch.equal(state[key], value) for key, value in before.items())
    learnt = {name for name in ranges if learns == "all" or name.startswith("trunk.") == (learns == "trunk")}
    assert len(learnt) > 0
    assert {name for name, one in found.items() if one.filters is not None} == learnt
    assert all(found[name] == ranges[name] for name in ranges.keys() - learnt)
    for name in learnt:
        assert not torch.equal(found[name].filters.weight_OIHW, before[f"{name}.weight"])
