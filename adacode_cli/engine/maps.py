"""Maps of a network, on the latent grid of one padded image, and parts of them that stay exact.

Tiles begin and end on the latent grid, so that strides and enlargements stay aligned. A convolution pads with zeros. At
the border of the map this is correct; at an inner edge of a part it is not, and results that depend on such zeros are
cut off at once. So every value of a `Patch` equals the value of the whole map, and the receptive field of a chain of
layers need not be known: the result is smaller than the patch of the input by exactly that amount.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.geometry import Box, tiles
from adacode_cli.limits import MIN_TILE_PX
from adacode_cli.model.blocks import Sums, enlarge
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.input import padded_size


@dataclass(frozen=True)
class Grid:
    """height, width: latent cells of the padded image, multiples of `multiple`. cell_px, input_cell_px: a cell's side
    in output and in input pixels.
    """

    height: int
    width: int
    cell_px: int
    input_cell_px: int
    multiple: int

    @classmethod
    def of(cls, config: NetworkConfig, height: int, width: int) -> Grid:
        """The grid of an image of height × width input pixels, which is padded first."""
        per_cell = config.latent_stride // config.scale
        h, w = (side // per_cell for side in padded_size(config, height, width))
        return cls(h, w, config.latent_stride, per_cell, config.pad_multiple // per_cell)

    @property
    def num_cells(self) -> int:
        return self.height * self.width

    @property
    def smallest_tile(self) -> int:
        """Side in cells below which a tile is not halved."""
        return max(1, MIN_TILE_PX // self.cell_px)

    def tile(self, side_px: int) -> tuple[int, int]:
        """The largest number of rows and columns of cells of a tile: no side is longer than `side_px` output pixels (or
        one cell), and all tiles have about the same size.
        """
        most = max(1, side_px // self.cell_px)
        rows, columns = (-(-side // -(-side // most)) for side in (self.height, self.width))
        return rows, columns

    def boxes(self, tile: tuple[int, int]) -> tuple[Box, ...]:
        """The tiles that divide the image."""
        return tuple(tiles(self.height, self.width, *tile))


@dataclass(frozen=True)
class MapShape:
    """channels and dtype of a map, and its cells along a side of a latent cell."""

    channels: int
    per_cell: int
    dtype: torch.dtype

    @property
    def bytes_per_cell(self) -> int:
        """Bytes of the map for each latent cell."""
        return int(self.channels * self.per_cell**2 * self.dtype.itemsize)


@dataclass(frozen=True)
class Patch:
    """A part of a map.

    data_BCHW: its values. box: where it lies. height, width: sides of the whole map. per_cell: how many of the map's
    cells there are along one side of a latent cell.
    """

    data_BCHW: Tensor
    box: Box
    height: int
    width: int
    per_cell: int

    def apply(self, function: Callable[[Tensor], Tensor]) -> Patch:
        """The patch after a pointwise function."""
        return replace(self, data_BCHW=function(self.data_BCHW))

    def to(self, dtype: torch.dtype) -> Patch:
        """The patch in another dtype."""
        return self.apply(lambda x: x.to(dtype))

    def crop(self, box: Box) -> Patch:
        """The part of the patch in `box`, which lies within it."""
        if box == self.box:
            return self
        inner = Box(
            box.top - self.box.top, box.left - self.box.left, box.bottom - self.box.top, box.right - self.box.left
        )
        beyond = max(-inner.top, -inner.left, inner.bottom - self.box.height, inner.right - self.box.width)
        assert max(beyond, 1 - inner.height, 1 - inner.width) <= 0, f"{box} is not in {self.box}"
        return replace(self, data_BCHW=self.data_BCHW[(..., *inner.slices)], box=box)

    def on_map(self, cells: Box) -> Box:
        """The map's part of a box of latent cells. The map of a 4×4 stem lacks its last row and column."""
        return cells.scaled(self.per_cell).grown(0, self.height, self.width)

    def of_image(self, index: int) -> Patch:
        """The same part of one of the images, as a patch of one."""
        return replace(self, data_BCHW=self.data_BCHW[index : index + 1])

    @property
    def is_whole(self) -> bool:
        return self.box == Box(0, 0, self.height, self.width)


@dataclass
class Map:
    """A whole map of one or more images: its values, its cells along a side of a latent cell, and its sums where
    gathered.
    """

    data_BCHW: Tensor
    per_cell: int
    sums: Sums | None = None

    def patch(self, cells: Box, device: torch.device) -> Patch:
        """The part of the map in a box of latent cells, on `device`."""
        height, width = self.data_BCHW.shape[2:]
        box = cells.scaled(self.per_cell).grown(0, height, width)
        data = self.data_BCHW[(..., *box.slices)].to(device)
        return Patch(data, box, height, width, self.per_cell)


def together(function: Callable[[Tensor, Tensor], Tensor], a: Patch, b: Patch) -> Patch:
    """A pointwise function of two maps on one grid, where both are known."""
    assert (a.height, a.width) == (b.height, b.width), "maps of different grids"
    p, q = a.box, b.box
    box = Box(max(p.top, q.top), max(p.left, q.left), min(p.bottom, q.bottom), min(p.right, q.right))
    a, b = a.crop(box), b.crop(box)
    return replace(a, data_BCHW=function(a.data_BCHW, b.data_BCHW))


def convolve(conv: nn.Conv2d, x: Patch, run: Callable[[Tensor], Tensor] | None = None) -> Patch:
    """A padded convolution, or another function `run` with the same geometry, and its valid part."""
    kernel, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    top, left = (-(-start // stride) * stride for start in (x.box.top, x.box.left))
    x = x.crop(replace(x.box, top=top, left=left))
    out = (run or conv)(x.data_BCHW)
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (x.height, x.width))
    top, left = top // stride, left // stride
    made = Patch(out, Box(top, left, top + out.shape[2], left + out.shape[3]), height, width, x.per_cell // stride)
    # Output j sees inputs j·stride - padding … + kernel - 1; only beyond the map's own ends it may see zeros.
    first = [0 if start == 0 else -(-(start + padding) // stride) for start in (x.box.top, x.box.left)]
    end = [(stop + padding - kernel) // stride + 1 for stop in (x.box.bottom, x.box.right)]
    bottom = height if x.box.bottom == x.height else end[0]
    right = width if x.box.right == x.width else end[1]
    return made.crop(Box(first[0], first[1], bottom, right))


def upsample_convolve(conv: nn.Conv2d, weight: Tensor, x: Patch) -> Patch:
    """A padded 3×3 convolution of each value four times (nearest ×2), by its `enlarging_weight`."""
    data = enlarge(x.data_BCHW, weight, conv.bias)
    box, height, width = x.box.scaled(2), 2 * x.height, 2 * x.width
    made = Patch(data, box, height, width, 2 * x.per_cell)
    # The outermost results at an inner edge would see the next value.
    return made.crop(
        Box(
            box.top + (box.top > 0),
            box.left + (box.left > 0),
            box.bottom - (box.bottom < height),
            box.right - (box.right < width),
        )
    )


def pack(x: Patch, factor: int) -> Patch:
    """Blocks of factor × factor positions into channels."""
    if factor == 1:
        return x
    data = F.pixel_unshuffle(x.data_BCHW, factor)
    return Patch(data, x.box.scaled(1, factor), x.height // factor, x.width // factor, x.per_cell // factor)


def unpack(x: Patch, factor: int) -> Patch:
    """Channels into blocks of factor × factor positions."""
    if factor == 1:
        return x
    data = F.pixel_shuffle(x.data_BCHW, factor)
    return Patch(data, x.box.scaled(factor), x.height * factor, x.width * factor, x.per_cell * factor)


def concatenate(a: Patch, b: Patch) -> Patch:
    """Both maps' channels, where both are known."""
    return together(lambda p, q: torch.cat((p, q), 1), a, b)


def add(a: Patch, b: Patch) -> Patch:
    """The sum, where both are known."""
    return together(torch.add, a, b)


def add_to(a: Patch, b: Patch) -> Patch:
    """The sum, where both are known, written over `a`: for a patch that is not used elsewhere."""
    return together(lambda p, q: p.add_(q), a, b)
