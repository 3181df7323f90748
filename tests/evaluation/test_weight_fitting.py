"""Filters for 8 bits make up for the rounding, also for images that they were not fitted on."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

sys.path.append(str(Path(__file__).parents[1] / "engine"))
from tiny_networks import LAYOUTS, LOCAL, lively, tensor

from adacode_cli.engine.restorer import network_digest
from adacode_cli.evaluation.calibration import in_eight_bits, measured, through
from adacode_cli.evaluation.weight_fitting import fitted
from adacode_cli.model.ranges import WEIGHT_TOP, InputRange, rounded_weight, whole_weight

# How many times as large as the measured ones the steps are, so that rounding matters.
COARSE = 8


@pytest.fixture(scope="module", params=["trunk sr ×4", "compact sr ×4", "added skips, no norm"])
def case(request):
    """(a network, its images, ranges without filters, ranges with filters, the names that were told)."""
    net = lively(LAYOUTS[request.param])
    images = [tensor(net.config, 64, 64, seed=seed) for seed in range(100, 124)]
    exact = measured(net, images)
    ranges = {name: InputRange(COARSE * one.steps_C, one.zero) for name, one in exact.items()}
    told, before = [], network_digest(net)
    found = fitted(net, images, ranges, told.append)
    assert network_digest(net) == before, "the network stays as it is"
    return net, images, ranges, found, told


def error(net, ranges, seeds):
    """Mean square difference between images in 8 bits and in float32."""
    total = 0.0
    for seed in seeds:
        x = tensor(net.config, 64, 64, seed=seed)
        exact = through(net, x)
        with in_eight_bits(net, ranges):
            total += float((through(net, x) - exact).square().mean())
    return total / len(seeds)


def test_other_images_are_nearer_to_float32_than_with_plain_rounding(case):
    net, _, ranges, found, _ = case
    others = range(20, 26)
    assert error(net, found, others) < 0.95 * error(net, ranges, others)


def test_the_chosen_convolutions_have_filters_and_their_ranges_stay(case):
    net, _, ranges, found, told = case
    wanted = [name for name in ranges if net.trunk is None or name.startswith("trunk.")]
    assert sorted(told) == sorted(wanted)
    assert [name for name, one in found.items() if one.filters is not None] == wanted
    assert list(found) == list(ranges)
    assert len(wanted) < len(ranges) or net.trunk is None
    for name, one in found.items():
        assert torch.equal(one.steps_C, ranges[name].steps_C)
        assert one.zero == ranges[name].zero


def test_the_network_computes_as_before_and_has_its_own_parameters(case):
    net, images, ranges, *_ = case
    parameters, plain = dict(net.named_parameters()), through(net, images[0])
    fitted(net, images[:2], ranges)
    assert all(parameters[name] is one for name, one in net.named_parameters())
    assert torch.equal(through(net, images[0]), plain)


def test_a_failure_leaves_the_network_as_it_was(case):
    net, images, ranges, *_ = case
    before, plain = network_digest(net), through(net, images[0])

    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(net, images[:1], ranges, interrupted)
    assert network_digest(net) == before
    assert torch.equal(through(net, images[0]), plain)


def test_fitting_twice_gives_the_same_bits(case):
    net, images, ranges, found, _ = case
    again = fitted(net, images, ranges)
    for name, one in found.items():
        assert (one.filters is None) == (again[name].filters is None)
        if one.filters is not None:
            assert torch.equal(one.filters.weight_OIHW, again[name].filters.weight_OIHW)
            assert torch.equal(one.filters.bias_O, again[name].filters.bias_O)


def test_a_fitted_weight_is_one_that_whole_numbers_stand_for(case):
    for one in case[3].values():
        if one.filters is not None:
            weight = one.filters.weight_OIHW
            again = rounded_weight(weight, one)
            assert float((again - weight).abs().max()) <= 1e-6 * float(weight.abs().max())


class OneConvolution(nn.Module):
    """Stands where a network stands that consists of one convolution."""

    trunk, config = None, LOCAL

    def __init__(self, conv):
        super().__init__()
        self.conv = conv.requires_grad_(requires_grad=False)

    def prepared(self, image_BCHW, _passes):
        return image_BCHW

    def detail(self, x_BCHW):
        return self.conv(x_BCHW)


def filters_for(conv, images, given):
    net = OneConvolution(conv)
    weight, bias = conv.weight.clone(), conv.bias.clone()
    found = fitted(net, images, {"conv": given})["conv"].filters
    assert torch.equal(conv.weight, weight)
    assert torch.equal(conv.bias, bias)
    return found


def maps(channels, *seeds, side=40):
    """1×C×side×side, neighbours and channels alike, as maps of photographs are; from about -1 to 4."""
    found = []
    for seed in seeds:
        random = torch.Generator().manual_seed(seed)
        rough = torch.rand(1, channels, side, side, generator=random)
        fine = F.avg_pool2d(rough, 5, 1, 2) * 5 + 0.2 * rough
        found.append(fine + fine.mean(1, keepdim=True) - 1.5)
    return found


def test_one_weight_and_the_bias_are_those_of_a_regression():
    """One input channel and one weight for each result, which is never rounded; a third of the inputs is clipped."""
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 2, 1)
    images = [torch.rand(1, 1, 40, 40) for _ in range(3)]  # each position is used: fewer than 2048
    given = InputRange(torch.tensor([0.65 / 255]), 0)
    found = filters_for(conv, images, given)
    x = torch.cat(images)
    rounded = given.rounded(x).flatten().double()
    for o in range(2):
        y = conv(x)[:, o].flatten().double()
        slope = ((rounded - rounded.mean()) * (y - y.mean())).mean() / rounded.var(correction=0)
        assert abs(float(slope / conv.weight[o, 0, 0, 0]) - 1) > 0.1, "the fit has something to do"
        # A thousandth: weights are held a little at their values in float32.
        assert float(found.weight_OIHW[o, 0, 0, 0]) == pytest.approx(float(slope), rel=1e-3)
        intercept = float(y.mean() - slope * rounded.mean())
        assert float(found.bias_O[o]) == pytest.approx(intercept, abs=1e-3)


def test_without_rounding_the_exact_weights_are_found():
    """The inputs are whole numbers of steps, and the weights whole numbers of a factor."""
    random = torch.Generator().manual_seed(1)
    given = InputRange(torch.tensor([0.5, 0.01, 2.0]), 100)
    conv = nn.Conv2d(3, 4, 3, padding=1)
    whole = torch.randint(-WEIGHT_TOP, WEIGHT_TOP + 1, conv.weight.shape, generator=random)
    whole[:, 1, 1, 1] = WEIGHT_TOP
    with torch.no_grad():
        conv.weight.copy_(whole * 0.003 / given.steps_C[:, None, None])
    counts = torch.randint(-100, 156, (4, 3, 40, 40), generator=random)
    images = [one[None] * given.steps_C[:, None, None] for one in counts]
    found = filters_for(conv, images, given)
    assert torch.equal(whole_weight(found.weight_OIHW, given)[0].int(), whole.int())
    torch.testing.assert_close(found.weight_OIHW, conv.weight, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.bias_O, conv.bias, rtol=1e-4, atol=1e-4)


KINDS = {
    "3×3": {"kernel_size": 3, "padding": 1},
    "1×1": {"kernel_size": 1},
    "of stride 2": {"kernel_size": 3, "stride": 2, "padding": 1},
    "4×4 of stride 2": {"kernel_size": 4, "stride": 2, "padding": 1},
    "3×1, not padded": {"kernel_size": (3, 1)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_convolution_is_nearer_on_other_maps(kind):
    """Places of the map and of its input that do not belong together would give useless weights."""
    torch.manual_seed(2)
    conv = nn.Conv2d(6, 5, **KINDS[kind])
    given = InputRange(torch.full((6,), 0.1), 10)
    found = filters_for(conv, maps(6, *range(8)), given)

    def error(weight, bias):
        x = torch.cat(maps(6, 50, 51))
        made = F.conv2d(given.rounded(x), rounded_weight(weight, given), bias, conv.stride, conv.padding)
        return float((made - conv(x)).square().mean())

    assert error(found.weight_OIHW, found.bias_O) < 0.9 * error(conv.weight, conv.bias)


def test_weights_are_rounded_better_than_one_by_one():
    """The inputs are not rounded, and the regression has nothing to do, so only the rounding of weights remains."""
    torch.manual_seed(3)
    conv = nn.Conv2d(6, 5, 3, padding=1)
    with torch.no_grad():
        conv.weight[:, 0, 1, 1] = 30  # the others have a few levels only
    given = InputRange(torch.full((6,), 0.1), 100)
    images, others = ([given.rounded(x) for x in maps(6, *seeds)] for seeds in (range(8), (50, 51)))
    found = filters_for(conv, images, given)

    def deviation(weight):
        x = torch.cat(others)
        made = F.conv2d(x, rounded_weight(weight, given), None, padding=1) - F.conv2d(x, conv.weight, padding=1)
        return float((made - made.mean((0, 2, 3), keepdim=True)).square().mean())

    assert deviation(found.weight_OIHW) < 0.7 * deviation(conv.weight)


def test_images_of_the_most_frequent_size_are_used():
    torch.manual_seed(4)
    conv = nn.Conv2d(3, 4, 3, padding=1)
    given = InputRange(torch.full((3,), 0.1), 10)
    one, other, rare = *maps(3, 1, 2), *maps(3, 3, side=48)
    found, wanted = filters_for(conv, [rare, one, other], given), filters_for(conv, [one, other], given)
    assert torch.equal(found.weight_OIHW, wanted.weight_OIHW)
    assert torch.equal(found.bias_O, wanted.bias_O)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("dead", [[0], [0, 2, 3], [0, 1, 2, 3]], ids=["one", "most", "all"])
@pytest.mark.parametrize("value", [0.0, 2.5])
def test_channels_that_never_change_give_no_wild_weights(kernel, dead, value):
    """Nothing is known of them, so their weights stay about where they were: another image may use them."""
    torch.manual_seed(5)
    conv = nn.Conv2d(4, 4, kernel, padding=kernel // 2)
    given = InputRange(torch.full((4,), 0.02), 0)
    images = [x.abs() for x in maps(4, *range(4))]
    for x in images:
        x[:, dead] = value
    found = filters_for(conv, images, given)
    assert torch.isfinite(found.bias_O).all()
    assert float((found.weight_OIHW - conv.weight).abs().max()) < 0.1 * float(conv.weight.abs().max())


def test_a_result_that_never_changes_stays_so():
    torch.manual_seed(6)
    conv = nn.Conv2d(3, 2, 3, padding=1)
    with torch.no_grad():
        conv.weight[1] = 0
    found = filters_for(conv, maps(3, 1, 2), InputRange(torch.full((3,), 0.05), 40))
    assert float(found.weight_OIHW[1].abs().max()) < 1e-9
    assert float(found.bias_O[1]) == pytest.approx(float(conv.bias[1]), rel=1e-5)
