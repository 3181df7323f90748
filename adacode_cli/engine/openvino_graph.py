"""Steps of a network as one OpenVINO model, with convolutions in 8 bits where ranges are known.

The steps run once on nodes in place of tensors, as they run on blanks for the memory plan (`engine.segments`). Each
torch function that they call adds OpenVINO operations to the model. OpenVINO recognises a rounding to 256 levels
(FakeQuantize) in front of a convolution with 8-bit weights, computes both as one operation on integers, and keeps the
maps between such convolutions in 8 bits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial, reduce
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adacode_cli.engine.maps import MapShape, Patch
from adacode_cli.engine.program import Step, Steps
from adacode_cli.engine.segments import Blank, Ledger
from adacode_cli.geometry import Box
from adacode_cli.model.network import AdaCode
from adacode_cli.model.ranges import TOP, InputRange, filters_of, whole_weight

if TYPE_CHECKING:
    from openvino import Model, Node, Output

# Sides in latent cells of the map that the nodes stand for: the model itself takes any size.
_CELLS = 8
# torch keeps maps channels last, and so do the inputs and results of the model: they share memory with torch's maps.
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
_TINY_BIAS = 1e-30


def import_openvino() -> ModuleType:
    """The package openvino. Raises ImportError. Every import of it begins here.

    Its import tells a server of Google Analytics that it was imported, and writes an identifier into the user's home
    directory (2026.4), unless its package for that is missing. Therefore this package is hidden during the import.
    """
    if "openvino" not in sys.modules:
        hidden = "openvino_telemetry"
        before = sys.modules.get(hidden)
        sys.modules[hidden] = cast(ModuleType, None)  # as if it were not installed
        try:
            import_module("openvino")
        finally:
            del sys.modules[hidden]
            if before is not None:
                sys.modules[hidden] = before
    return import_module("openvino")


class UntraceableError(Exception):
    """A step calls a torch function that has no rule here."""


class Recorder:
    """Knows the ranges of a network's convolutions. weight_top: as in `ranges.whole_weight`.

    names: of the convolutions that the recorded steps have run in 8 bits.
    """

    def __init__(self, network: AdaCode, weight_top: int) -> None:
        # By their biases: an enlarging convolution is called with another weight than its own.
        self._convolutions = {
            id(module.bias): (name, module)
            for name, module in network.named_modules()
            if isinstance(module, torch.nn.Conv2d) and module.bias is not None
        }
        self._ranges, self.weight_top = network.ranges, weight_top
        self.names: list[str] = []

    def range_of(self, bias: Tensor | None) -> InputRange | None:
        """The range of the convolution that has this bias, None where it runs in float32."""
        name, _ = self._convolutions.get(id(bias), ("", None))
        if name in self._ranges:
            self.names.append(name)
        return self._ranges.get(name)

    def convolution_of(self, bias: Tensor | None) -> torch.nn.Conv2d:
        """The convolution that has this bias."""
        return self._convolutions[id(bias)][1]


class Traced(Blank):
    """A blank that also knows the node of the model that computes its values, channels first.

    Without a recorder no model is made: this only tries whether all functions have rules.
    """

    def __init__(
        self,
        shape: Sequence[int],
        node: Output | Node | None,
        recorder: Recorder | None,
        stacked: Sequence[Traced] = (),
    ) -> None:
        super().__init__(shape, torch.float32, Ledger())
        self._node, self._recorder, self._stacked = node, recorder, stacked

    @property
    def node(self) -> Output | Node:
        assert self._node is not None, "nothing is recorded"
        return self._node

    @property
    def recorder(self) -> Recorder:
        assert self._recorder is not None, "nothing is recorded"
        return self._recorder

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Blank:
        if func not in _NODES and func is not torch.stack:
            raise UntraceableError(getattr(func, "__name__", str(func)))
        # The rules of blanks give the shape.
        shape = super().__torch_function__(func, types, args, kwargs).shape
        first = cast(Traced, args[0][0] if isinstance(args[0], list | tuple) else args[0])
        if func is torch.stack:
            return Traced(shape, None, first._recorder, args[0])
        node = None if first._recorder is None else _NODES[func](*args, **(kwargs or {}))
        return Traced(shape, node, first._recorder)

    def _then(self, shape: Blank, node: Callable[[], Node]) -> Traced:
        """A result of this one; `shape` has its sides."""
        return Traced(shape.shape, None if self._recorder is None else node(), self._recorder)

    def add_(self, other: Blank) -> Traced:
        return self._then(self, lambda: _sum(self, cast(Traced, other)))

    def __mul__(self, other: Blank) -> Traced:
        from openvino import opset13 as ops

        return self._then(super().__mul__(other), lambda: ops.multiply(self.node, cast(Traced, other).node))

    def permute(self, *dims: int) -> Traced:
        from openvino import opset13 as ops

        return self._then(super().permute(*dims), lambda: ops.transpose(self.node, list(dims)))

    def unsqueeze(self, dim: int) -> Traced:
        from openvino import opset13 as ops

        return self._then(super().unsqueeze(dim), lambda: ops.unsqueeze(self.node, [dim]))

    def unbind(self, dim: int) -> tuple[Blank, ...]:
        from openvino import opset13 as ops

        def part(i: int) -> Node:
            return ops.gather(self.node, ops.constant(np.int64(i)), ops.constant(np.int64(dim)))

        return tuple(self._then(one, partial(part, i)) for i, one in enumerate(super().unbind(dim)))

    def sum(self, dim: int) -> Traced:
        """The sum of the blanks that were stacked; no other sum is needed."""
        assert self._stacked, "only a stack is summed"
        assert dim == 0, "and only along the new axis"
        # Not as a reduction: a FakeQuantize that OpenVINO joins to one (2026.4) takes the ranges of other channels.
        return reduce(lambda total, one: total.add_(one), self._stacked)

    def to(self, dtype: torch.dtype) -> Traced:
        assert dtype == torch.float32, "a model computes in float32"
        return self


def model_of(
    steps: Steps, shapes: Mapping[str, MapShape], inputs: Collection[str], outputs: Sequence[str], recorder: Recorder
) -> Model:
    """A model that makes the maps `outputs` of the maps `inputs`, both B×H×W×C of any size, in their order: codes are
    int64, all other maps float32.

    Every convolution pads with zeros, as if its map were a whole one. Raises UntraceableError.
    """
    openvino = import_openvino()
    from openvino import opset13 as ops

    parameters, maps = [], dict[str, Patch]()
    for name in inputs:
        kind = openvino.Type.f32 if shapes[name].dtype.is_floating_point else openvino.Type.i64
        parameter = ops.parameter([-1, -1, -1, shapes[name].channels], kind, name)
        parameters.append(parameter)
        maps[name] = _traced(shapes[name], ops.transpose(parameter, list(_TO_CHANNELS_FIRST)), recorder)
    for step in steps:
        maps[step.writes] = step.run(*(maps[name] for name in step.reads))
    results = [cast(Traced, maps[name].data_BCHW).node for name in outputs]
    return openvino.Model([ops.transpose(one, list(_TO_CHANNELS_LAST)) for one in results], parameters, "steps")


def can_trace(step: Step, shapes: Mapping[str, MapShape]) -> bool:
    """Whether a step consists of functions that have rules here."""
    try:
        step.run(*(_traced(shapes[name], None, None) for name in step.reads))
    except UntraceableError:
        return False
    return True


def _traced(shape: MapShape, node: Node | None, recorder: Recorder | None) -> Patch:
    """A whole map of a few cells."""
    side = _CELLS * shape.per_cell
    data = Traced((1, shape.channels, side, side), node, recorder)
    return Patch(cast(Tensor, data), Box(0, 0, side, side), side, side, shape.per_cell)


def _conv2d(
    x: Traced, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int], *_: object
) -> Node:
    from openvino import opset13 as ops

    node, filters, bias = _in_eight_bits(x, bias) or (x.node, _constant(weight), bias)
    return _biased(ops.convolution(node, filters, list(stride), list(padding), list(padding), [1, 1]), bias)


def _conv_transpose2d(x: Traced, _enlarging_weight: Tensor, bias: Tensor | None, **_: object) -> Node:
    """The convolution after an enlargement by repetition, as it is defined. OpenVINO has no 8-bit kernels for the
    transposed convolution that replaces both, and those for float32 give other last bits for maps of other sizes.
    """
    from openvino import opset13 as ops

    conv = x.recorder.convolution_of(bias)
    node, filters, bias = _in_eight_bits(x, bias) or (x.node, _constant(conv.weight), bias)
    scales, axes = (ops.constant(np.array(pair, kind)) for pair, kind in (((2, 2), np.float32), ((2, 3), np.int64)))
    large = ops.interpolate(
        node,
        scales,
        "nearest",
        "scales",
        axes=axes,
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return _biased(ops.convolution(large, filters, [1, 1], [1, 1], [1, 1], [1, 1]), bias)


def _in_eight_bits(x: Traced, bias: Tensor | None) -> tuple[Node, Node, Tensor | None] | None:
    """The input and the weight of the convolution with this bias, rounded, and its bias in 8 bits; None where it runs
    in float32.
    """
    from openvino import opset13 as ops

    given = x.recorder.range_of(bias)
    if given is None:
        return None
    # Counted in steps: whole numbers from -zero to 255 - zero.
    low, high = (_constant(limit[None, :, None, None]) for limit in given.limits)
    bounds = [ops.constant(np.float32(whole)) for whole in (-given.zero, TOP - given.zero)]
    node = ops.fake_quantize(x.node, low, high, *bounds, TOP + 1)
    filters = filters_of(x.recorder.convolution_of(bias), given, x.recorder.weight_top)
    whole, factor = whole_weight(filters.weight_OIHW, given, x.recorder.weight_top)
    weight = ops.multiply(ops.convert(ops.constant(whole.numpy()), np.float32), _constant(factor))
    return node, weight, filters.bias_O


def _biased(node: Node, bias: Tensor | None) -> Node:
    from openvino import opset13 as ops

    if bias is None:
        return node
    # OpenVINO leaves out a sum with zeros. Without a sum, it multiplies the result of a convolution in 8 bits by its
    # factors twice where two other operations read it (2026.4). So small a number changes no other one.
    given = bias if bool(bias.any()) else torch.full_like(bias, _TINY_BIAS)
    return ops.add(node, _constant(given[None, :, None, None]))


def _constant(values: Tensor) -> Node:
    from openvino import opset13 as ops

    # A copy: the model must not depend on torch's memory.
    return ops.constant(values.detach().float().contiguous().numpy().copy())


def _sum(a: Traced, b: Traced, *, alpha: float = 1) -> Node:
    from openvino import opset13 as ops

    return ops.add(a.node, b.node if alpha == 1 else ops.multiply(b.node, ops.constant(np.float32(alpha))))


def _embedding(codes: Traced, vectors: Tensor, *_: object, **__: object) -> Node:
    from openvino import opset13 as ops

    return ops.gather(_constant(vectors), codes.node, ops.constant(np.int64(0)))


def _cat(parts: Sequence[Traced], dim: int) -> Node:
    from openvino import opset13 as ops

    return ops.concat([part.node for part in parts], dim)


def _pixel_shuffle(x: Traced, factor: int) -> Node:
    from openvino import opset13 as ops

    return ops.depth_to_space(x.node, "depth_first", factor)


def _pixel_unshuffle(x: Traced, factor: int) -> Node:
    from openvino import opset13 as ops

    return ops.space_to_depth(x.node, "depth_first", factor)


def _prelu(x: Traced, slopes: Tensor) -> Node:
    from openvino import opset13 as ops

    return ops.prelu(x.node, _constant(slopes))


def _silu(x: Traced, **_: object) -> Node:
    from openvino import opset13 as ops

    return ops.swish(x.node)


_NODES: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.conv2d: _conv2d,
    torch.conv_transpose2d: _conv_transpose2d,
    torch.add: _sum,
    torch.cat: _cat,
    F.embedding: _embedding,
    torch.pixel_shuffle: _pixel_shuffle,
    torch.pixel_unshuffle: _pixel_unshuffle,
    torch.prelu: _prelu,
    F.silu: _silu,
}
