"""A network in operations whose shapes follow the image, so that a tracer records them for every size.

The engine and `AdaCode.forward` adapt to an image in Python: bands of attention, distances in parts, a pyramid as deep
as the image needs, coarse passes only where the image is large enough. A traced model has no such choices. Here all of
that is computed from the sides of the image inside the model, with the same results up to rounding:

* masks of shifted windows and the indices of the mirrored padding are made from the sides;
* the pyramid that fills holes always has `LEVELS` levels; those above an image of one pixel change nothing;
* every coarse pass is computed, and its result is taken where the image is large enough for it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.model.codebook import Codebook
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.input import base_image, with_hole
from adacode_cli.model.network import AdaCode
from adacode_cli.model.swin import MASKED, SwinBlock, SwinGroup, from_windows, relative_position_index, to_windows

# Halvings after which an image of 65,536 pixels a side is one pixel.
LEVELS = 16
_TINY = 1e-6


class WholeAttention(nn.Module):
    """A `SwinBlock` over the whole map at once: B×H×W×C → the same shape, H and W multiples of the window."""

    def __init__(self, block: SwinBlock) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("position_index", relative_position_index(block.window).clone(), persistent=False)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        block, shift = self.block, self.block.shift
        h, w = x_BHWC.shape[1:3]
        x = x_BHWC.roll((-shift, -shift), (1, 2)) if shift else x_BHWC
        attended = self._attended(to_windows(block.norm1(x), block.window), self._mask(h, w) if shift else None)
        x = x + from_windows(attended, block.window, h, w)
        x = x + block.fc2(F.gelu(block.fc1(block.norm2(x))))
        return cast(Tensor, x.roll((shift, shift), (1, 2)) if shift else x)

    def _mask(self, height: int, width: int) -> Tensor:
        """As `swin.shift_mask` for a whole map: num_windows×(window²)×(window²)."""
        rows, columns = (torch.arange(side) >= side - self.block.shift for side in (height, width))
        region_HW = rows.long()[:, None] * 2 + columns.long()[None, :]
        cells = to_windows(region_HW[None, :, :, None], self.block.window).squeeze(-1)
        return (cells[:, None, :] != cells[:, :, None]).float() * MASKED

    def _attended(self, x_NLC: Tensor, mask_WLL: Tensor | None) -> Tensor:
        attention, channels = self.block.attn, x_NLC.shape[-1]
        length, size = self.block.window**2, channels // attention.heads
        qkv = attention.qkv(x_NLC).reshape(-1, length, 3, attention.heads, size).permute(2, 0, 3, 1, 4)
        index = cast(Tensor, self.position_index)
        bias = attention.position_bias[index].permute(2, 0, 1)[None]
        if mask_WLL is not None:
            bias = bias + mask_WLL[:, None]
        y = torch.softmax(qkv[0] @ qkv[1].transpose(-1, -2) * size**-0.5 + bias, -1) @ qkv[2]
        out: Tensor = attention.proj(y.transpose(1, 2).reshape(-1, length, channels))
        return out


class WholeCodebook(Codebook):
    """A `Codebook` that searches all cells at once. Of codes at the same distance, the lowest index wins here too.

    on_distances: is told the distances of each search, B×H×W×num_codes, if it is set.
    """

    def __init__(self, book: Codebook) -> None:
        nn.Module.__init__(self)
        self.embedding = book.embedding
        self.on_distances: Callable[[Tensor], None] | None = None

    def nearest(self, feature_BCHW: Tensor) -> Tensor:
        """B×dim×H×W float32 → B×H×W int64."""
        codes = self.embedding.weight
        # |f - e|² without |f|², which is the same for every code
        distances = codes.square().sum(1) - 2 * (feature_BCHW.permute(0, 2, 3, 1) @ codes.T)
        if self.on_distances is not None:
            self.on_distances(distances)
        return distances.argmin(-1)


def portable(network: AdaCode) -> AdaCode:
    """A copy on the CPU whose attention and codebooks are the modules above, in evaluation mode."""
    copy = deepcopy(network).cpu().eval()
    for group in [module for module in copy.modules() if isinstance(module, SwinGroup)]:
        for i, block in enumerate(group.blocks):
            group.blocks[i] = WholeAttention(cast(SwinBlock, block))
    for i, book in enumerate(copy.codebook.books):
        copy.codebook.books[i] = WholeCodebook(cast(Codebook, book))
    return copy


class PortableNetwork(nn.Module):
    """Image, and mask where the task fills holes → restored image, for a tracer.

    image: 1×3×H×W, RGB float32 in [0, 1], any size. mask: 1×1×H×W, above 0 in the hole and 0 elsewhere.
    Result: 1×3×(H·scale)×(W·scale) float32, clipped to [0, 1]; outside the hole it is the image itself.
    """

    def __init__(self, network: AdaCode) -> None:
        super().__init__()
        self.network = portable(network)
        self.config = network.config

    def forward(self, image_BCHW: Tensor, mask_B1HW: Tensor | None = None) -> Tensor:
        """The restored image, with the shapes and ranges that the class describes."""
        x = image_BCHW
        if mask_B1HW is not None:
            mask_B1HW = (mask_B1HW > 0).to(x.dtype)  # a feathered mask is a hole as far as it reaches
            x = with_hole(x, mask_B1HW, mask_channel=self.config.mask_channel)
        restored = self._restored(x, self.config.coarse_passes)
        if mask_B1HW is not None:
            restored = torch.where(mask_B1HW > 0, restored, image_BCHW)
        return restored.clamp(0, 1)

    def _restored(self, image_BCHW: Tensor, coarse_passes: int) -> Tensor:
        config, (h, w) = self.config, image_BCHW.shape[-2:]
        prepared = self._prepared(_padded(image_BCHW, config), coarse_passes)
        image = self.network.detail(prepared).image_BCHW
        base = base_image(prepared, config.base, config.scale)
        image = image if base is None else image + base
        return image[..., : h * config.scale, : w * config.scale]

    def _prepared(self, padded_BCHW: Tensor, coarse_passes: int) -> Tensor:
        """As `AdaCode.prepared`."""
        if self.config.base != "filled":
            return padded_BCHW
        image, hole = padded_BCHW[:, :3], padded_BCHW[:, 3:]
        smooth = torch.cat((filled(image, hole), hole), 1)
        if not coarse_passes:
            return smooth
        h, w = padded_BCHW.shape[-2:]
        half = self._restored(halved(padded_BCHW), coarse_passes - 1)
        up = _twice_as_large(half)[..., :h, :w]
        coarse = torch.cat((image * (1 - hole) + up * hole, hole), 1)
        is_large = torch.minimum(*(torch.full((1,), 1, dtype=torch.int64) * side for side in (h, w)))
        return torch.where(is_large > self.config.pad_multiple, coarse, smooth)


def _padded(image_BCHW: Tensor, config: NetworkConfig) -> Tensor:
    """As `input.pad_mirrored` to `input.padded_size`."""
    rows, columns = (_mirror_index(side, config) for side in image_BCHW.shape[-2:])
    return image_BCHW.index_select(2, rows).index_select(3, columns)


def _mirror_index(size: int, config: NetworkConfig) -> Tensor:
    # Without negative numbers: ONNX rounds quotients towards zero, Python downwards.
    multiple = config.pad_multiple
    whole = size // multiple + 1 if config.norm == "group" else (size + multiple - 1) // multiple
    i = torch.remainder(torch.arange(whole * multiple), torch.full((1,), 2, dtype=torch.int64) * size)
    return torch.where(i < size, i, 2 * size - 1 - i)


def filled(image_BCHW: Tensor, hole_B1HW: Tensor) -> Tensor:
    """As `input.fill_holes`, for masks of zeros and ones."""
    known, pyramid = 1 - hole_B1HW, []
    image = image_BCHW * known
    for _ in range(LEVELS):
        pyramid.append((image, known))
        weight = _means_of_four(known) * 4
        mean = _means_of_four(image) * 4 / weight.clamp(min=_TINY)
        known = weight.clamp(max=1)
        image = mean * known
    result = image / known.clamp(min=_TINY)
    for fine, weight in reversed(pyramid):
        h, w = fine.shape[-2:]
        result = fine + (1 - weight) * _twice_as_large(result)[..., :h, :w]
    return result


def halved(image_BCHW: Tensor) -> Tensor:
    """As `input.halve`."""
    known = 1 - image_BCHW[:, 3:]
    weight = _means_of_four(known)
    hole = (weight <= 0).to(image_BCHW.dtype)
    image = _means_of_four(image_BCHW[:, :3] * known) / weight.clamp(min=_TINY) * (1 - hole)
    return torch.cat((image, hole), 1)


def _means_of_four(x_BCHW: Tensor) -> Tensor:
    """Means of 2×2 pixels, zeros outside: B×C×H×W → B×C×⌈H/2⌉×⌈W/2⌉."""
    # The row and the column of zeros are left out again where a side is even.
    return F.avg_pool2d(F.pad(x_BCHW, (0, 1, 0, 1)), 2)


def _twice_as_large(image_BCHW: Tensor) -> Tensor:
    return F.interpolate(image_BCHW, scale_factor=2, mode="bilinear", align_corners=False)
