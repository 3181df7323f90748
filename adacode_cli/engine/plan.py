"""How a picture is cut for the network, and the memory that it will take: decided before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from adacode_cli.engine.costs import Costs, Memory
from adacode_cli.engine.grid import Grid
from adacode_cli.engine.options import RunOptions
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


@dataclass(frozen=True)
class Plan:
    """encoder, decoder: boxes of latent cells, each list parting the picture.

    sampled: normalisation goes by a sample of the picture (`engine.sampling`). resident: whole maps lie on a device
    that has memory of its own. memory: what it will take.
    """

    encoder: tuple[Box, ...]
    decoder: tuple[Box, ...]
    sampled: bool
    resident: bool
    memory: Memory


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
    return Plan(grid.boxes(encoder), grid.boxes(grid.tile(side)), sampled, kept_there, takes)


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
