"""Loss terms: their values against plain sums, their gradients against differences, batches against their halves."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adacode_cli.training.codebooks import codebook_loss
from adacode_cli.training.discriminator import hinge_discriminator, hinge_generator
from adacode_cli.training.losses import (
    SemanticHead,
    code_loss,
    contrastive_loss,
    feature_loss,
    gram,
    grid_loss,
    hole_pixel_loss,
    pixel_loss,
    semantic_loss,
    tint_loss,
)

Loss = Callable[..., Tensor]


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def hole(seed: int, num: int, side: int) -> Tensor:
    """B×1×H×W of 0 and 1, holes of every size, one image without any."""
    part = torch.linspace(0, 0.9, num).view(-1, 1, 1, 1)
    return (torch.rand(num, 1, side, side, generator=torch.Generator().manual_seed(seed)) < part).float()


def agrees_with_differences(loss: Loss, x: Tensor, step: float = 1e-2) -> bool:
    """Whether the gradient at x, along some direction, is what two values nearby say.

    Half of the direction is the gradient itself: along a random one the values may differ by less than their rounding.
    """
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    direction = normal(99, *x.shape) + gradient / gradient.std()
    found = float((gradient * direction).sum())
    expected = float(loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    return abs(found) > 1e-4 and math.isclose(found, expected, rel_tol=2e-2)


def per_image_losses(seed: int, num: int, side: int, least: float = 0.01) -> dict[str, tuple[Loss, tuple[Tensor, ...]]]:
    """Every loss that promises to be a mean over images, and arguments that are `least` to 10 in size, by image."""
    size = torch.logspace(math.log10(least), 1, num).view(-1, 1, 1, 1)
    a, b = (normal(seed + i, num, 3, side, side) * size for i in range(2))
    own = torch.arange(num) % 3 == 0
    return {
        "pixel": (pixel_loss, (a, b)),
        "hole": (hole_pixel_loss, (a, b, hole(seed, num, side))),
        "grid": (lambda x, y: grid_loss(x, y, 2), (a, b)),
        "tint": (tint_loss, (a, b, hole(seed, num, side))),
        "feature": (feature_loss, (a, b)),
        "code": (lambda x, y: code_loss(x, y, 0.25), (a, b)),
        "codebook": (lambda x, y, o: codebook_loss(x, y, 0.25, o), (a, b, own)),
        "semantic": (semantic_loss, (a, b)),
        "hinge, discriminator": (hinge_discriminator, (a, b)),
        "hinge, generator": (hinge_generator, (a,)),
    }


@pytest.mark.parametrize("name", per_image_losses(0, 2, 4))
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), half=st.integers(1, 4), side=st.integers(1, 6))
def test_the_loss_of_a_batch_is_the_mean_of_its_halves(name, seed, half, side):
    loss, arguments = per_image_losses(seed, 2 * half, side)[name]
    whole = loss(*arguments)
    halves = [loss(*(a[part] for a in arguments)) for part in (slice(None, half), slice(half, None))]
    assert whole.dtype == torch.float32
    assert whole.ndim == 0
    assert torch.allclose(whole, torch.stack(halves).mean(), rtol=1e-4, atol=1e-6)


# The codebook term stops gradients by design; test_training_codebooks.py has its own.
@pytest.mark.parametrize("name", sorted(per_image_losses(0, 2, 4).keys() - {"codebook"}))
def test_gradients_agree_with_differences(name):
    loss, (x, *others) = per_image_losses(3, 3, 5, 1.0)[name]
    others = [o if o.ndim < 4 or o.shape[1] == 1 else 3 * o for o in others]  # beyond x: the unit is the target's power
    assert agrees_with_differences(lambda v: loss(v, *others), x * 0.5, 1e-3)


def test_loss_terms_are_float32_for_bf16_tensors_and_within_autocast():
    for loss, arguments in per_image_losses(1, 2, 4).values():
        exact = loss(*arguments)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(loss(*arguments), exact)
        assert loss(*(a.bfloat16() for a in arguments)).dtype == torch.float32


def test_a_hole_counts_as_much_as_any_other_whatever_its_size():
    target, output = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    holes = torch.zeros(2, 1, 8, 8)
    holes[0, :, 0, 0], holes[1, :, :4] = 1, 1
    output[0] = 0.5 * holes[0]
    assert float(hole_pixel_loss(output, target, holes)) == pytest.approx(0.25)
    output = 0.5 * (1 - holes) * torch.ones(2, 3, 1, 1)
    assert float(hole_pixel_loss(output, target, holes, outside=0.1)) == pytest.approx(0.05)


def test_an_image_without_a_hole_and_one_that_is_all_hole_have_finite_losses():
    output, target = torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    holes = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    assert float(hole_pixel_loss(output, target, holes, outside=0.1)) == pytest.approx((0.1 + 1) / 2)


@given(st.integers(0, 10**6), st.integers(2, 6))
def test_channel_correlations_know_nothing_of_where_cells_lie_and_all_of_which_channels(seed, side):
    feature = normal(seed, 2, 5, side, side)
    cells = torch.randperm(side * side, generator=torch.Generator().manual_seed(seed))
    moved = feature.flatten(2)[:, :, cells].unflatten(2, (side, side))
    assert torch.allclose(gram(moved), gram(feature), atol=1e-5)
    channels = torch.tensor([4, 2, 0, 1, 3])
    assert torch.allclose(gram(feature[:, channels]), gram(feature)[:, channels][:, :, channels], atol=1e-5)
    assert torch.allclose(gram(-2 * feature), 4 * gram(feature), atol=1e-5)


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_the_feature_term_does_not_depend_on_the_scale_of_features(seed, scale):
    a, b = normal(seed, 2, 4, 3, 3), normal(seed + 1, 2, 4, 3, 3)
    assert float(feature_loss(scale * a, scale * b)) == pytest.approx(float(feature_loss(a, b)), rel=1e-3)
    assert float(feature_loss(b, b)) == 0
    assert float(feature_loss(0.5 * b, b)) == pytest.approx(0.25 * 0.25 + 0.75**2, rel=1e-3)


@given(st.integers(0, 10**6), st.floats(-4, 4), st.floats(-8, 8))
def test_no_image_outweighs_the_rest_however_little_power_it_has(seed, size, target_size):
    a, b = 10**size * normal(seed, 1, 4, 3, 3), 10**target_size * normal(seed + 1, 1, 4, 3, 3)
    assert 0 <= float(feature_loss(a, b)) <= 3 + 1e-3
    assert math.isfinite(float(feature_loss(a, torch.zeros_like(b))))
    assert float(feature_loss(torch.zeros_like(a), torch.zeros_like(b))) == 0


def test_a_feature_far_too_large_is_drawn_to_its_target_and_does_not_pay_by_growing():
    target = normal(0, 2, 4, 3, 3)
    factor = torch.tensor(10.0, requires_grad=True)
    feature_loss(factor * target, target).backward()
    assert float(factor.grad) == pytest.approx(0.25 * 2 * 9 / 100 + 2 * 99 * 20 / 100**2, rel=1e-3)


def test_targets_are_not_drawn_to_what_is_compared_with_them():
    for loss in (feature_loss, semantic_loss, lambda x, y: code_loss(x, y, 0.25)):
        x, target = (normal(i, 2, 4, 3, 3).requires_grad_() for i in range(2))
        loss(x, target).backward()
        assert float(x.grad.abs().sum()) > 0
        assert target.grad is None


def test_the_code_term_is_its_two_parts():
    x, target = normal(0, 2, 4, 3, 3), 2 * normal(1, 2, 4, 3, 3)
    style = 0.0
    for a, b in zip(x, target, strict=True):
        ga, gb = (v.flatten(1) @ v.flatten(1).T / 9 for v in (a, b))
        style += float((ga - gb).square().mean() / torch.maximum(ga.square().mean(), gb.square().mean())) / 2
    assert float(code_loss(x, target, 0.25)) == pytest.approx(
        0.25 * float((x - target).square().mean()) + style, rel=1e-4
    )
    cells = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    moved = target.flatten(2)[:, :, cells].unflatten(2, (3, 3))
    assert float(code_loss(moved, target, 0.0)) == pytest.approx(0, abs=1e-6)  # the style part alone
    assert float(code_loss(moved, target, 1.0)) > 0.1


def nt_xent(restored: Tensor, clean: Tensor, temperature: float) -> float:
    """Equation 1 of the paper, sum by sum."""
    vectors = [v.double() for v in (*restored, *clean)]
    num = len(restored)

    def similar(i: int, j: int) -> float:
        a, b = vectors[i], vectors[j]
        return math.exp(float(a @ b / (a.norm() * b.norm())) / temperature)

    losses = []
    for i in range(2 * num):
        positive = (i + num) % (2 * num)
        losses.append(-math.log(similar(i, positive) / sum(similar(i, k) for k in range(2 * num) if k != i)))
    return sum(losses) / len(losses)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 8), st.floats(0.1, 2))
def test_the_contrastive_term_is_nt_xent(seed, num, dim, temperature):
    a, b = normal(seed, num, dim), 3 * normal(seed + 1, num, dim)
    found = float(contrastive_loss(a, b, temperature))
    assert found == pytest.approx(nt_xent(a, b, temperature), rel=1e-4, abs=1e-5)
    assert float(contrastive_loss(b, a, temperature)) == pytest.approx(found, rel=1e-4, abs=1e-5)
    assert 0 <= found <= 2 / temperature + math.log(2 * num - 1) + 1e-4
    with torch.autocast("cpu", torch.bfloat16):
        assert float(contrastive_loss(a, b, temperature)) == found


def test_the_contrastive_term_has_the_gradient_of_differences_and_is_least_for_pairs():
    a, b = normal(0, 4, 6), normal(1, 4, 6)
    assert agrees_with_differences(lambda v: contrastive_loss(v, b), a)
    assert agrees_with_differences(lambda v: contrastive_loss(a, v), b)
    assert float(contrastive_loss(a, a)) < float(contrastive_loss(a, b)) < float(contrastive_loss(a, -a))


def test_a_single_pair_and_features_of_zeros_have_finite_contrast_and_gradient():
    a, b = normal(0, 1, 6).requires_grad_(), normal(1, 1, 6)
    loss = contrastive_loss(a, b)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(a.grad, torch.zeros(1, 6))
    zeros = torch.zeros(2, 6, requires_grad=True)
    contrastive_loss(zeros, normal(2, 2, 6)).backward()
    assert bool(zeros.grad.isfinite().all())


def test_the_semantic_head_learns_features_from_codes():
    torch.manual_seed(0)
    codes, head = normal(0, 4, 6, 5, 5), SemanticHead(6, 9)
    assert head(codes).shape == (4, 9, 5, 5)
    assert float(head(codes).detach().min()) == 0
    target = torch.relu(torch.nn.functional.conv2d(codes, normal(1, 9, 6, 1, 1)))
    optimiser = torch.optim.Adam(head.parameters(), 0.05)
    before = float(semantic_loss(head(codes), target).detach())
    for _ in range(60):
        optimiser.zero_grad()
        semantic_loss(head(codes), target).backward()
        optimiser.step()
    assert float(semantic_loss(head(codes), target).detach()) < 0.1 * before


def test_the_semantic_target_comes_to_the_predictions_grid():
    target = normal(0, 2, 3, 8, 12)
    averages = target.unflatten(3, (6, 2)).mean(4).unflatten(2, (4, 2)).mean(3)
    assert float(semantic_loss(averages, target)) == pytest.approx(0, abs=1e-10)
    level = torch.tensor([[[[2.0]], [[3.0]]]])
    for grid in ((5, 7), (3, 20), (20, 3)):  # finer or coarser, also on one axis only, what is flat stays what it is
        assert float(semantic_loss(level.expand(1, 2, *grid), level.expand(1, 2, 6, 9))) == pytest.approx(0, abs=1e-10)
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    finer = torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]).expand(1, 1, 8, 8)
    assert float(semantic_loss(finer, ramp)) == pytest.approx(0, abs=1e-10)


def test_hinge_losses_stop_at_the_margin():
    real, fake = torch.tensor([2.0, 1.0, 0.0, -1.0]), torch.tensor([-3.0, -1.0, 0.0, 1.0])
    assert float(hinge_discriminator(real, fake)) == pytest.approx((0 + 0 + 1 + 2) / 4 + (0 + 0 + 1 + 2) / 4)
    assert float(hinge_generator(fake)) == pytest.approx(0.75)
    real.requires_grad_()
    hinge_discriminator(real, fake).backward()
    assert real.grad.tolist() == [0, 0, -0.25, -0.25]


def test_the_tint_loss_sees_a_wrong_colour_at_the_border_of_a_hole_alone():
    """Noise, whatever is wrong outside, and what is wrong deep in the hole do not matter; a tint by its strength."""
    target, hole = normal(0, 2, 3, 96, 96), torch.zeros(2, 1, 96, 96)
    hole[0, :, 16:80, 16:80] = 1
    tint = torch.tensor([0.2, 0.0, -0.1]).view(3, 1, 1)
    inside, deep = hole, torch.zeros_like(hole)
    deep[0, :, 32:64, 32:64] = 1
    assert tint_loss(target + tint * inside, target, hole) == pytest.approx(0.1 / 2, rel=1e-4)
    assert tint_loss(target + tint * (1 - inside), target, hole) == 0
    assert tint_loss(target + tint * deep, target, hole) == 0
    assert tint_loss(target + tint, target, torch.zeros_like(hole)) == 0
    noise = 0.1 * normal(1, 2, 3, 96, 96) * inside
    assert tint_loss(target + noise, target, hole) < 0.2 * hole_pixel_loss(target + noise, target, hole)


@pytest.mark.parametrize("period", [2, 4])
def test_the_grid_loss_sees_a_repeated_pattern_and_nothing_that_photographs_do(period):
    """Neither a wrong colour nor a slope nor a single wrong place; the pattern by its mean strength."""
    target = normal(0, 2, 3, 64, 64)
    pattern = torch.zeros(1, 1, 64, 64)
    pattern[..., ::period, ::period] = 0.1
    share = 1 / period**2
    assert grid_loss(target + pattern, target, period) == pytest.approx(0.2 * share * (1 - share), rel=1e-3)
    assert grid_loss(target + pattern, target + pattern, period) == 0
    assert grid_loss(target + 0.3, target, period) == pytest.approx(0, abs=1e-6)
    assert grid_loss(target + pattern, target, 1) == 0
    slope = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    single = torch.zeros(1, 1, 64, 64)
    single[..., 20, 20] = 0.1
    strength = grid_loss(target + pattern, target, period)
    assert grid_loss(target + single, target, period) < 0.02 * strength
    assert grid_loss(target + 0.1 * slope, target, period) < 0.25 * strength
