"""The arithmetic of 8 bits: what is rounded, what is exact, and which ranges are refused."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from adacode_cli.model.ranges import (
    TOP,
    WEIGHT_TOP,
    WEIGHT_TOP_IN_16_BITS,
    Filters,
    InputRange,
    filters_of,
    problems_of,
    rounded_weight,
    whole_weight,
)

RANGE = InputRange(torch.tensor([0.5, 0.01, 2.0]), 100)


def test_values_within_a_range_move_by_half_a_step_at_most_and_others_are_clipped():
    low, high = RANGE.limits
    x = low[:, None, None] + (high - low)[:, None, None] * torch.rand(1, 3, 20, 20)
    assert ((RANGE.rounded(x) - x).abs() <= RANGE.steps_C[:, None, None] * 0.5001).all()
    assert torch.equal(RANGE.rounded(torch.full((1, 3, 1, 1), 1e6))[0, :, 0, 0], high)
    assert torch.equal(RANGE.rounded(torch.full((1, 3, 1, 1), -1e6))[0, :, 0, 0], low)
    assert torch.equal(RANGE.rounded(RANGE.rounded(x)), RANGE.rounded(x))


def test_zero_is_exact_because_convolutions_pad_with_it():
    assert torch.equal(RANGE.rounded(torch.zeros(1, 3, 4, 4)), torch.zeros(1, 3, 4, 4))


@given(st.integers(0, TOP), st.integers(0, 2**31), st.sampled_from([WEIGHT_TOP, WEIGHT_TOP_IN_16_BITS]))
@settings(max_examples=30, deadline=None)
def test_a_convolution_of_rounded_values_is_a_sum_of_whole_numbers(zero, seed, top):
    generator = torch.Generator().manual_seed(seed)
    given_ = InputRange(torch.rand(5, generator=generator) + 0.01, zero)
    weight = torch.randn(4, 5, 3, 3, generator=generator)
    x = 60 * torch.randn(1, 5, 9, 9, generator=generator)
    whole, factor = whole_weight(weight, given_, top)
    assert int(whole.abs().amax()) == top
    counted = torch.round(given_.rounded(x) / given_.steps_C[:, None, None]).double()
    assert -zero <= float(counted.amin())
    assert float(counted.amax()) <= TOP - zero
    integers = F.conv2d(counted, whole.double(), padding=1)
    assert torch.equal(integers, integers.round())
    as_floats = F.conv2d(given_.rounded(x), rounded_weight(weight, given_, top), padding=1)
    assert torch.allclose(integers.float() * factor.flatten()[:, None, None], as_floats, rtol=1e-4, atol=1e-3)


def test_a_weight_of_16_bit_sums_cannot_overflow():
    assert 2 * TOP * WEIGHT_TOP_IN_16_BITS < 2**15 < 2 * TOP * WEIGHT_TOP


def test_a_channel_without_weights_stays_zero():
    weight = torch.randn(2, 3, 3, 3)
    weight[1] = 0
    assert torch.equal(rounded_weight(weight, RANGE)[1], torch.zeros(3, 3, 3))


@pytest.mark.parametrize(
    ("name", "steps", "zero", "problem"),
    [
        ("0", [1.0, 1.0, 1.0], 7, None),
        ("1", [1.0, 1.0, 1.0], 7, "no convolution"),
        ("0", [1.0, 1.0], 7, "number of channels"),
        ("0", [1.0, 0.0, 1.0], 7, "not positive"),
        ("0", [1.0, float("nan"), 1.0], 7, "not positive"),
        ("0", [1.0, float("inf"), 1.0], 7, "not positive"),
        ("0", [1.0, 1.0, 1.0], 256, "zero 256"),
        ("0", [1.0, 1.0, 1.0], -1, "zero -1"),
    ],
)
def test_ranges_that_do_not_fit_a_network_are_named(name, steps, zero, problem):
    found = problems_of({name: InputRange(torch.tensor(steps), zero)}, nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    assert (found == []) if problem is None else (len(found) == 1 and problem in found[0])


WEIGHT, BIAS, WIDE = torch.ones(4, 3, 3, 3), torch.ones(4), torch.full((4, 3, 3, 3), float("inf"))


@pytest.mark.parametrize(
    ("weight", "bias", "problem"),
    [
        (WEIGHT, BIAS, None),
        (torch.ones(4, 3, 1, 1), BIAS, "another size"),
        (torch.ones(3, 4, 3, 3), BIAS, "another size"),
        (WEIGHT, torch.ones(3), "another size"),
        (WEIGHT, torch.ones(4, 1), "another size"),
        (WIDE, BIAS, "not finite"),
        (WEIGHT, -BIAS * float("inf"), "not finite"),
        (WEIGHT * float("nan"), BIAS, "not finite"),
    ],
)
def test_filters_that_do_not_fit_a_network_are_named(weight, bias, problem):
    ranges = {"0": InputRange(torch.ones(3), 7, Filters(weight, bias))}
    found = problems_of(ranges, nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    assert (found == []) if problem is None else (len(found) == 1 and problem in found[0] and " 0 " in found[0])


def test_a_convolution_without_filters_of_its_own_has_those_of_float32():
    conv = nn.Conv2d(3, 4, 3)
    assert torch.equal(filters_of(conv, RANGE).weight_OIHW, conv.weight)
    assert torch.equal(filters_of(conv, RANGE).bias_O, conv.bias)
    own = Filters(WEIGHT, BIAS)
    assert filters_of(conv, InputRange(RANGE.steps_C, 100, own)) is own
