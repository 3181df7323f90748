"""Segments over tiles: running out of memory halves tiles and goes on, and what is finished stays finished.

Whole maps lie in host memory. A tile reads its box and the halo around it, and writes its box, so the order of tiles
does not matter; sums for normalisation are gathered from what tiles write, each place once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from adacode_cli.engine.grid import Grid
from adacode_cli.engine.memory import is_out_of_memory, release
from adacode_cli.engine.patch import Patch
from adacode_cli.engine.program import DETAIL, FEATURE, Step
from adacode_cli.engine.segments import Part, Segment, live_after, run_steps
from adacode_cli.errors import DeviceError
from adacode_cli.geometry import Box
from adacode_cli.model.blocks import GroupNorm, Sums


class NonFiniteError(Exception):
    """A tile came back with NaN or infinity in it."""


@dataclass
class Map:
    """A whole map in host memory: its values, its cells along a side of a latent cell, and its sums where gathered."""

    data_CHW: Tensor
    per_cell: int
    sums: Sums | None = None

    def patch(self, cells: Box, device: torch.device) -> Patch:
        """The part of the map in a box of latent cells, on `device`."""
        _, height, width = self.data_CHW.shape
        box = cells.scaled(self.per_cell).grown(0, height, width)
        data = self.data_CHW[(None, slice(None), *box.slices)].to(device)
        return Patch(data, box, height, width, self.per_cell)


class Tiler:
    """Runs parts of a network over tiles of one picture.

    known_sums: None, or sums that were gathered before;
    then maps are normalised by those and not by their own.
    """

    def __init__(self, grid: Grid, device: torch.device, *, known_sums: dict[GroupNorm, Sums] | None = None) -> None:
        self.grid, self.device, self.known_sums = grid, device, known_sums

    def run(self, part: Part, maps: dict[str, Map], tiles: Iterable[Box]) -> None:
        """Adds the maps that the part makes to `maps` and drops those that nobody needs any longer.

        tiles: boxes of latent cells that part the picture. Raises DeviceError when not even the smallest tile fits,
        NonFiniteError for a result that is not finite.
        """
        boxes = list(tiles)
        alone = not part.normalises or self.known_sums is not None
        if not alone and len(boxes) == 1:
            said = self._tile(part.whole, maps, part.kept, boxes[0], frozenset())
            if said is None:
                _drop(maps, part.kept)
                return
            boxes = self._halved(boxes[0], deque(), said)
        segments = (part.whole,) if alone else part.separate
        for segment, needed in zip(segments, live_after(segments, part.kept), strict=True):
            boxes = self._segment(segment, maps, needed, boxes, frozenset() if alone else part.normalised)
            _drop(maps, needed)

    def sums_of(self, name: str, segment: Segment, maps: Mapping[str, Map], tiles: Iterable[Box]) -> Sums:
        """Sums of the places in `tiles` of a map that the segment makes, without keeping it. Raises as `run` does."""
        waiting, total = deque(tiles), None
        while waiting:
            keep = waiting.popleft()
            made = self._attempt(segment, maps, frozenset({name}), keep, frozenset({name}))
            if isinstance(made, str):
                release(self.device)
                waiting = deque(self._halved(keep, waiting, made))
                continue
            sums = made[name][1]
            assert sums is not None
            total = sums if total is None else total + sums
        assert total is not None, "a sample has at least one tile"
        return total

    def _segment(
        self, segment: Segment, maps: dict[str, Map], needed: frozenset[str], tiles: list[Box], summed: frozenset[str]
    ) -> list[Box]:
        """The tiles that it was done in."""
        waiting, done = deque(self._largest_first(segment, tiles)), list[Box]()
        for step in segment.steps:
            if step.writes in maps:
                maps[step.writes].sums = None
        while waiting:
            keep = waiting.popleft()
            said = self._tile(segment, maps, needed, keep, summed)
            if said is None:
                done.append(keep)
            else:
                waiting = deque(self._halved(keep, waiting, said))
        return done

    def _largest_first(self, segment: Segment, tiles: list[Box]) -> list[Box]:
        """By what they read. In the other order no map fits where the last tile's was, and memory goes to pieces."""
        return sorted(tiles, key=lambda keep: -keep.grown(segment.halo, self.grid.height, self.grid.width).area)

    def _tile(
        self, segment: Segment, maps: dict[str, Map], needed: frozenset[str], keep: Box, summed: frozenset[str]
    ) -> str | None:
        """None when it is done, or what was said when memory ran out; then nothing has been written."""
        made = self._attempt(segment, maps, needed, keep, summed)
        if isinstance(made, str):
            release(self.device)
            return made
        for name, (patch, sums) in made.items():
            _write(maps, name, patch, sums)
        return None

    def _attempt(
        self, segment: Segment, maps: Mapping[str, Map], needed: frozenset[str], keep: Box, summed: frozenset[str]
    ) -> dict[str, tuple[Patch, Sums | None]] | str:
        """What a tile makes of its box, or the first line of what was said when memory ran out.

        The exception itself ends here: its traceback would hold every patch of the failed attempt alive.
        """
        read = keep.grown(segment.halo, self.grid.height, self.grid.width)
        try:
            made = run_steps(
                segment.steps,
                lambda name: maps[name].patch(read, self.device),
                lambda step, patch: self._normalised(step, patch, maps),
                needed & {step.writes for step in segment.steps},
            )
            kept = {name: _finished(name, patch, keep) for name, patch in made.items()}
            return {name: (p, Sums.of(p.data_BCHW) if name in summed else None) for name, p in kept.items()}
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return (str(error) or type(error).__name__).splitlines()[0]

    def _normalised(self, step: Step, patch: Patch, maps: Mapping[str, Map]) -> Patch:
        norm, name = step.norm, step.reads[0]
        assert norm is not None
        if self.known_sums is not None:
            sums = self.known_sums[norm]
        elif patch.is_whole:
            sums = Sums.of(patch.data_BCHW)
        else:
            gathered = maps[name].sums
            assert gathered is not None, f"{name} is normalised before it is complete"
            sums = gathered
        return patch.apply(lambda x: norm.normalise(x, sums))

    def _halved(self, failed: Box, waiting: deque[Box], said: str) -> list[Box]:
        """The failed tile's halves, then the rest: what is as large would fail too, at the price of an attempt."""
        if failed.halves(self.grid.smallest_tile) is None:
            raise DeviceError(
                f"out of memory at the smallest tile ({failed.height}×{failed.width} latent cells and halo): {said}",
                hint="Use --precision bf16 or --device cpu, or close other programs.",
                only_this_picture=True,
            )
        boxes: list[Box] = []
        for box in (failed, *waiting):
            boxes += (box.halves(self.grid.smallest_tile) if box.area >= failed.area else None) or (box,)
        return boxes


def _finished(name: str, patch: Patch, keep: Box) -> Patch:
    patch = patch.crop(patch.on_map(keep))
    if name == DETAIL:
        patch = patch.apply(Tensor.float)
    if name in (DETAIL, FEATURE) and not bool(torch.isfinite(patch.data_BCHW).all()):
        raise NonFiniteError
    return patch


def _write(maps: dict[str, Map], name: str, patch: Patch, sums: Sums | None) -> None:
    if name not in maps:
        whole_there = patch.is_whole and patch.data_BCHW.device.type == "cpu"
        maps[name] = Map(patch.data_BCHW[0] if whole_there else _blank(name, patch), patch.per_cell)
    target = maps[name]
    target.data_CHW[(slice(None), *patch.box.slices)].copy_(patch.data_BCHW[0])
    if sums is not None:
        target.sums = sums if target.sums is None else target.sums + sums


def _blank(name: str, patch: Patch) -> Tensor:
    """An empty map in host memory, its channels last where a network reads it again."""
    channels, height, width = patch.data_BCHW.shape[1], patch.height, patch.width
    if name == DETAIL:
        return torch.empty((channels, height, width), dtype=patch.data_BCHW.dtype)
    return torch.empty((height, width, channels), dtype=patch.data_BCHW.dtype).permute(2, 0, 1)


def _drop(maps: dict[str, Map], needed: frozenset[str]) -> None:
    for name in maps.keys() - needed:
        del maps[name]
