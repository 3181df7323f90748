"""Sequences of steps that one pass over the tiles can compute, and the costs of a pass, found by a run without data.

Steps that normalise must wait until the map before them is complete, so with several tiles each step of such a network
is a separate pass, and whole maps are kept between passes. Without normalisation, or with its sums known beforehand,
all steps are one pass and only its ends are kept. How far a pass looks beyond its tile (its halo) and how much memory
it holds are found by running the same steps on blanks, which have shapes and no values.

Torch's own meta tensors could serve as blanks, but the first of them loads its compiler: 75 MB and a second or two in
every process (torch 2.13). The steps need few operations; each has its rule here, and one without a rule is refused.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from adacode_cli.engine.maps import MapShape, Patch
from adacode_cli.engine.program import DETAIL, IMAGE, Step, Steps
from adacode_cli.geometry import Box

# Side in latent cells of the part that is run on blanks; more than twice the widest possible halo.
_TRACED = 256

Load = Callable[[str], Patch]
Normalise = Callable[[Step, Patch], Patch]


@dataclass(frozen=True)
class Segment:
    """One pass over the tiles. halo: latent cells read around a tile. bytes_per_cell: most bytes alive while it runs,
    for each latent cell read, without its inputs; input_bytes_per_cell: the inputs. work_per_cell: multiplications of
    its convolutions for each latent cell.
    """

    steps: Steps
    halo: int
    bytes_per_cell: float
    input_bytes_per_cell: float
    work_per_cell: float = 0.0


@dataclass(frozen=True)
class Half:
    """A list of steps in two forms: as one pass, and with one pass for each step.

    shapes: of every map. kept: maps that later parts read. normalises: whether a step normalises.
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
    """Patches of the `kept` maps. `load` reads maps that no step wrote; maps are freed once they are not read again."""
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


def trace(steps: Steps, shapes: Mapping[str, MapShape], kept: Collection[str], *, unfolds: bool = False) -> Half:
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
    return Half(whole, tuple(separate), known, frozenset(kept))


def _traced(
    steps: Steps, shapes: Mapping[str, MapShape], kept: frozenset[str], *, unfolds: bool
) -> tuple[Segment, dict[str, MapShape]]:
    # A part in the middle of an image: all of its edges are inner ones.
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
    assert 2 * halo < _TRACED, "the halo is wider than the traced part"
    inputs = sum(shapes[name].bytes_per_cell for name in loaded)
    found = {name: MapShape(p.data_BCHW.shape[1], p.per_cell, p.data_BCHW.dtype) for name, p in made.items()}
    return Segment(steps, halo, ledger.peak / cells.area, inputs, ledger.work / cells.area), found


def _blank_patch(shape: MapShape, cells: Box, side: int) -> Patch:
    box = cells.scaled(shape.per_cell)
    data = Blank((1, shape.channels, box.height, box.width), shape.dtype, Ledger())
    return Patch(cast(Tensor, data), box, side * shape.per_cell, side * shape.per_cell, shape.per_cell)


def _normalised_somehow(_: Step, patch: Patch) -> Patch:
    """Normalisation, as far as memory is concerned: it makes a new map."""
    blank = cast(Blank, patch.data_BCHW)
    return replace(patch, data_BCHW=cast(Tensor, blank.new(blank.shape)))


def _spoilt(patch: Patch, cells: Box) -> int:
    """How many latent cells around `cells` are missing in a patch, at least in part, on its worst side."""
    wanted, got = cells.scaled(patch.per_cell), patch.box
    lost = (got.top - wanted.top, got.left - wanted.left, wanted.bottom - got.bottom, wanted.right - got.right)
    return -(-max(0, *lost) // patch.per_cell)


@dataclass
class Ledger:
    """Bytes held by the blanks that were made with it: now, and at most so far.

    unfolds: whether a convolution first copies the neighbourhood of every position (`engine.device`).
    work: multiplications of the convolutions so far.
    """

    unfolds: bool = False
    now: int = 0
    peak: int = 0
    work: int = 0

    def take(self, num_bytes: int) -> None:
        self.now += num_bytes
        self.peak = max(self.peak, self.now)

    def give_back(self, num_bytes: int) -> None:
        self.now -= num_bytes


class Blank:
    """Takes the place of a tensor of a shape and dtype; a view of another blank has no bytes itself."""

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, ledger: Ledger, *, of: Blank | None = None) -> None:
        self.shape, self.dtype, self.ledger, self._of = tuple(shape), dtype, ledger, of
        if of is None:
            num_bytes = prod(self.shape) * dtype.itemsize
            ledger.take(num_bytes)
            weakref.finalize(self, ledger.give_back, num_bytes)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Blank:
        return _RULES[func](*args, **(kwargs or {}))

    def new(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Blank:
        """A new tensor."""
        return Blank(shape, dtype or self.dtype, self.ledger)

    def view(self, *shape: int) -> Blank:
        return Blank(shape, self.dtype, self.ledger, of=self)

    def __getitem__(self, index: tuple[Any, ...]) -> Blank:
        """Only the indices that crops use: an ellipsis, then slices of rows and columns."""
        sides = [len(range(*s.indices(n))) for s, n in zip(index[1:], self.shape[-2:], strict=True)]
        return self.view(*self.shape[:-2], *sides)

    def unbind(self, dim: int) -> tuple[Blank, ...]:
        return tuple(self.view(*self.shape[:dim], *self.shape[dim + 1 :]) for _ in range(self.shape[dim]))

    def unsqueeze(self, dim: int) -> Blank:
        return self.view(*self.shape[:dim], 1, *self.shape[dim:])

    def permute(self, *dims: int) -> Blank:
        return self.view(*(self.shape[dim] for dim in dims))

    def to(self, dtype: torch.dtype) -> Blank:
        return self if dtype == self.dtype else self.new(self.shape, dtype)

    def contiguous(self, **_: Any) -> Blank:  # noqa: ANN401
        return self

    def sum(self, dim: int) -> Blank:
        return self.new(self.shape[:dim] + self.shape[dim + 1 :])

    def add_(self, _other: Blank) -> Blank:
        return self

    def __mul__(self, other: Blank) -> Blank:
        return self.new(torch.broadcast_shapes(self.shape, other.shape))  # type: ignore[no-untyped-call]


def _conv2d(
    x: Blank, weight: Tensor, _bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int], *_: object
) -> Blank:
    sides = tuple(
        (n + 2 * p - k) // s + 1 for n, p, k, s in zip(x.shape[2:], padding, weight.shape[2:], stride, strict=True)
    )
    made = x.new((x.shape[0], weight.shape[0], *sides))
    x.ledger.work += prod(made.shape) * prod(weight.shape[1:])
    if x.ledger.unfolds and prod(weight.shape[2:]) > 1:
        x.new((prod(weight.shape[1:]), *made.shape[2:]))  # alive while the convolution runs
    return made


def _conv_transpose2d(
    x: Blank, weight: Tensor, _bias: Tensor | None, stride: int = 1, padding: int = 0, *_: object
) -> Blank:
    sides = ((n - 1) * stride - 2 * padding + k for n, k in zip(x.shape[2:], weight.shape[2:], strict=True))
    made = x.new((x.shape[0], weight.shape[1], *sides))
    x.ledger.work += prod(x.shape) * prod(weight.shape[1:])
    if x.ledger.unfolds:
        x.new((prod(weight.shape[1:]), *x.shape[2:]))  # the contributions of every position, before they are summed
    return made


def _pixel_unshuffle(x: Blank, factor: int) -> Blank:
    b, c, h, w = x.shape
    return x.new((b, c * factor**2, h // factor, w // factor))


def _pixel_shuffle(x: Blank, factor: int) -> Blank:
    b, c, h, w = x.shape
    return x.new((b, c // factor**2, h * factor, w * factor))


def _cat(parts: Sequence[Blank], dim: int) -> Blank:
    first = parts[0]
    return first.new((*first.shape[:dim], sum(p.shape[dim] for p in parts), *first.shape[dim + 1 :]))


def _embedding(codes: Blank, vectors: Tensor, *_: object, **__: object) -> Blank:
    return codes.new((*codes.shape, vectors.shape[1]), vectors.dtype)


_RULES: dict[Callable[..., Any], Callable[..., Blank]] = {
    torch.conv2d: _conv2d,
    torch.conv_transpose2d: _conv_transpose2d,
    torch.add: lambda a, _b, **_: a.new(a.shape),
    torch.cat: _cat,
    torch.stack: lambda parts: parts[0].new((len(parts), *parts[0].shape)),
    torch.pixel_shuffle: _pixel_shuffle,
    torch.pixel_unshuffle: _pixel_unshuffle,
    torch.prelu: lambda x, _slopes: x.new(x.shape),
    F.silu: lambda x, *, inplace: x if inplace else x.new(x.shape),
    F.embedding: _embedding,
}
