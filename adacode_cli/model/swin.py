"""Shifted-window attention on the latent grid (Liu et al. 2021, arXiv:2103.14030), in the AdaCode arrangement.

Maps stay B×H×W×C inside a stack; H and W are multiples of the window. Windows are independent, so a block computes them
in bands, and its memory in addition to the map does not grow with the map. Position indices and shift masks are derived
from the size of the map, never stored with the weights. They are made on the device, because a copy would make the host
wait for it. They are kept between calls as ordinary tensors, also if the first call is in inference mode, because
autograd cannot save inference tensors.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.model.blocks import conv3
from adacode_cli.model.config import SwinConfig

# Added to the attention between cells that are neighbours only because of the cyclic shift (reference value).
MASKED = -100.0
# Cells of a band: with 256 channels the widest temporary of a band takes 32 MB in float32. A GPU needs more of them to
# be busy while the next band's operations are launched.
_BAND_CELLS, _BAND_CELLS_GPU = 8192, 65536
_CPU = torch.device("cpu")


def band_cells(*, on_cpu: bool) -> int:
    """Cells of the latent grid that a block computes at a time."""
    return _BAND_CELLS if on_cpu else _BAND_CELLS_GPU


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)
def relative_position_index(window: int, device: torch.device = _CPU) -> Tensor:
    """(window²)×(window²) int64: for query cell i and key cell j, the row of the bias table for their offset."""
    r = torch.arange(window, device=device)
    y, x = (g.flatten() for g in torch.meshgrid(r, r, indexing="ij"))
    dy = y[:, None] - y[None, :] + window - 1
    dx = x[:, None] - x[None, :] + window - 1
    return dy * (2 * window - 1) + dx


# A band's mask takes 2 MB, on a GPU 16 MB; the images of one archive mostly come in a few sizes.
@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)
def shift_mask(
    height: int, width: int, window: int, shift: int, device: torch.device = _CPU, *, last: bool = True
) -> Tensor:
    """num_windows×(window²)×(window²) float32, 0 or MASKED, for a map that was rolled by -shift on both axes.

    For a band of such a map, `height` is the band's, and `last` is true if it ends at the end of the map.
    """

    def wrapped(size: int) -> Tensor:
        return (torch.arange(size, device=device) >= size - shift).long()

    # Of the cells in one window, those that were wrapped around the same edges belong together.
    region_HW = wrapped(height)[:, None] * 2 * last + wrapped(width)[None, :]
    cells = to_windows(region_HW[None, :, :, None], window).squeeze(-1)
    return (cells[:, None, :] != cells[:, :, None]).float() * MASKED


def to_windows(x_BHWC: Tensor, window: int) -> Tensor:
    """B×H×W×C → (B·num_windows)×(window²)×C, windows in row order."""
    b, h, w, c = x_BHWC.shape
    x = x_BHWC.reshape(b, h // window, window, w // window, window, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, c)


def from_windows(x_NLC: Tensor, window: int, height: int, width: int) -> Tensor:
    """Inverse of `to_windows`."""
    c = x_NLC.shape[-1]
    x = x_NLC.reshape(-1, height // window, width // window, window, window, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, c)


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learnt bias for each relative position."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.position_bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))

    def position_table(self, device: torch.device) -> Tensor:
        """heads×L×L: the bias of every pair of cells in a window, L = window²."""
        index = relative_position_index(self.window, device)
        # Contiguous, because the fused kernels of a GPU refuse a bias whose last dimension has another stride than 1.
        return self.position_bias[index].permute(2, 0, 1).contiguous()

    def forward(self, x_NLC: Tensor, mask_WLL: Tensor | None) -> Tensor:
        """x: (B·W)×L×C windows; mask: W×L×L added to the attention of the W windows of each image, or None."""
        n, length, c = x_NLC.shape
        qkv = self.qkv(x_NLC).reshape(n, length, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        # Contiguous, because batched products of strided bf16 matrices take a slow path on CPUs.
        q, k, v = qkv.contiguous() if qkv.device.type == "cpu" else qkv
        bias = self.position_table(x_NLC.device).to(q.dtype)
        if mask_WLL is not None:
            num_windows = mask_WLL.shape[0]
            bias = bias + mask_WLL.to(q)[:, None]  # W×heads×L×L
            if n > num_windows:
                bias = bias.repeat(n // num_windows, 1, 1, 1)
        else:
            bias = bias[None]
        y = _attend(q, k, v, bias)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(n, length, c))
        return out


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    if bias.requires_grad and q.device.type == "cpu":
        # The same sum written out: where the bias needs a gradient, the fused function falls back to a path that
        # took longer on a CPU (torch 2.13, 64 windows of 4 heads: 8.6 against 6.6 ms fp32, 12 against 5.4 ms bf16).
        return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias, -1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


class SwinBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); the windows of an odd block are shifted by half their size."""

    def __init__(self, channels: int, config: SwinConfig, *, shifted: bool) -> None:
        super().__init__()
        self.window = config.window
        self.shift = config.window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, config.heads, config.window)
        self.norm2 = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, channels * config.mlp_ratio)
        self.fc2 = nn.Linear(channels * config.mlp_ratio, channels)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """B×H×W×C → the same shape; H and W are multiples of the window."""
        b, h, w, _ = x_BHWC.shape
        most = band_cells(on_cpu=x_BHWC.device.type == "cpu")
        rows = max(1, most // (b * w * self.window)) * self.window
        if rows >= h:
            return self._whole(x_BHWC)
        out = torch.empty_like(x_BHWC)
        for top in range(0, h, rows):
            # The rolled map, one band at a time: the last band continues at the top.
            place = (torch.arange(top, min(top + rows, h), device=x_BHWC.device) + self.shift) % h
            band = x_BHWC.index_select(1, place).roll(-self.shift, 2)
            out[:, place] = self._band(band, last=top + rows >= h).roll(self.shift, 2).to(out.dtype)
        return out

    def _whole(self, x_BHWC: Tensor) -> Tensor:
        if not self.shift:
            return self._band(x_BHWC, last=True)
        rolled = x_BHWC.roll((-self.shift, -self.shift), (1, 2))
        return self._band(rolled, last=True).roll((self.shift, self.shift), (1, 2))

    def _band(self, x_BHWC: Tensor, *, last: bool) -> Tensor:
        _, h, w, _ = x_BHWC.shape
        mask = shift_mask(h, w, self.window, self.shift, x_BHWC.device, last=last) if self.shift else None
        attended = self.attn(to_windows(self.norm1(x_BHWC), self.window), mask)
        x = x_BHWC + from_windows(attended, self.window, h, w)
        out: Tensor = self.fc2(_gelu(self.fc1(self.norm2(x))))
        return x + out if torch.is_grad_enabled() else out.add_(x)


def _gelu(x: Tensor) -> Tensor:
    """GELU, in place unless a gradient needs its input, so that the widest map of a block exists only once."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


class SwinGroup(nn.Module):
    """Swin blocks and a convolution, added to the group's input: B×C×H×W → B×C×H×W."""

    def __init__(self, channels: int, config: SwinConfig) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(SwinBlock(channels, config, shifted=i % 2 == 1) for i in range(config.blocks)))
        self.conv = conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.blocks(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        # In place if no gradient needs it: each map of the latent grid takes much memory in a large image.
        return y.add_(x) if y.dtype == x.dtype else x + y


class SwinStack(nn.Sequential):
    """`groups` residual groups in sequence; no position embedding, no final norm. B×C×H×W → B×C×H×W."""

    def __init__(self, channels: int, config: SwinConfig) -> None:
        super().__init__(*(SwinGroup(channels, config) for _ in range(config.groups)))
