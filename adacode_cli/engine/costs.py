"""The memory that a run will take, by arithmetic: maps, tiles, the latent parts, and the picture itself.

Sizes of maps and of what a tile holds come from `engine.segments`, which counts them. What is estimated here, and held
against measured peaks by the tests, is what the counting cannot see: scratch space of the convolutions, copies of the
picture around the network, and what the allocator does not give back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from adacode_cli.engine.arrays import STRIP_PX
from adacode_cli.engine.grid import Grid
from adacode_cli.engine.parts import Parts
from adacode_cli.engine.segments import Part, Segment
from adacode_cli.model.blocks import SUMMED_AT_ONCE_GPU
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.swin import band_cells

# Latent maps at once inside a Swin stack: its input, a group's, a block's, and what the block makes.
_SWIN_MAPS = 4
# A band at once: queries, keys and values twice, the hidden layer of the perceptron before and after its activation.
_BAND_MAPS = 14
# At the end of each group of blocks a 3×3 convolution sees the whole latent map, with the same maps alive.
_SWIN_KERNEL = 3 * 3
# Of a strip of a tile that is being finished: its detail and the base in float32, and what rounding and means take.
_STRIP_BYTES_PER_PX = 40
_FLOAT_BYTES = 4
# What convolutions keep whatever the picture (compiled kernels, reordered weights): 35 to 55 MB were measured.
_FIXED_BYTES = 48 << 20
# The C library's heap goes to pieces where tiles of many shapes follow one another (corners, edges, the middle): what
# one tile freed does not fit what the next one asks for. With up to four, which mirror one another, that was not seen;
# with nine and more the heap held about as much again as the largest tile needs.
_TILES_ALIKE, _IN_PIECES = 4, 2
# Copies of the input in float32 that are alive together: as given, and padded; where holes are filled, the pyramid too.
_INPUT_COPIES = {"none": 2.0, "upsampled": 2.0, "nearest": 2.0, "filled": 5.0}
# The piece of a map that is summed in one go on a GPU, in float64.
_SUM_BYTES = 8 * SUMMED_AT_ONCE_GPU

Tile = tuple[int, int]


@dataclass(frozen=True)
class Memory:
    """Bytes beyond what the process has now, at the worst moment: host memory, and the device's where it is another."""

    host_bytes: int
    device_bytes: int = 0

    def fits(self, room: Memory) -> bool:
        return self.host_bytes <= room.host_bytes and self.device_bytes <= room.device_bytes


@dataclass(frozen=True)
class Costs:
    """What the parts of a network cost on one grid. on_host: the device that computes uses the host's memory.

    sample_bytes: of a sample of the finished picture. pictures: of this size that run together.
    """

    parts: Parts
    config: NetworkConfig
    grid: Grid
    dtype: torch.dtype
    on_host: bool
    sample_bytes: int = 1
    pictures: int = 1

    def of(self, encoder: Tile, decoder: Tile, *, sampled: bool, resident: bool = False) -> Memory:
        """Memory of a run in tiles of so many rows and columns of cells; with `sampled` no maps wait for their sums,
        with `resident` whole maps and the input lie on the device.
        """
        first = self._phase(self.parts.encoder, encoder, sampled=sampled)
        maps, busy = self._phase(self.parts.decoder, decoder, sampled=sampled)
        carried = sum(self.parts.encoder.shapes[name].bytes_per_cell for name in self.parts.encoder.kept)
        between = carried * self.grid.num_cells * self.pictures, self._latent_bytes()
        # The picture's memory is asked for at the start, and taken by the system when it is written to.
        picture, last = self._picture_bytes(), (maps, busy + self._strip_bytes(decoder))
        if resident:
            most = max(sum(phase) for phase in (first, between, last))
            return Memory(_FIXED_BYTES + picture, self._input_bytes() + most)
        phases = (first, between, (last[0] + picture, last[1]))
        always = _FIXED_BYTES + self._input_bytes()
        if self.on_host:
            return Memory(always + max(sum(phase) for phase in phases))
        return Memory(always + max(maps for maps, _ in phases), max(busy for _, busy in phases))

    @property
    def _size(self) -> Tile:
        return self.grid.height, self.grid.width

    def _phase(self, part: Part, tile: Tile, *, sampled: bool) -> tuple[int, int]:
        """Bytes of whole maps, and of the largest tile at work."""
        one_tile = tile == self._size
        segments = (part.whole,) if sampled or one_tile or not part.normalises else part.separate
        maps = part.map_bytes_per_cell(segments) * self.grid.num_cells * self.pictures
        num_tiles = math.prod(-(-length // side) for length, side in zip(self._size, tile, strict=True))
        heap = _IN_PIECES if self.on_host and num_tiles > _TILES_ALIKE else 1
        return maps, heap * max(self._tile_bytes(segment, tile) for segment in segments)

    def _tile_bytes(self, segment: Segment, tile: Tile) -> int:
        rows, columns = (min(side, length + 2 * segment.halo) for side, length in zip(self._size, tile, strict=True))
        inputs = 0 if self.on_host else segment.input_bytes_per_cell
        sums = _SUM_BYTES if not self.on_host and self.parts.normalise else 0
        return sums + int((segment.bytes_per_cell + inputs) * rows * columns * self.pictures)

    def _latent_bytes(self) -> int:
        channels, swins = self.config.channels[-1], (self.config.encoder_swin, self.config.predictor_swin)
        maps = _SWIN_MAPS if any(swins) else 2
        cells = self.grid.num_cells * self.pictures
        at_once = max(band_cells(on_cpu=self.on_host), 8 * self.grid.width * self.pictures)
        band = _BAND_MAPS * min(cells, at_once) if any(swins) else 0
        copies = _SWIN_KERNEL * cells if any(swins) and self.parts.unfolds else 0
        return int((maps * cells + max(band, copies)) * channels * self.dtype.itemsize)

    def _input_bytes(self) -> int:
        pixels = self.grid.num_cells * self.grid.input_cell_px**2 * self.pictures
        return int(_INPUT_COPIES[self.config.base] * self.config.in_channels * _FLOAT_BYTES * pixels)

    def _picture_bytes(self) -> int:
        """The finished picture, and its means over the pixels of the input."""
        pixels, inputs = (
            self.grid.num_cells * self.pictures * side**2 for side in (self.grid.cell_px, self.grid.input_cell_px)
        )
        return int(3 * self.sample_bytes * pixels + (3 * _FLOAT_BYTES * inputs if self.config.scale > 1 else 0))

    def _strip_bytes(self, tile: Tile) -> int:
        return int(_STRIP_BYTES_PER_PX * min(math.prod(tile) * self.grid.cell_px**2, STRIP_PX))
