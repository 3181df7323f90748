"""Runs of steps that one pass over the tiles can compute, and what such a pass costs, found by running it on no data.

Steps that normalise must wait until the map before them is complete, so with several tiles each step of such a network
is a pass of its own and whole maps are kept between passes. Without normalisation, or with its sums known beforehand,
all steps are one pass and only its ends are kept. How far a pass looks beyond its tile (its halo) and how much memory
it holds are read off a run of the same steps on blanks, which have shapes and no values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from adacode_cli.engine.blank import Blank, Ledger
from adacode_cli.engine.patch import Patch
from adacode_cli.engine.program import DETAIL, IMAGE, Step, Steps
from adacode_cli.geometry import Box

# Side in latent cells of the part that is run on blanks; twice the widest halo that there can be, and more.
_TRACED = 256

Load = Callable[[str], Patch]
Normalise = Callable[[Step, Patch], Patch]


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
class Segment:
    """One pass over the tiles. halo: latent cells read around a tile. bytes_per_cell: most bytes alive while it runs,
    for each latent cell read, its inputs not among them; input_bytes_per_cell: those.
    """

    steps: Steps
    halo: int
    bytes_per_cell: float
    input_bytes_per_cell: float


@dataclass(frozen=True)
class Part:
    """A list of steps both ways: as one pass, and with one pass for each step.

    shapes: of every map. kept: maps that whoever comes next wants. normalises: whether some step does.
    """

    whole: Segment
    separate: tuple[Segment, ...]
    shapes: Mapping[str, MapShape]
    kept: frozenset[str]

    @property
    def normalises(self) -> bool:
        return any(step.norm is not None for step in self.whole.steps)

    @property
    def normalised(self) -> frozenset[str]:
        """Maps whose sums some step needs."""
        return frozenset(step.reads[0] for step in self.whole.steps if step.norm is not None)

    def map_bytes_per_cell(self, segments: Collection[Segment]) -> int:
        """Most bytes of maps between passes that are there at once, for each latent cell.

        Without the input image, and without the DETAIL, of which each tile is finished at once.
        """
        most = 0
        for segment, needed in zip(segments, live_after(segments, self.kept), strict=True):
            there = _needed_before(segment.steps, needed) | needed & {step.writes for step in segment.steps}
            most = max(most, sum(self.shapes[name].bytes_per_cell for name in there - {IMAGE, DETAIL}))
        return most


def live_after(segments: Collection[Segment], kept: Collection[str]) -> list[frozenset[str]]:
    """For each segment, the maps that are still needed once it is done."""
    live, result = frozenset(kept), list[frozenset[str]]()
    for segment in reversed(list(segments)):
        result.append(live)
        live = _needed_before(segment.steps, live)
    return result[::-1]


def _needed_before(steps: Steps, live: frozenset[str]) -> frozenset[str]:
    for step in reversed(steps):
        live = live - {step.writes} | frozenset(step.reads)
    return live


def run_steps(steps: Steps, load: Load, normalise: Normalise, kept: Collection[str]) -> dict[str, Patch]:
    """Patches of the `kept` maps. `load` brings what no step wrote; what nobody reads again is let go at once."""
    after = live_after([Segment((step,), 0, 0, 0) for step in steps], kept)
    local: dict[str, Patch] = {}
    for step, needed in zip(steps, after, strict=True):
        patches = [local[name] if name in local else load(name) for name in step.reads]
        if step.norm is not None:
            patches[0] = normalise(step, patches[0])
        local[step.writes] = step.run(*patches)
        del patches
        local = {name: patch for name, patch in local.items() if name in needed}
    return local


def trace(steps: Steps, shapes: Mapping[str, MapShape], kept: Collection[str], *, unfolds: bool = False) -> Part:
    """What `steps` cost. shapes: of the maps that the steps are given; those that they make are added.

    unfolds: whether a convolution first copies the neighbourhood of every position.
    """
    known = dict(shapes)
    whole, _ = _traced(steps, known, frozenset(kept), unfolds=unfolds)
    separate = []
    for step in steps:
        segment, made = _traced((step,), known, frozenset({step.writes}), unfolds=unfolds)
        known |= made
        separate.append(segment)
    return Part(whole, tuple(separate), known, frozenset(kept))


def _traced(
    steps: Steps, shapes: Mapping[str, MapShape], kept: frozenset[str], *, unfolds: bool
) -> tuple[Segment, dict[str, MapShape]]:
    # A part in the middle of a picture: all of its edges are inner ones.
    side, cells, ledger = 3 * _TRACED, Box(_TRACED, _TRACED, 2 * _TRACED, 2 * _TRACED), Ledger(unfolds)
    given = {name: _blank_patch(shapes[name], cells, side) for step in steps for name in step.reads if name in shapes}
    loaded: set[str] = set()

    def load(name: str) -> Patch:
        loaded.add(name)
        blank = cast(Blank, given[name].data_BCHW)
        view = Blank(blank.shape, blank.dtype, ledger, of=blank)
        return replace(given[name], data_BCHW=cast(Tensor, view))

    made = run_steps(steps, load, _normalised_somehow, kept)
    halo = max(_spoilt(patch, cells) for patch in made.values())
    assert 2 * halo < _TRACED, "a halo wider than what was traced"
    inputs = sum(shapes[name].bytes_per_cell for name in loaded)
    found = {name: MapShape(p.data_BCHW.shape[1], p.per_cell, p.data_BCHW.dtype) for name, p in made.items()}
    return Segment(steps, halo, ledger.peak / cells.area, inputs), found


def _blank_patch(shape: MapShape, cells: Box, side: int) -> Patch:
    box = cells.scaled(shape.per_cell)
    data = Blank((1, shape.channels, box.height, box.width), shape.dtype, Ledger())
    return Patch(cast(Tensor, data), box, side * shape.per_cell, side * shape.per_cell, shape.per_cell)


def _normalised_somehow(_: Step, patch: Patch) -> Patch:
    """Normalisation as far as memory goes: a map of its own."""
    blank = cast(Blank, patch.data_BCHW)
    return replace(patch, data_BCHW=cast(Tensor, blank.new(blank.shape)))


def _spoilt(patch: Patch, cells: Box) -> int:
    """Latent cells around `cells` that a patch lacks at least a part of, on its worst side."""
    wanted, got = cells.scaled(patch.per_cell), patch.box
    lost = (got.top - wanted.top, got.left - wanted.left, wanted.bottom - got.bottom, wanted.right - got.right)
    return -(-max(0, *lost) // patch.per_cell)
