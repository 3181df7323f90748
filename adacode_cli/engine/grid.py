"""The latent grid of one padded picture: tiles begin and end on it, so that strides and enlargements stay aligned."""

from __future__ import annotations

from dataclasses import dataclass

from adacode_cli.geometry import Box, tiles
from adacode_cli.limits import MIN_TILE_PX
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.padding import padded_size


@dataclass(frozen=True)
class Grid:
    """height, width: latent cells of the padded picture, multiples of `multiple`. cell_px, input_cell_px: a cell's side
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
        """Most rows and columns of cells of a tile: no side longer than `side_px` output pixels (or one cell), and all
        tiles of about the same size.
        """
        most = max(1, side_px // self.cell_px)
        rows, columns = (-(-side // -(-side // most)) for side in (self.height, self.width))
        return rows, columns

    def boxes(self, tile: tuple[int, int]) -> tuple[Box, ...]:
        """The tiles that part the picture."""
        return tuple(tiles(self.height, self.width, *tile))
