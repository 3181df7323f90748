"""How a picture is cut for the network, and the memory that it will take: decided before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from adacode_cli.engine.costs import Costs, Memory, Tile
from adacode_cli.engine.device import unfolds
from adacode_cli.engine.grid import Grid
from adacode_cli.engine.memory import obtainable_bytes
from adacode_cli.engine.options import RunOptions
from adacode_cli.errors import DeviceError
from adacode_cli.geometry import Box

# Sides of tiles in output pixels, on a CPU and on a GPU, for parts that are one pass and for those whose steps are
# passes of their own, as normalisation makes them. The encoder's follow neither the wish for a tile size nor the
# memory, so that codes cannot depend on them: convolutions that were cut elsewhere may differ in the last bit on some
# devices, and a feature half-way between two codes may then take the other one.
_ENCODER_PX = {"cpu": {"one": 512, "steps": 512}, "gpu": {"one": 4096, "steps": 1024}}
# Larger tiles are hardly faster on a CPU, whose caches they leave, and where each step is a pass of its own, the halo
# is narrow and smaller ones do. A GPU needs large ones to be busy while the next launches are prepared, and a picture
# that is a single tile is not copied from tile to map at each step.
_DECODER_PX = {"cpu": {"one": 1024, "steps": 512}, "gpu": {"one": 4096, "steps": 4096}}
# Output pixels that it takes to keep a GPU busy for as long as the launches of one picture take, and the most pictures
# that make them up.
_BATCH_PX = {"one": 1 << 24, "steps": 1 << 21}
_MOST_TOGETHER = 16
# Part of the free memory that a run may take; the rest is for codecs, other pictures and other programs.
SHARE = 0.7
# A picture is refused where its plan is so many times what could be had at all, and so many bytes more. Of a plan,
# networks of real size took 0.84 at least; what convolutions keep, the second picture finds in place.
_CLEARLY, _CLEARLY_BYTES = 1.25, 64 << 20
# Side of a tile that was asked for, beyond which a smaller one would be of help.
_LARGE_TILE_PX = 256


@dataclass(frozen=True)
class Plan:
    """encoder_tile, decoder_tile: most rows and columns of cells of the tiles that part the picture on `grid`.

    sampled: normalisation goes by a sample of the picture (`engine.sampling`). resident: whole maps lie on a device
    that has memory of its own. memory: what it will take. lacks: None where that fits, or else the least that has to be
    there: host memory as planned, and memory of the device for the smallest tiles.
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
        """The encoder's tiles, boxes of latent cells. There can be a million of them, so no refused picture has any."""
        return self.grid.boxes(self.encoder_tile)

    @cached_property
    def decoder(self) -> tuple[Box, ...]:
        """The decoder's tiles, likewise."""
        return self.grid.boxes(self.decoder_tile)


def make_plan(costs: Costs, options: RunOptions, device: torch.device, room: Memory, *, resident: bool = True) -> Plan:
    """The plan for one picture with `room` to spare.

    A tile that was asked for is taken; "auto" is the fastest that fits, or the smallest there is. Whole maps lie on the
    device if that is a GPU and they fit there, unless `resident` is False. Where they are kept for normalisation and
    fit nowhere, not even with the smallest tiles, the plan is sampled.
    """
    grid, sides = costs.grid, _sides(costs, options.tile, device)
    encoder = grid.tile(_encoder_px(costs, device))

    def memory(side_px: int, *, sampled: bool, resident: bool) -> Memory:
        return costs.of(encoder, grid.tile(side_px), sampled=sampled, resident=resident)

    places = (False,) if costs.on_host or not resident else (True, False)
    smallest = (*sides, grid.smallest_tile * grid.cell_px)
    exact_fits = any(memory(side, sampled=False, resident=r).fits(room) for r in places for side in smallest)
    sampled = costs.parts.normalise and (options.tiling == "sampled" or not exact_fits)
    tried = [(side, r, memory(side, sampled=sampled, resident=r)) for r in places for side in sides]
    # Where nothing fits, what takes no more than the least does: tiles of the decoder do not make an encoder smaller.
    least = tried[-1][2]
    side, kept_there, takes = next(
        (one for one in tried if one[2].fits(room)), next(one for one in tried if one[2].fits(least))
    )
    lacks = None
    if not takes.fits(room):
        # A device that lacks memory says so, and its tiles are halved. Of the host's memory the system promises more
        # than it has, and ends the process that takes it.
        smallest_tile = grid.tile(grid.smallest_tile * grid.cell_px)
        on_device = costs.of(smallest_tile, smallest_tile, sampled=sampled, resident=False).device_bytes
        lacks = Memory(takes.host_bytes, min(on_device, takes.device_bytes))
    return Plan(grid, encoder, grid.tile(side), sampled, kept_there, takes, lacks)


def require_room(plan: Plan, size: tuple[int, int], options: RunOptions, device: torch.device) -> None:
    """Raises DeviceError, with the figures, for a picture of size (height, width) that clearly cannot be had.

    Where the plan is a little larger than what is free, or nobody knows what is, it is tried.
    """
    if plan.lacks is None:
        return
    for needed, on in ((plan.lacks.host_bytes, torch.device("cpu")), (plan.lacks.device_bytes, device)):
        there = obtainable_bytes(on) if needed else None
        if there is not None and needed > _CLEARLY * there + _CLEARLY_BYTES:
            where = "" if on.type == "cpu" else f" on {on}"
            raise DeviceError(
                f"a picture of {size[1]}×{size[0]} pixels needs about {_in_words(needed)} of memory{where}, "
                f"and {_in_words(there)} are free",
                hint=_way_out(options, device),
                only_this_picture=True,
            )


def _way_out(options: RunOptions, device: torch.device) -> str:
    large = options.tile == "none" or (options.tile != "auto" and int(options.tile) > _LARGE_TILE_PX)
    ways = ["leave out --tile"] if large else []
    if options.precision in ("auto", "fp32") and not unfolds(torch.bfloat16, device):
        ways.append("use --precision bf16")
    ways += ["cut the picture", "choose a smaller --scale", "close other programs", "use another device"]
    text = f"{', '.join(ways[:-1])} or {ways[-1]}."
    return text[0].upper() + text[1:]


def _in_words(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def pictures_together(grid: Grid, device: torch.device, *, normalise: bool) -> int:
    """How many pictures of this padded size run as one batch at most: several small ones on a CUDA device, one
    otherwise. normalise: whether the network has steps that normalise.
    """
    if device.type != "cuda":
        return 1
    fitting = _BATCH_PX["steps" if normalise else "one"] // (grid.num_cells * grid.cell_px**2)
    return 1 << (max(1, min(_MOST_TOGETHER, fitting)).bit_length() - 1)  # batches are powers of two


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
    return side if device.type == "cpu" or not costs.parts.normalise else side * costs.config.scale


def _side_px(table: Mapping[str, Mapping[str, int]], costs: Costs, device: torch.device) -> int:
    kind = "cpu" if device.type == "cpu" else "gpu"
    return table[kind]["steps" if costs.parts.normalise else "one"]
