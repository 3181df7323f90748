"""How an image is divided into tiles, and the memory that it will take: both are planned before any work.

`RunOptions` holds the user's choices for the engine, `Costs` computes the memory of a run in given tiles, and
`plan_tiles` chooses tiles whose planned memory fits the free memory. `engine.segments` counts the sizes of maps and of
what a tile holds. The rest is estimated here, and the tests compare it with measured peaks: scratch space of the
convolutions, copies of the image around the network, and memory that the allocator does not return.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from adacode_cli.engine.canvas import STRIP_PX
from adacode_cli.engine.device import check_precision, unfolds
from adacode_cli.engine.halves import Halves
from adacode_cli.engine.maps import Grid
from adacode_cli.engine.memory import obtainable_bytes
from adacode_cli.engine.segments import Half, Segment
from adacode_cli.errors import DeviceError, UsageError
from adacode_cli.geometry import Box
from adacode_cli.limits import MIN_TILE_PX
from adacode_cli.model.blocks import SUMMED_AT_ONCE_GPU
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.swin import band_cells

TILINGS = ("exact", "sampled")


@dataclass(frozen=True)
class RunOptions:
    """precision: auto, fp32, bf16, fp16 or int8. tile: "auto", "none" or a side in output pixels.

    tiling: "exact", or "sampled": normalisation by the statistics of a sample of the image. Raises UsageError.
    """

    precision: str = "auto"
    tile: str | int = "auto"
    tiling: str = "exact"

    def __post_init__(self) -> None:
        check_precision(self.precision)
        if self.tile not in ("auto", "none") and not _is_side(self.tile):
            raise UsageError(
                f"tile {self.tile!r} is not auto, none or a whole number of at least {MIN_TILE_PX}",
                hint="The number is the side of a tile in output pixels, for example --tile 512.",
            )
        if self.tiling not in TILINGS:
            raise UsageError(f"unknown tiling {self.tiling!r}", hint="Choose exact or sampled.")


def _is_side(tile: object) -> bool:
    """Whether it is a whole number, also of NumPy, or a text of decimal digits, and large enough."""
    return str(tile).isascii() and str(tile).isdecimal() and int(str(tile)) >= MIN_TILE_PX


# Latent maps alive inside a Swin stack: its input, a group's, a block's, and the block's result.
_SWIN_MAPS = 4
# Maps of a band that are alive together: queries, keys and values twice, the hidden layer of the perceptron before and
# after its activation.
_BAND_MAPS = 14
# At the end of each group of blocks a 3×3 convolution sees the whole latent map, with the same maps alive.
_SWIN_KERNEL = 3 * 3
# Of a strip of a tile that is being finished: its detail and the base in float32, and what rounding and means take.
_STRIP_BYTES_PER_PX = 40
_FLOAT_BYTES = 4
# Memory that convolutions keep for any image (compiled kernels, reordered weights): 35 to 55 MB were measured.
_FIXED_BYTES = 48 << 20
# The C library's heap is fragmented where tiles of many shapes follow one another (corners, edges, the middle): blocks
# that one tile freed do not fit the next one. This was not seen with up to four shapes, which mirror one another; with
# nine and more, the heap took about twice the memory of the largest tile.
_TILES_ALIKE, _IN_PIECES = 4, 2
# Copies of the input in float32 that are alive together: as given, and padded; where holes are filled, the pyramid too.
_INPUT_COPIES = {"none": 2.0, "upsampled": 2.0, "nearest": 2.0, "filled": 5.0}
# The piece of a map that is summed at once on a GPU, in float64.
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

    sample_bytes: of a sample of the finished image. images: of this size that run together.
    """

    halves: Halves
    config: NetworkConfig
    grid: Grid
    dtype: torch.dtype
    on_host: bool
    sample_bytes: int = 1
    images: int = 1

    def of(self, encoder: Tile, decoder: Tile, *, sampled: bool, resident: bool = False) -> Memory:
        """Memory of a run in tiles of the given rows and columns of cells; with `sampled` no maps wait for their sums,
        with `resident` whole maps and the input lie on the device.
        """
        first = self._phase(self.halves.encoder, encoder, sampled=sampled)
        maps, busy = self._phase(self.halves.decoder, decoder, sampled=sampled)
        carried = sum(self.halves.encoder.shapes[name].bytes_per_cell for name in self.halves.encoder.kept)
        between = carried * self.grid.num_cells * self.images, self._latent_bytes()
        # The image's memory is allocated at the start, but the system provides it only when it is written to.
        image, last = self._image_bytes(), (maps, busy + self._strip_bytes(decoder))
        if resident:
            most = max(sum(phase) for phase in (first, between, last))
            return Memory(_FIXED_BYTES + image, self._input_bytes() + most)
        phases = (first, between, (last[0] + image, last[1]))
        always = _FIXED_BYTES + self._input_bytes()
        if self.on_host:
            return Memory(always + max(sum(phase) for phase in phases))
        return Memory(always + max(maps for maps, _ in phases), max(busy for _, busy in phases))

    @property
    def _size(self) -> Tile:
        return self.grid.height, self.grid.width

    def _phase(self, half: Half, tile: Tile, *, sampled: bool) -> tuple[int, int]:
        """Bytes of whole maps, and of the largest tile at work."""
        one_tile = tile == self._size
        segments = (half.whole,) if sampled or one_tile or not half.normalises else half.separate
        maps = half.map_bytes_per_cell(segments) * self.grid.num_cells * self.images
        num_tiles = math.prod(-(-length // side) for length, side in zip(self._size, tile, strict=True))
        heap = _IN_PIECES if self.on_host and num_tiles > _TILES_ALIKE else 1
        return maps, heap * max(self._tile_bytes(segment, tile) for segment in segments)

    def _tile_bytes(self, segment: Segment, tile: Tile) -> int:
        rows, columns = (min(side, length + 2 * segment.halo) for side, length in zip(self._size, tile, strict=True))
        inputs = 0 if self.on_host else segment.input_bytes_per_cell
        sums = _SUM_BYTES if not self.on_host and self.halves.normalise else 0
        return sums + int((segment.bytes_per_cell + inputs) * rows * columns * self.images)

    def _latent_bytes(self) -> int:
        channels, swins = self.config.channels[-1], (self.config.encoder_swin, self.config.predictor_swin)
        maps: float = _SWIN_MAPS if any(swins) else 2
        if context := self.config.encoder_context:
            # The map of a block between its layers has a quarter of the cells. Its input, the convolution's result,
            # and both sides of the activation are there at once; before and after, as many maps as in attention.
            inner = (2 + 2 * context.mlp_ratio) * context.channels / (4 * channels)
            maps = max(_SWIN_MAPS, 1 + inner)
        if self.config.residual:
            # What is left of a feature, the vectors of its codes and their product are there at once, in float32.
            left = 3 * _FLOAT_BYTES * max(dim for _, dim in self.config.codebooks)
            maps = max(maps, 2 + left / (channels * self.dtype.itemsize))
        cells = self.grid.num_cells * self.images
        at_once = max(band_cells(on_cpu=self.on_host), 8 * self.grid.width * self.images)
        band = _BAND_MAPS * min(cells, at_once) if any(swins) else 0
        copies = _SWIN_KERNEL * cells if any(swins) and self.halves.unfolds else 0
        return int((maps * cells + max(band, copies)) * channels * self.dtype.itemsize)

    def _input_bytes(self) -> int:
        pixels = self.grid.num_cells * self.grid.input_cell_px**2 * self.images
        return int(_INPUT_COPIES[self.config.base] * self.config.in_channels * _FLOAT_BYTES * pixels)

    def _image_bytes(self) -> int:
        """The finished image, and its means over the pixels of the input."""
        pixels, inputs = (
            self.grid.num_cells * self.images * side**2 for side in (self.grid.cell_px, self.grid.input_cell_px)
        )
        return int(3 * self.sample_bytes * pixels + (3 * _FLOAT_BYTES * inputs if self.config.scale > 1 else 0))

    def _strip_bytes(self, tile: Tile) -> int:
        return int(_STRIP_BYTES_PER_PX * min(math.prod(tile) * self.grid.cell_px**2, STRIP_PX))


# Sides of tiles in output pixels, on a CPU and on a GPU, for parts that are one pass, and for parts whose steps are
# separate passes because of normalisation. The encoder's depend neither on --tile nor on the memory, so that codes do
# not depend on them: on some devices, convolutions of other tiles differ in the last bit, and a feature half-way
# between two codes may then take the other one.
_ENCODER_PX = {"cpu": {"one": 512, "steps": 512}, "gpu": {"one": 4096, "steps": 1024}}
# Larger tiles are hardly faster on a CPU, because they exceed its caches; where each step is a separate pass, the halo
# is narrow and smaller tiles are enough. A GPU needs large ones to be busy while the next launches are prepared, and an
# image that is a single tile is not copied from tile to map at each step.
_DECODER_PX = {"cpu": {"one": 1024, "steps": 512}, "gpu": {"one": 4096, "steps": 4096}}
# Output pixels that it takes to keep a GPU busy for as long as the launches of one image take, and the most images
# that make them up.
_BATCH_PX = {"one": 1 << 24, "steps": 1 << 21}
_MAX_TOGETHER = 16
# The part of the free memory that a run may take; the rest is for codecs, other images and other programs.
SHARE = 0.7
# An image is refused if its plan exceeds the obtainable memory by this factor and by this number of bytes. Networks of
# real size took at least 0.84 of their plan; memory that convolutions keep is already there for the second image.
_CLEARLY, _CLEARLY_BYTES = 1.25, 64 << 20
# If the chosen tile is larger than this side, a smaller one would help.
_LARGE_TILE_PX = 256


@dataclass(frozen=True)
class TilePlan:
    """encoder_tile, decoder_tile: most rows and columns of cells of the tiles that divide the image on `grid`.

    sampled: normalisation uses a sample of the image (`engine.halves`). resident: whole maps lie on a device
    that has memory of its own. memory: what it will take. lacks: None if that fits; otherwise the least memory that is
    needed: host memory as planned, and device memory for the smallest tiles.
    """

    grid: Grid
    encoder_tile: Tile
    decoder_tile: Tile
    sampled: bool
    resident: bool
    memory: Memory
    lacks: Memory | None = None

    @cached_property
    def encoder(self) -> tuple[Box, ...]:
        """The encoder's tiles, boxes of latent cells. There can be a million of them, so no refused image has any."""
        return self.grid.boxes(self.encoder_tile)

    @cached_property
    def decoder(self) -> tuple[Box, ...]:
        """The decoder's tiles, likewise."""
        return self.grid.boxes(self.decoder_tile)


def plan_tiles(
    costs: Costs, options: RunOptions, device: torch.device, room: Memory, *, resident: bool = True
) -> TilePlan:
    """The plan for one image within the memory `room`.

    A tile size that the user chose is used; "auto" is the fastest that fits, or the smallest one. Whole maps lie on the
    device if that is a GPU and they fit there, unless `resident` is False. If maps must be kept for normalisation and
    do not fit even with the smallest tiles, the plan is sampled.
    """
    grid, sides = costs.grid, _sides(costs, options.tile, device)
    encoder = grid.tile(_encoder_px(costs, device))

    def memory(side_px: int, *, sampled: bool, resident: bool) -> Memory:
        return costs.of(encoder, grid.tile(side_px), sampled=sampled, resident=resident)

    places = (False,) if costs.on_host or not resident else (True, False)
    smallest = (*sides, grid.smallest_tile * grid.cell_px)
    exact_fits = any(memory(side, sampled=False, resident=r).fits(room) for r in places for side in smallest)
    sampled = costs.halves.normalise and (options.tiling == "sampled" or not exact_fits)
    tried = [(side, r, memory(side, sampled=sampled, resident=r)) for r in places for side in sides]
    # If nothing fits, take the best plan that needs no more than the smallest one: smaller tiles of the decoder do not
    # reduce what the encoder needs.
    least = tried[-1][2]
    side, kept_there, takes = next(
        (one for one in tried if one[2].fits(room)), next(one for one in tried if one[2].fits(least))
    )
    lacks = None
    if not takes.fits(room):
        # A device reports a lack of memory, and its tiles are halved. Of the host's memory the system promises more
        # than it has, and ends the process that takes it.
        smallest_tile = grid.tile(grid.smallest_tile * grid.cell_px)
        on_device = costs.of(smallest_tile, smallest_tile, sampled=sampled, resident=False).device_bytes
        lacks = Memory(takes.host_bytes, min(on_device, takes.device_bytes))
    return TilePlan(grid, encoder, grid.tile(side), sampled, kept_there, takes, lacks)


def require_room(plan: TilePlan, size: tuple[int, int], options: RunOptions, device: torch.device) -> None:
    """Raises DeviceError, with the figures, for an image of size (height, width) that clearly does not fit.

    If the plan is only a little larger than the free memory, or that is unknown, the image is tried.
    """
    if plan.lacks is None:
        return
    for needed, on in ((plan.lacks.host_bytes, torch.device("cpu")), (plan.lacks.device_bytes, device)):
        there = obtainable_bytes(on) if needed else None
        if there is not None and needed > _CLEARLY * there + _CLEARLY_BYTES:
            where = "" if on.type == "cpu" else f" on {on}"
            raise DeviceError(
                f"an image of {size[1]}×{size[0]} pixels needs about {_in_words(needed)} of memory{where}, "
                f"and {_in_words(there)} are free",
                hint=_way_out(options, device),
                only_this_image=True,
            )


def _way_out(options: RunOptions, device: torch.device) -> str:
    large = options.tile == "none" or (options.tile != "auto" and int(options.tile) > _LARGE_TILE_PX)
    ways = ["leave out --tile"] if large else []
    if options.precision in ("auto", "fp32") and not unfolds(torch.bfloat16, device):
        ways.append("use --precision bf16")
    ways += ["cut the image", "choose a smaller size", "close other programs", "use another device"]
    text = f"{', '.join(ways[:-1])} or {ways[-1]}."
    return text[0].upper() + text[1:]


def _in_words(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def images_together(grid: Grid, device: torch.device, *, normalise: bool) -> int:
    """How many images of this padded size run as one batch at most: several small ones on a CUDA device, one
    otherwise. normalise: whether the network has steps that normalise.
    """
    if device.type != "cuda":
        return 1
    fitting = _BATCH_PX["steps" if normalise else "one"] // (grid.num_cells * grid.cell_px**2)
    return 1 << (max(1, min(_MAX_TOGETHER, fitting)).bit_length() - 1)  # batches are powers of two


def _sides(costs: Costs, tile: str | int, device: torch.device) -> list[int]:
    """Sides to try in output pixels, best first."""
    grid = costs.grid
    if tile == "none":
        return [max(grid.height, grid.width) * grid.cell_px]
    if tile != "auto":
        return [int(tile)]
    sides = [_side_px(_DECODER_PX, costs, device)]
    while sides[-1] > grid.smallest_tile * grid.cell_px:
        sides.append(sides[-1] // 2)
    return sides


def _encoder_px(costs: Costs, device: torch.device) -> int:
    """On a GPU the side for steps is in input pixels: the finest maps of such an encoder have as many places."""
    side = _side_px(_ENCODER_PX, costs, device)
    return side if device.type == "cpu" or not costs.halves.normalise else side * costs.config.scale


def _side_px(table: Mapping[str, Mapping[str, int]], costs: Costs, device: torch.device) -> int:
    kind = "cpu" if device.type == "cpu" else "gpu"
    return table[kind]["steps" if costs.halves.normalise else "one"]
