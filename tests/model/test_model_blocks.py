"""Normalisation with sums gathered in parts equals normalisation of the whole map."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adacode_cli.model.blocks import GroupNorm, Sums, UpBlock, _sums_in_pieces, _sums_of_short_floats


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@torch.no_grad()
def test_sums_of_parts_add_up_to_what_torch_computes(dtype):
    torch.manual_seed(0)
    norm = GroupNorm(4, 12, 1e-6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = (3 * torch.randn(2, 12, 23, 31) + 5).to(dtype)
    kept = x.clone()
    parts = [x[:, :, :7], x[:, :, 7:, :4], x[:, :, 7:, 4:]]
    sums = Sums.of(parts[0]) + Sums.of(parts[1]) + Sums.of(parts[2])
    assert torch.equal(x, kept)
    found = norm.normalise(x, sums)
    assert found.dtype == dtype
    assert torch.equal(found, norm(x))
    wanted = nn.functional.group_norm(x.double(), 4, norm.weight.double(), norm.bias.double(), 1e-6)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=0.05 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_all_ways_to_sum_agree(dtype):
    x = torch.randn(2, 32, 61, 43).to(dtype).contiguous(memory_format=torch.channels_last)[..., 3:-2]
    exact = x.double()
    ways = [(_sums_in_pieces(x, at_once), 1e-12) for at_once in (1, 5000, 1 << 30)]
    if dtype != torch.float32:
        ways.append((_sums_of_short_floats(x), 1e-5))
    for (total, squares), near in ways:
        assert total.dtype == squares.dtype == torch.float64
        torch.testing.assert_close(total, exact.sum((2, 3)), rtol=near, atol=1e3 * near)
        torch.testing.assert_close(squares, exact.square().sum((2, 3)), rtol=near, atol=1e3 * near)


def test_with_gradients_it_is_torchs_own():
    norm, x = GroupNorm(2, 4, 1e-6), torch.randn(1, 4, 5, 6, requires_grad=True)
    y = norm(x)
    y.square().sum().backward()
    assert torch.equal(y, nn.functional.group_norm(x, 2, norm.weight, norm.bias, 1e-6))
    assert x.grad is not None
    with torch.no_grad():
        torch.testing.assert_close(norm(x), y.detach())


def test_without_gradients_an_up_block_adds_taps_up_beforehand():
    """The same result as with gradients, where each value is repeated and then convolved."""
    torch.manual_seed(0)
    block, x = UpBlock(6, 4, 1, "none"), torch.randn(2, 6, 7, 5)
    defined = block(x)
    with torch.no_grad():
        torch.testing.assert_close(block(x), defined.detach(), rtol=1e-5, atol=1e-5)
    assert defined.shape == (2, 4, 14, 10)
