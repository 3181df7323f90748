"""Shifted-window attention against loops over single cells."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from adacode_cli.model import swin
from adacode_cli.model.config import SwinConfig
from adacode_cli.model.swin import (
    MASKED,
    SwinBlock,
    SwinStack,
    WindowAttention,
    from_windows,
    relative_position_index,
    shift_mask,
    to_windows,
)


def cells_of_window(window, top=0, left=0):
    return [(top + y, left + x) for y in range(window) for x in range(window)]


def attend_cell_by_cell(attention: WindowAttention, x_LC, mask_LL=None):
    """One window, written as the formula: Σ_j softmax_j(q_i·k_j/√d + bias(offset) + mask) v_j, for each head."""
    length, channels = x_LC.shape
    size, window = channels // attention.heads, attention.window
    cells = cells_of_window(window)
    q, k, v = (part.detach() for part in attention.qkv(x_LC).chunk(3, 1))
    out = torch.zeros_like(x_LC)
    for head in range(attention.heads):
        own = slice(head * size, (head + 1) * size)
        for i in range(length):
            scores = torch.zeros(length)
            for j in range(length):
                dy, dx = cells[i][0] - cells[j][0], cells[i][1] - cells[j][1]
                row = (dy + window - 1) * (2 * window - 1) + dx + window - 1
                scores[j] = q[i, own] @ k[j, own] / math.sqrt(size) + attention.position_bias[row, head].detach()
                if mask_LL is not None:
                    scores[j] += mask_LL[i, j]
            out[i, own] = scores.softmax(0) @ v[:, own]
    return attention.proj(out).detach()


def made(module: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.parametrize("learning", [False, True])
def test_attention_is_what_single_cells_compute(window, learning):
    """Both ways of computing it: the fused function, and the sum written out where the bias learns."""
    attention = made(WindowAttention(8, 2, window)).requires_grad_(learning)
    x_NLC = torch.randn(3, window**2, 8)
    mask_WLL = torch.where(torch.rand(3, window**2, window**2) > 0.7, MASKED, 0.0)
    for mask in (None, mask_WLL):
        found = attention(x_NLC, mask)
        assert found.requires_grad == learning
        for n in range(3):
            expected = attend_cell_by_cell(attention, x_NLC[n], None if mask is None else mask[n])
            torch.testing.assert_close(found[n].detach(), expected, rtol=1e-4, atol=1e-4)


def test_windows_of_a_batch_share_the_masks_of_their_image():
    attention = made(WindowAttention(4, 1, 2)).requires_grad_(False)
    mask_WLL = torch.where(torch.rand(6, 4, 4) > 0.5, MASKED, 0.0)
    images = torch.randn(2, 6, 4, 4)
    together = attention(images.flatten(0, 1), mask_WLL)
    torch.testing.assert_close(together, torch.cat([attention(image, mask_WLL) for image in images]))


@given(data=st.data(), window=st.integers(2, 5), rows=st.integers(1, 3), columns=st.integers(1, 3))
@settings(deadline=None, max_examples=30)
def test_shift_mask_parts_cells_that_only_the_shift_brought_together(data, window, rows, columns):
    """Two cells of a rolled window may see one another iff they are as far apart in the image as in the window."""
    shift = data.draw(st.integers(1, window - 1))
    height, width = rows * window, columns * window
    mask = shift_mask(height, width, window, shift)
    assert mask.shape == (rows * columns, window**2, window**2)
    for n in range(rows * columns):
        cells = cells_of_window(window, n // columns * window, n % columns * window)
        for i, (y, x) in enumerate(cells):
            for j, (v, u) in enumerate(cells):
                here, there = (y + shift) % height, (v + shift) % height
                left, right = (x + shift) % width, (u + shift) % width
                neighbours = (here - there, left - right) == (y - v, x - u)
                assert mask[n, i, j] == (0 if neighbours else MASKED)


@given(b=st.integers(1, 2), rows=st.integers(1, 3), columns=st.integers(1, 3), window=st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_windows_come_back_as_the_map_they_were(b, rows, columns, window):
    height, width = rows * window, columns * window
    x_BHWC = torch.arange(b * height * width * 3).reshape(b, height, width, 3)
    windows = to_windows(x_BHWC, window)
    assert windows.shape == (b * rows * columns, window**2, 3)
    second_row = (b * rows - 1) * columns
    assert torch.equal(windows[second_row].reshape(window, window, 3), x_BHWC[-1, -window:, :window])
    assert torch.equal(from_windows(windows, window, height, width), x_BHWC)


def test_a_shifted_block_attends_over_the_windows_of_the_rolled_map():
    block = made(SwinBlock(8, SwinConfig(heads=2, window=4, mlp_ratio=2), shifted=True)).requires_grad_(False)
    x_BHWC = torch.randn(1, 8, 4, 8)
    rolled = F.layer_norm(x_BHWC, (8,), block.norm1.weight, block.norm1.bias).roll((-2, -2), (1, 2))
    mask = shift_mask(8, 4, 4, 2)
    windows = [attend_cell_by_cell(block.attn, w, m) for w, m in zip(to_windows(rolled, 4), mask, strict=True)]
    x = x_BHWC + from_windows(torch.stack(windows), 4, 8, 4).roll((2, 2), (1, 2))
    normed = F.layer_norm(x, (8,), block.norm2.weight, block.norm2.bias)
    expected = x + block.fc2(F.gelu(block.fc1(normed)))
    torch.testing.assert_close(block(x_BHWC), expected, rtol=1e-3, atol=1e-3)


def test_every_other_block_of_a_stack_is_shifted():
    stack = SwinStack(8, SwinConfig(groups=2, blocks=4, heads=2, window=5))
    assert [block.shift for group in stack for block in group.blocks] == [0, 2, 0, 2] * 2
    assert stack(torch.rand(2, 8, 10, 5)).shape == (2, 8, 10, 5)


def test_what_inference_left_behind_does_not_stop_training():
    """Position indices and masks are kept between calls; the first call may be one that records nothing."""
    relative_position_index.cache_clear()
    shift_mask.cache_clear()
    stack, x = SwinStack(8, SwinConfig(groups=1, blocks=2, heads=2, window=3)), torch.rand(1, 8, 6, 6)
    with torch.inference_mode():
        expected = stack(x).clone()
    learning = stack(x)
    torch.testing.assert_close(learning, expected)
    learning.sum().backward()
    assert stack[0].blocks[1].attn.position_bias.grad.any()


@pytest.mark.parametrize("window", [2, 4])
@pytest.mark.parametrize("band_cells", [1, 24, 100])
def test_bands_of_windows_are_what_the_whole_map_gives(window, band_cells, monkeypatch):
    """Shifted blocks too, whose last band goes on at the top of the map."""
    stack = made(SwinStack(8, SwinConfig(2, 2, 2, window, 2)))
    x = torch.randn(2, 8, 5 * window, 3 * window)
    whole = stack(x)
    monkeypatch.setattr(swin, "_BAND_CELLS", band_cells)
    torch.testing.assert_close(stack(x), whole, rtol=1e-4, atol=1e-4)
