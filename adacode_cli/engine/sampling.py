"""Normalisation where whole maps do not fit memory: sums gathered norm after norm, nothing but sums kept between.

A tile knows the map before a norm exactly once the sums of all norms on the way there are known. So the first norm's
sums are gathered, then with those the second's, and so on; each norm costs a pass through all that comes before it,
which is what the memory is paid with. The encoder's are gathered over the whole picture, since codes depend on them and
a code is a discrete decision; the decoder's over a sample of tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adacode_cli.engine.grid import Grid
from adacode_cli.engine.segments import Part
from adacode_cli.engine.tiled import Map, Tiler
from adacode_cli.geometry import Box

# Side of a sample's tile in output pixels: the smaller, the more evenly spread, and the more of the work is halo.
SAMPLE_TILE_PX = 128
# Of so many tiles in a row or a column one is in the sample; two make a chessboard.
SAMPLE_EVERY = 2


def sample(grid: Grid) -> tuple[Box, ...]:
    """Evenly spread tiles of a picture, each row of tiles shifted against the one before."""
    boxes = grid.boxes(grid.tile(SAMPLE_TILE_PX))
    tops, lefts = (sorted({getattr(box, side) for box in boxes}) for side in ("top", "left"))
    return tuple(b for b in boxes if (tops.index(b.top) + lefts.index(b.left)) % SAMPLE_EVERY == 0)


def measure(part: Part, tiler: Tiler, maps: dict[str, Map], boxes: Sequence[Box]) -> None:
    """Adds what `boxes` tell about every norm of the part to the tiler's `known_sums`."""
    assert tiler.known_sums is not None
    for i, step in enumerate(part.whole.steps):
        if step.norm is not None:
            before = replace(part.whole, steps=part.whole.steps[:i])
            tiler.known_sums[step.norm] = tiler.sums_of(step.reads[0], before, maps, boxes)
