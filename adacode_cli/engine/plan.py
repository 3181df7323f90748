"""How a picture is cut for the network, and the memory that it will take: decided before any work."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from adacode_cli.engine.costs import Costs, Memory
from adacode_cli.engine.options import RunOptions
from adacode_cli.geometry import Box

# Sides of tiles in output pixels, on a CPU and on a GPU. The encoder's do not follow the wish for a tile size, so that
# codes cannot depend on it: convolutions that were cut elsewhere may differ in the last bit on some devices, and a
# feature half-way between two codes may then take the other one.
_ENCODER_PX = {"cpu": 512, "gpu": 1024}
# Larger tiles are hardly faster on a CPU, whose caches they leave; a GPU needs larger ones to be busy, and is to get by
# with 4 GB. Where each step is a pass of its own, the halo is narrow and smaller ones do.
_DECODER_PX = {"cpu": 1024, "gpu": 2048}
_STEP_PX = {"cpu": 512, "gpu": 1024}
# Part of the free memory that a run may take; the rest is for codecs, other pictures and other programs.
SHARE = 0.7


@dataclass(frozen=True)
class Plan:
    """encoder, decoder: boxes of latent cells, each list parting the picture.

    sampled: normalisation goes by a sample of the picture (`engine.sampling`). memory: what it will take.
    """

    encoder: tuple[Box, ...]
    decoder: tuple[Box, ...]
    sampled: bool
    memory: Memory


def make_plan(costs: Costs, options: RunOptions, device: torch.device, room: Memory) -> Plan:
    """The plan for one picture with `room` to spare.

    A tile that was asked for is taken; "auto" is the fastest that fits, or the smallest there is. Where whole maps are
    kept for normalisation and do not fit even with the smallest tiles, the plan is sampled.
    """
    grid, sides = costs.grid, _sides(costs, options.tile, device)
    encoder = grid.tile(_ENCODER_PX[_kind(device)])

    def memory(side_px: int, *, sampled: bool) -> Memory:
        return costs.of(encoder, grid.tile(side_px), sampled=sampled)

    exact_fits = any(memory(side, sampled=False).fits(room) for side in (*sides, grid.smallest_tile * grid.cell_px))
    sampled = costs.parts.normalise and (options.tiling == "sampled" or not exact_fits)
    side = next((side for side in sides if memory(side, sampled=sampled).fits(room)), sides[-1])
    boxes = grid.boxes(encoder), grid.boxes(grid.tile(side))
    return Plan(*boxes, sampled, memory(side, sampled=sampled))


def _sides(costs: Costs, tile: str | int, device: torch.device) -> list[int]:
    """Sides to try in output pixels, best first."""
    grid = costs.grid
    if tile == "none":
        return [max(grid.height, grid.width) * grid.cell_px]
    if tile != "auto":
        return [int(tile)]
    sides = [(_STEP_PX if costs.parts.normalise else _DECODER_PX)[_kind(device)]]
    while sides[-1] > grid.smallest_tile * grid.cell_px:
        sides.append(sides[-1] // 2)
    return sides


def _kind(device: torch.device) -> str:
    return "cpu" if device.type == "cpu" else "gpu"
