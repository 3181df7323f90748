"""Tensors without values: the network's steps run on them to tell their shapes and how many bytes they hold at once.

Torch's own meta tensors would do, but the first of them loads its compiler: 75 MB and a second or two in every process
(torch 2.13). The steps need few operations; each has its rule here, and one without a rule is refused.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Ledger:
    """Bytes held by the blanks that were made with it: now, and at most so far.

    unfolds: whether a convolution first copies the neighbourhood of every position (`engine.device`).
    """

    unfolds: bool = False
    now: int = 0
    peak: int = 0

    def take(self, num_bytes: int) -> None:
        self.now += num_bytes
        self.peak = max(self.peak, self.now)

    def give_back(self, num_bytes: int) -> None:
        self.now -= num_bytes


class Blank:
    """Stands for a tensor of a shape and dtype; a view of another holds that one and no bytes of its own."""

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
        """A tensor of its own."""
        return Blank(shape, dtype or self.dtype, self.ledger)

    def view(self, *shape: int) -> Blank:
        return Blank(shape, self.dtype, self.ledger, of=self)

    def __getitem__(self, index: tuple[Any, ...]) -> Blank:
        """Only what crops use: an ellipsis, then slices of rows and columns."""
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
    if x.ledger.unfolds and prod(weight.shape[2:]) > 1:
        x.new((prod(weight.shape[1:]), *made.shape[2:]))  # alive while the convolution runs
    return made


def _conv_transpose2d(
    x: Blank, weight: Tensor, _bias: Tensor | None, stride: int = 1, padding: int = 0, *_: object
) -> Blank:
    sides = ((n - 1) * stride - 2 * padding + k for n, k in zip(x.shape[2:], weight.shape[2:], strict=True))
    made = x.new((x.shape[0], weight.shape[1], *sides))
    if x.ledger.unfolds:
        x.new((prod(weight.shape[1:]), *x.shape[2:]))  # what every position adds around itself, before it is summed
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
    torch.add: lambda a, _b: a.new(a.shape),
    torch.cat: _cat,
    torch.stack: lambda parts: parts[0].new((len(parts), *parts[0].shape)),
    torch.pixel_shuffle: _pixel_shuffle,
    torch.pixel_unshuffle: _pixel_unshuffle,
    torch.prelu: lambda x, _slopes: x.new(x.shape),
    F.silu: lambda x, *, inplace: x if inplace else x.new(x.shape),
    F.embedding: _embedding,
}
