"""Weights of convolutions in 8 bits that compensate for the rounding, fitted on images one convolution after the other.

Rounding each weight to the nearest whole number is not best. Here each convolution is given its input as it is in 8
bits, with the errors of all convolutions before it. Its weights are those with which its results are nearest to the
exact ones, in least squares. They are rounded one column after the other, and the columns that follow compensate for
the error (GPTQ: Frantar et al. 2022, arXiv:2210.17323). The bias compensates for the mean error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import cast
from zlib import crc32

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.model.input import pad_mirrored, padded_size
from adacode_cli.model.network import AdaCode
from adacode_cli.model.ranges import WEIGHT_TOP, Filters, InputRange, Ranges

# Most images that run together, output pixels along a side of the part of each that is used, and positions of each map.
_IMAGES, _PART_PX, _PLACES = 24, 256, 2048
# Most bytes of the finest map of all of these images, and the number of images that are used in any case.
_MAP_BYTES, _LEAST_IMAGES = 64 << 20, 4
# How strongly weights are held where the images say little, in units of the mean variance of an input.
_HELD, _HELD_WHILE_ROUNDED, _LEAST = 0.003, 0.01, 1e-9


def fitted(
    network: AdaCode, images: Sequence[Tensor], ranges: Ranges, on_fit: Callable[[str], None] = lambda _: None
) -> Ranges:
    """The ranges with filters for 8 bits. Of a network with a trunk, only the trunk gets them, because the rounding of
    the rest hardly changes its image. The network stays as it is.

    images: 1×C×H×W float32, as the network takes them; those of the most frequent size are used. on_fit: is given the
    name of each convolution that was fitted.
    """
    chosen = {name for name in ranges if network.trunk is None or name.startswith("trunk.")}
    convolutions = {n: m for n, m in network.named_modules() if n in chosen and isinstance(m, nn.Conv2d)}
    batch, exact, found = _prepared(network, images), dict[str, Tensor](), dict[str, InputRange]()

    def keep(name: str, result_BCHW: Tensor) -> None:
        """Keeps what a convolution makes in float32, at the places that are compared."""
        y, x = _places(name, *result_BCHW.shape[2:])
        exact[name] = result_BCHW[:, :, y, x]

    def fit(name: str, x_BCHW: Tensor) -> Tensor:
        """The rounded input of a convolution, which from now on has the filters that were fitted to it."""
        conv, given = convolutions[name], ranges[name]
        x_BCHW = given.rounded(x_BCHW)
        counted = x_BCHW / given.steps_C[:, None, None]
        filters = _Moments.of(counted, conv, exact.pop(name), name).fitted(conv.weight.detach(), given)
        conv.weight, conv.bias = (nn.Parameter(v, requires_grad=False) for v in (filters.weight_OIHW, filters.bias_O))
        found[name] = replace(given, filters=filters)
        on_fit(name)
        return x_BCHW

    with _hooked(convolutions, after=keep):
        network.detail(batch)
    with _kept(convolutions), _hooked(convolutions, before=fit):
        network.detail(batch)
    return {name: found.get(name, given) for name, given in ranges.items()}


def _prepared(network: AdaCode, images: Sequence[Tensor]) -> Tensor:
    """Parts of the images as the encoder takes them, B×C×H×W. Holes are filled already, so that every convolution runs
    once.
    """
    config = network.config
    side = _PART_PX // config.scale
    parts = [image[..., :side, :side] for image in images]
    (size, _), *_ = Counter(part.shape[-2:] for part in parts).most_common(1)
    map_bytes = 4 * config.channels[0] * (_PART_PX // config.cell_px) ** 2
    most = max(_LEAST_IMAGES, min(_IMAGES, _MAP_BYTES // map_bytes))
    same = torch.cat([part for part in parts if part.shape[-2:] == size][:most])
    return network.prepared(pad_mirrored(same, *padded_size(config, *size)), config.coarse_passes)


@contextmanager
def _hooked(
    convolutions: Mapping[str, nn.Conv2d],
    before: Callable[[str, Tensor], Tensor] | None = None,
    after: Callable[[str, Tensor], None] | None = None,
) -> Iterator[None]:
    """Within, `before` is given the name of each convolution that is called and its input, and makes the input that it
    has then; `after` is given its result.
    """
    with torch.enable_grad(), ExitStack() as stack:  # as in `calibration.through`: all convolutions are called
        for name, conv in convolutions.items():
            if before is not None:
                hook = conv.register_forward_pre_hook(lambda _, given, name=name: (before(name, given[0].detach()),))
                stack.callback(hook.remove)
            if after is not None:
                hook = conv.register_forward_hook(lambda _, __, made, name=name: after(name, made.detach()))
                stack.callback(hook.remove)
        yield


@contextmanager
def _kept(convolutions: Mapping[str, nn.Conv2d]) -> Iterator[None]:
    """Within, weights and biases may be replaced; afterwards they are the ones of before."""
    before = {name: (conv.weight, conv.bias) for name, conv in convolutions.items()}
    try:
        yield
    finally:
        for name, conv in convolutions.items():
            conv.weight, conv.bias = before[name]


def _places(name: str, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of random positions of a map, each P: the same ones for a convolution and its input."""
    random = torch.Generator().manual_seed(crc32(name.encode()))
    chosen = torch.randperm(height * width, generator=random)[:_PLACES]
    return chosen // width, chosen % width


@dataclass
class _Moments:
    """Means and covariances of what a convolution is given, N = I·kh·kw numbers for each position, and of what it
    should make, O numbers; float64.
    """

    given_N: Tensor
    wanted_O: Tensor
    given_NN: Tensor
    both_ON: Tensor

    @classmethod
    def of(cls, x_BIHW: Tensor, conv: nn.Conv2d, wanted_BOP: Tensor, name: str) -> _Moments:
        """Those at `_places` of the convolution's map. wanted_BOP: what it should make there."""
        padding, stride, sides = (cast(tuple[int, int], v) for v in (conv.padding, conv.stride, conv.kernel_size))
        x_BIHW = F.pad(x_BIHW, (padding[1], padding[1], padding[0], padding[0]))
        y, x = _places(name, *((n - k) // s + 1 for n, k, s in zip(x_BIHW.shape[2:], sides, stride, strict=True)))
        rows = (y * stride[0])[:, None, None] + torch.arange(sides[0])[:, None]
        columns = (x * stride[1])[:, None, None] + torch.arange(sides[1])
        sums = [torch.zeros(()).double()] * 4
        for image, wanted_OP in zip(x_BIHW, wanted_BOP.double(), strict=True):
            # float64: of an input that hardly changes, little more than rounding errors would remain.
            given_NP = image[:, rows, columns].permute(0, 2, 3, 1).flatten(0, 2).double()
            parts = given_NP.sum(1), wanted_OP.sum(1), given_NP @ given_NP.T, wanted_OP @ given_NP.T
            sums = [total + part for total, part in zip(sums, parts, strict=True)]
        given, wanted, squares, both = (total / (len(x_BIHW) * len(y)) for total in sums)
        return cls(given, wanted, squares - given.outer(given), both - wanted.outer(given))

    def fitted(self, weight_OIHW: Tensor, given: InputRange) -> Filters:
        """The filters, whose weight is one that whole numbers stand for. given: the range of the input."""
        steps = given.steps_C[:, None, None]
        start_ON = (weight_OIHW * steps).flatten(1).double()
        held = self._held(_HELD)
        wanted_ON = torch.linalg.solve(self.given_NN + held, (self.both_ON + start_ON @ held).T).T
        found_ON = self._rounded(wanted_ON)
        bias_O = self.wanted_O - found_ON @ self.given_N
        return Filters(found_ON.float().view_as(weight_OIHW) / steps, bias_O.float())

    def _held(self, share: float) -> Tensor:
        variance = float(self.given_NN.diagonal().mean())
        return torch.eye(len(self.given_N)).double() * max(share * variance, _LEAST)

    def _rounded(self, weight_ON: Tensor) -> Tensor:
        """The weight in whole numbers of a step for each row; the columns that follow compensate for each error."""
        weight_ON = weight_ON.clone()
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(self.given_NN + self._held(_HELD_WHILE_ROUNDED)))
        factors = torch.linalg.cholesky(inverse, upper=True)
        largest, where = weight_ON.abs().max(1)
        step_O = torch.where(largest > 0, largest, torch.ones_like(largest)) / WEIGHT_TOP
        # The largest weight stays at the top, so that a row has the same step when it is rounded again.
        tops = torch.sign(weight_ON.gather(1, where[:, None]).squeeze(1)) * WEIGHT_TOP
        found = torch.zeros_like(weight_ON)
        for n in range(weight_ON.shape[1]):
            whole = torch.round(weight_ON[:, n] / step_O).clamp(-WEIGHT_TOP, WEIGHT_TOP)
            found[:, n] = torch.where(where == n, tops, whole) * step_O
            error = (weight_ON[:, n] - found[:, n]) / factors[n, n]
            weight_ON[:, n:] -= error.outer(factors[n, n:])
        return found
