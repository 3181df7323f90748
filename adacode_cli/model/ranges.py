"""How the inputs of convolutions are rounded to 8 bits, and their weights: the arithmetic of `--precision int8`.

A value x of an input is stored as an integer q from 0 to 255: x ≈ step · (q - zero), with one zero for all channels and
a step for each. The steps of the channels are multiplied into the weights, so that the products can be summed as
integers (equalisation: Nagel et al. 2019, arXiv:1906.04721). These products of weights and steps are rounded to whole
numbers, with one factor for each channel that the convolution makes. The ranges were measured on photographs and come
with the weights, so an image's values do not depend on how it is divided into tiles.

A convolution can have other filters for 8 bits than for float32: filters that compensate the rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TOP = 255
# PSNR in dB between images in 8 bits and in float32 above which no difference was seen when they were looked at side by
# side. Below it there were some.
VISIBLE_DB = 45.0
# Largest whole number of a weight. Processors without 8-bit dot products add two products in 16 bits:
# 2 · 255 · 127 does not fit there, 2 · 255 · 63 does.
WEIGHT_TOP, WEIGHT_TOP_IN_16_BITS = 127, 63


@dataclass(frozen=True)
class Filters:
    """What a convolution multiplies with and adds in 8 bits, in place of what it does in float32; both float32."""

    weight_OIHW: Tensor
    bias_O: Tensor


@dataclass(frozen=True)
class InputRange:
    """The range of a convolution's input. steps_C: float32, positive, one for each input channel. zero: 0 to 255.

    filters: those of the convolution in 8 bits; None: those that it has in float32.
    """

    steps_C: Tensor
    zero: int
    filters: Filters | None = None

    @property
    def limits(self) -> tuple[Tensor, Tensor]:
        """The lowest and the highest value of each channel."""
        return -self.zero * self.steps_C, (TOP - self.zero) * self.steps_C

    def rounded(self, x_BCHW: Tensor) -> Tensor:
        """The values that the input has after rounding, float32."""
        steps = self.steps_C[:, None, None]
        return (torch.round(x_BCHW / steps).clamp(-self.zero, TOP - self.zero)) * steps


Ranges = Mapping[str, InputRange]
"""The range of each convolution that may run in 8 bits, by its name in the network."""


def filters_of(conv: nn.Conv2d, given: InputRange, top: int = WEIGHT_TOP) -> Filters:
    """What a convolution, which has a bias, multiplies with and adds in 8 bits, before its weight is rounded to whole
    numbers up to `top`.

    Filters of its own are for WEIGHT_TOP: rounded to fewer numbers they are worse than the ones for float32, because
    the rounding errors of a filter then no longer compensate for one another.
    """
    assert conv.bias is not None, "every convolution that runs in 8 bits has a bias"
    if given.filters is not None and top == WEIGHT_TOP:
        return given.filters
    return Filters(conv.weight.detach(), conv.bias.detach())


def whole_weight(weight_OIHW: Tensor, given: InputRange, top: int = WEIGHT_TOP) -> tuple[Tensor, Tensor]:
    """A convolution's weight for inputs that are counted in their steps: int8 O×I×H×W, and a float32 factor O×1×1×1."""
    counts, factor = _counted(weight_OIHW, given, top)
    return torch.round(counts).clamp(-top, top).to(torch.int8), factor


def rounded_weight(
    weight_OIHW: Tensor,
    given: InputRange,
    top: int = WEIGHT_TOP,
    rounding: Callable[[Tensor], Tensor] = torch.round,
) -> Tensor:
    """The float32 weight that `whole_weight` stands for. rounding: `torch.round`, possibly with another gradient."""
    counts, factor = _counted(weight_OIHW, given, top)
    return rounding(counts).clamp(-top, top) * factor / given.steps_C[:, None, None]


def _counted(weight_OIHW: Tensor, given: InputRange, top: int) -> tuple[Tensor, Tensor]:
    """Numbers from -top to top, not rounded yet, and the factor of each output channel."""
    scaled = weight_OIHW.float() * given.steps_C[:, None, None]
    largest = scaled.abs().amax((1, 2, 3), keepdim=True)
    factor = torch.where(largest > 0, largest / top, torch.ones_like(largest))
    return scaled / factor, factor


def problems_of(ranges: Ranges, network: nn.Module) -> list[str]:
    """What is wrong with ranges for a network: unknown names, sizes, values; [] if nothing is."""
    convolutions = {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    found = []
    for name, one in sorted(ranges.items()):
        if name not in convolutions:
            found.append(f"a range for {name[:80]}, which is no convolution of the network")
        elif one.steps_C.shape != (convolutions[name].in_channels,):
            found.append(f"a range for {name} with another number of channels")
        elif one.filters is not None and _other_shapes(one.filters, convolutions[name]):
            found.append(f"filters in 8 bits for {name} of another size")
        elif one.filters is not None and not _are_finite(one.filters):
            found.append(f"filters in 8 bits for {name} with values that are not finite")
        elif not bool((one.steps_C > 0).all()) or not bool(torch.isfinite(TOP * one.steps_C).all()):
            found.append(f"a range for {name} with a step that is not positive")
        elif not 0 <= one.zero <= TOP:
            found.append(f"a range for {name} with the zero {one.zero}")
    return found


def _are_finite(filters: Filters) -> bool:
    return bool(torch.isfinite(filters.weight_OIHW).all()) and bool(torch.isfinite(filters.bias_O).all())


def _other_shapes(filters: Filters, conv: nn.Conv2d) -> bool:
    return filters.weight_OIHW.shape != conv.weight.shape or filters.bias_O.shape != (conv.out_channels,)
