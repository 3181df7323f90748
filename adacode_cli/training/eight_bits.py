"""Training that knows of the rounding of `--precision int8`: values are rounded as there, and gradients still pass.

Rounding has no useful gradient of its own. The gradient passes it unchanged (straight-through: Bengio et al. 2013,
arXiv:1308.3432), except for values outside of the range, which are clipped. The steps of the ranges learn too (learnt
step sizes: Esser et al. 2020, arXiv:1902.08153), as logarithms, so that they stay positive. The zeros stay. Unlike
there (section 2.2), gradients of steps are not divided: the length of Adam's steps does not depend on that, unless
gradients are below its epsilon, and then the ranges would hardly learn.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.errors import TrainingError
from adacode_cli.model.network import AdaCode
from adacode_cli.model.ranges import InputRange, Ranges, rounded_weight

PREFIX = "int8."
"""Of the names of the steps among the parameters of a stage."""
_STEPS, _ZERO, _START = ".log_steps", ".zero", "start"
_SAME = "Continue with the --start FILE that it began with, or start again with --overwrite."


class LearntRanges:
    """The ranges of a network's convolutions, while their steps are parameters. start: identifies the initial weights
    and ranges, for `load`.
    """

    def __init__(self, ranges: Ranges, device: torch.device, start: bytes = b"") -> None:
        self._start = torch.tensor([*start], dtype=torch.float32)
        self._log_steps = {name: nn.Parameter(one.steps_C.log().to(device)) for name, one in ranges.items()}
        self._zeros = {name: one.zero for name, one in ranges.items()}

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """The logarithms of the steps, one float32 tensor for each convolution, by PREFIX and its name."""
        return {PREFIX + name: log_steps for name, log_steps in self._log_steps.items()}

    def keep_all_but(self, names: Collection[str]) -> None:
        """Only the steps of these convolutions learn from now on."""
        for name, log_steps in self._log_steps.items():
            log_steps.requires_grad_(name in names)

    def ranges(self, averages: Mapping[str, Tensor] | None = None) -> Ranges:
        """The present ranges; gradients pass. averages: other logarithms in place of some, named as the parameters."""
        values = self.named_parameters() | dict(averages or {})
        return {name: InputRange(values[PREFIX + name].exp(), zero) for name, zero in self._zeros.items()}

    def state(self, averages: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Everything that `load` needs. averages: as for `ranges`."""
        values = self.named_parameters() | dict(averages or {})
        steps = {name + _STEPS: values[PREFIX + name].detach() for name in self._zeros}
        zeros = {name + _ZERO: torch.tensor(float(zero)) for name, zero in self._zeros.items()}
        return steps | zeros | {_START: self._start}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes over what `state` gave. Raises TrainingError for ranges of other convolutions, or of another start."""
        own = self.state()
        if own.keys() != state.keys() or any(own[key].shape != state[key].shape for key in own):
            raise TrainingError("the checkpoint has ranges of other convolutions", hint=_SAME)
        if not torch.equal(self._start, state[_START]):
            raise TrainingError("the checkpoint began with other weights or ranges", hint=_SAME)
        with torch.no_grad():
            for name, log_steps in self._log_steps.items():
                log_steps.copy_(state[name + _STEPS])
        self._zeros = {name: int(state[name + _ZERO]) for name in self._zeros}


@contextmanager
def rounded_within(network: AdaCode, ranges: Ranges) -> Iterator[None]:
    """Within, the convolutions that have ranges compute in 8 bits, and gradients reach inputs, weights and steps.

    Only convolutions that are called as modules are changed; those after an enlargement are called so if gradients are
    enabled. They compute in float32 under autocast too.
    """
    convolutions = {name: module for name, module in network.named_modules() if name in ranges}
    try:
        for name, conv in convolutions.items():
            vars(conv)["forward"] = partial(_convolved, cast(nn.Conv2d, conv), ranges[name])
        yield
    finally:
        for conv in convolutions.values():
            vars(conv).pop("forward", None)


def _convolved(conv: nn.Conv2d, given: InputRange, x_BCHW: Tensor) -> Tensor:
    # bf16 has as many digits as 8 bits have: rounded values would be rounded again.
    with torch.autocast(x_BCHW.device.type, enabled=False):
        rounded = _round_input(x_BCHW.float(), given.steps_C, given.zero)
        weight = rounded_weight(conv.weight, given, rounding=_round)
        return F.conv2d(rounded, weight, conv.bias, conv.stride, conv.padding)


class _RoundedInput(torch.autograd.Function):
    """`InputRange.rounded`. A value inside of the range has the gradient of its rounded value, one outside has none."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, steps_C: Tensor, zero: int) -> Tensor:  # noqa: ANN401
        rounded = InputRange(steps_C, zero).rounded(x_BCHW)
        ctx.save_for_backward(x_BCHW, steps_C, rounded)
        ctx.zero = zero
        return rounded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        x, steps_C, rounded = ctx.saved_tensors
        lowest, highest = (limit[:, None, None] for limit in InputRange(steps_C, ctx.zero).limits)
        inside = (x >= lowest) & (x <= highest)
        # Inside, a value is as many steps as before, whatever a step is, up to its rounding error.
        of_steps = (gradients[0] * torch.where(inside, rounded - x, rounded)).sum((0, 2, 3)) / steps_C
        return gradients[0] * inside, of_steps, None


class _Round(torch.autograd.Function):
    """Rounds to whole numbers; the gradient passes."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        return torch.round(x)

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        return gradients[0]


_round = cast(Callable[[Tensor], Tensor], _Round.apply)
_round_input = cast(Callable[[Tensor, Tensor, int], Tensor], _RoundedInput.apply)
