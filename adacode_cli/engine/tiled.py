"""Runs segments over tiles. When memory runs out, tiles are halved and the run goes on; finished tiles are kept.

Whole maps lie on the device if they fit there, otherwise in host memory. A tile reads its box and the halo around it,
and writes its box, so the order of tiles does not matter; sums for normalisation are gathered from what tiles write,
each place once. Nothing here waits for a GPU: its work is queued, tile after tile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from adacode_cli.engine.maps import Grid, Map, Patch
from adacode_cli.engine.memory import is_out_of_memory, release
from adacode_cli.engine.program import DETAIL, FEATURE, Step, Steps
from adacode_cli.engine.segments import Half, Load, Normalise, Segment, live_after, run_steps
from adacode_cli.errors import DeviceError
from adacode_cli.geometry import Box
from adacode_cli.model.blocks import GroupNorm, Sums


class NonFiniteError(Exception):
    """A result has NaN or infinity in it."""


class Finiteness:
    """Whether all checked results are finite, image by image.

    On a CPU the check is immediate, and NonFiniteError is raised for an image that runs alone. On a GPU each check
    would wait for all queued work: there the answers are gathered in `all_finite`, B bools on the device (None before
    the first check).
    """

    def __init__(self, device: torch.device) -> None:
        self._at_once = device.type == "cpu"
        self.all_finite: Tensor | None = None

    def check(self, values_BCHW: Tensor) -> None:
        finite = torch.isfinite(values_BCHW).all(dim=(1, 2, 3))
        if self._at_once and len(finite) == 1 and not bool(finite):
            raise NonFiniteError
        self.all_finite = finite if self.all_finite is None else self.all_finite & finite


T = TypeVar("T")
RunSteps = Callable[[Steps, Load, Normalise, Collection[str]], dict[str, Patch]]
"""A way to compute steps on a tile, as `segments.run_steps` does."""
TakeDetail = Callable[[Patch], None]
"""Receives each tile of a half's DETAIL, in any order, and some tiles twice."""
OnWork = Callable[[float], None]
"""Receives the multiplications of each tile that is done."""


class Tiler:
    """Runs halves of a network over tiles of one image.

    home: the device that whole maps lie on; default: the CPU. known_sums: None, or sums that were gathered before; then
    maps are normalised with those and not with their own. finiteness: of all results of this tiler. run_steps: how the
    steps are computed. on_work: is told of each tile; not of the passes that only gather sums.
    """

    def __init__(
        self,
        grid: Grid,
        device: torch.device,
        *,
        home: torch.device | None = None,
        known_sums: dict[GroupNorm, Sums] | None = None,
        take_detail: TakeDetail | None = None,
        finiteness: Finiteness | None = None,
        run_steps: RunSteps = run_steps,
        on_work: OnWork | None = None,
    ) -> None:
        self.grid, self.device, self.known_sums = grid, device, known_sums
        self._run_steps = run_steps
        self.home = home or torch.device("cpu")
        self.take_detail = take_detail
        self._on_work = on_work
        self.finiteness = finiteness or Finiteness(device)

    def run(self, half: Half, maps: dict[str, Map], tiles: Iterable[Box]) -> None:
        """Adds the maps that the half makes to `maps` and drops those that are no longer needed.

        tiles: boxes of latent cells that divide the image. DETAIL is handed to `take_detail` where there is one.
        Raises DeviceError when not even the smallest tile fits, NonFiniteError as `Finiteness` does.
        """
        boxes = list(tiles)
        alone = not half.normalises or self.known_sums is not None
        if not alone and len(boxes) == 1:
            message = self._tile(half.whole, maps, half.kept, boxes[0], frozenset())
            if message is None:
                _drop(maps, half.kept)
                return
            boxes = self._halved(boxes[0], deque(), message)
        segments = (half.whole,) if alone else half.separate
        for segment, needed in zip(segments, live_after(segments, half.kept), strict=True):
            boxes = self._segment(segment, maps, needed, boxes, frozenset() if alone else half.normalised)
            _drop(maps, needed)

    def did(self, work: float) -> None:
        """Tells of so many multiplications that are done."""
        if self._on_work is not None:
            self._on_work(work)

    def sums_of(self, name: str, segment: Segment, maps: Mapping[str, Map], tiles: Iterable[Box]) -> Sums:
        """Sums of the places in `tiles` of a map that the segment makes, without keeping it. Raises as `run` does."""
        waiting, total = deque(tiles), None
        while waiting:
            keep = waiting.popleft()
            sums, message = self._attempt(lambda keep=keep: self._sums(name, segment, maps, keep))  # type: ignore[misc]
            if sums is None:
                waiting = deque(self._halved(keep, waiting, message))
            else:
                total = sums if total is None else total + sums
        assert total is not None, "a sample has at least one tile"
        return total

    def _sums(self, name: str, segment: Segment, maps: Mapping[str, Map], keep: Box) -> Sums:
        _, sums = self._made(segment, maps, frozenset({name}), keep, frozenset({name}))[name]
        assert sums is not None
        return sums

    def _segment(
        self, segment: Segment, maps: dict[str, Map], needed: frozenset[str], tiles: list[Box], summed: frozenset[str]
    ) -> list[Box]:
        """Computes the segment; returns the tiles that it was computed in."""
        waiting, done = deque(self._largest_first(segment, tiles)), list[Box]()
        for step in segment.steps:
            if step.writes in maps:
                maps[step.writes].sums = None
        while waiting:
            keep = waiting.popleft()
            message = self._tile(segment, maps, needed, keep, summed)
            if message is None:
                done.append(keep)
            else:
                waiting = deque(self._halved(keep, waiting, message))
        return done

    def _largest_first(self, segment: Segment, tiles: list[Box]) -> list[Box]:
        """Sorted by the size of what they read. In other orders maps grow from tile to tile and fragment memory."""
        return sorted(tiles, key=lambda keep: -keep.grown(segment.halo, self.grid.height, self.grid.width).area)

    def _tile(
        self, segment: Segment, maps: dict[str, Map], needed: frozenset[str], keep: Box, summed: frozenset[str]
    ) -> str | None:
        """None when the tile is done; the message if memory ran out: then its halves write all of it again."""

        def write() -> bool:
            """Computes the tile and stores its results."""
            made = self._made(segment, maps, needed, keep, summed)
            # Before anything is written: a place that was summed or overwritten must not be computed again.
            totals = {name: _added(maps.get(name), sums) for name, (_, sums) in made.items() if sums is not None}
            for name, (patch, _) in made.items():
                self._write(maps, name, patch)
            for name, total in totals.items():
                maps[name].sums = total
            return True

        done, message = self._attempt(write)
        if done:
            self.did(segment.work_per_cell * keep.area)
        return None if done else message

    def _attempt(self, work: Callable[[], T]) -> tuple[T | None, str]:
        """The result of `work`, or None and the first line of the message if memory ran out.

        The exception is not passed on: its traceback would keep every patch of the failed attempt alive.
        """
        try:
            return work(), ""
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = (str(error) or type(error).__name__).splitlines()[0]
        release(self.device)
        return None, message

    def _made(
        self, segment: Segment, maps: Mapping[str, Map], needed: frozenset[str], keep: Box, summed: frozenset[str]
    ) -> dict[str, tuple[Patch, Sums | None]]:
        """What a tile makes of its box, and the sums of the maps named in `summed`."""
        read = keep.grown(segment.halo, self.grid.height, self.grid.width)
        made = self._run_steps(
            segment.steps,
            lambda name: maps[name].patch(read, self.device),
            lambda step, patch: self._normalised(step, patch, maps),
            needed & {step.writes for step in segment.steps},
        )
        kept = {name: patch.crop(patch.on_map(keep)) for name, patch in made.items()}
        for name in kept.keys() & {DETAIL, FEATURE}:
            self.finiteness.check(kept[name].data_BCHW)
        return {name: (p, Sums.of(p.data_BCHW) if name in summed else None) for name, p in kept.items()}

    def _write(self, maps: dict[str, Map], name: str, patch: Patch) -> None:
        if name == DETAIL and self.take_detail is not None:
            self.take_detail(patch)
            return
        if name not in maps:
            whole_there = patch.is_whole and patch.data_BCHW.device.type == self.home.type
            maps[name] = Map(patch.data_BCHW if whole_there else self._blank(patch), patch.per_cell)
            if whole_there:
                return
        maps[name].data_BCHW[(..., *patch.box.slices)].copy_(patch.data_BCHW)

    def _blank(self, patch: Patch) -> Tensor:
        """An empty map, its channels last as the network reads it."""
        images, channels = patch.data_BCHW.shape[:2]
        shape = images, patch.height, patch.width, channels
        return torch.empty(shape, dtype=patch.data_BCHW.dtype, device=self.home).permute(0, 3, 1, 2)

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

    def _halved(self, failed: Box, waiting: deque[Box], message: str) -> list[Box]:
        """The failed tile's halves, then the rest: tiles of the same size are halved too, as they would fail."""
        if failed.halves(self.grid.smallest_tile) is None:
            raise DeviceError(
                f"out of memory at the smallest tile ({failed.height}×{failed.width} latent cells and halo): {message}",
                hint="Use --precision bf16 or --device cpu, or close other programs.",
                only_this_image=True,
            )
        boxes: list[Box] = []
        for box in (failed, *waiting):
            boxes += (box.halves(self.grid.smallest_tile) if box.area >= failed.area else None) or (box,)
        return boxes


def _added(before: Map | None, sums: Sums) -> Sums:
    return sums if before is None or before.sums is None else before.sums + sums


def _drop(maps: dict[str, Map], needed: frozenset[str]) -> None:
    for name in maps.keys() - needed:
        del maps[name]
