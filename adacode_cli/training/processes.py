"""One training in one or many processes: what they share after every step.

Hugging Face Accelerate (`accelerate launch -m adacode_cli train …`) starts several processes, finds their devices and
joins them. Gradients are averaged here after the backward pass instead of by a wrapper around the network, because a
stage calls parts of networks, not one `forward`; the largest family's gradients are 230 MB.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from adacode_cli.errors import UsageError

if TYPE_CHECKING:
    from accelerate import Accelerator


class OneProcess:
    """A single process; the docstrings of its methods describe what several processes share.

    rank: number of this process, from 0.
    world: how many there are.
    device: where this one computes.
    """

    rank, world = 0, 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces gradients by their means over all processes."""

    def gather(self, rows: Tensor) -> Tensor:
        """N×… of every process → (world·N)×…, in the order of ranks; gradients pass."""
        return rows

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes, without a gradient."""
        return values

    def share_state(self, module: nn.Module) -> None:
        """Gives every process the first one's parameters and buffers."""

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process. All must call it at the same step."""
        return flag

    def close(self) -> None:
        """Call it in every process when all work is done."""


class _Gather(torch.autograd.Function):
    """Rows of all processes, in the order of ranks; the gradient of a row is the sum over all processes."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, rank: int, world: int) -> Tensor:
        ctx.own = slice(rank * len(rows), (rank + 1) * len(rows))  # type: ignore[attr-defined]
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.own], None, None  # type: ignore[attr-defined]


class ManyProcesses:
    """One of several processes that Accelerate has joined; methods as in `OneProcess`."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self.device = accelerator.device

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """One reduction over all gradients, concatenated."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        flat = cast(Tensor, self._accelerator.reduce(flat, "mean"))
        for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def gather(self, rows: Tensor) -> Tensor:
        """As in `OneProcess`; the gradient of a process's rows is the sum over all processes."""
        if not rows.requires_grad:
            return cast(Tensor, self._accelerator.gather(rows))
        gathered: Tensor = _Gather.apply(rows, self.rank, self.world)  # type: ignore[no-untyped-call]
        return gathered

    def sum(self, values: Tensor) -> Tensor:
        """As in `OneProcess`."""
        return cast(Tensor, self._accelerator.reduce(values, "sum"))

    def share_state(self, module: nn.Module) -> None:
        """As in `OneProcess`."""
        with torch.no_grad():
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)

    def any(self, flag: bool) -> bool:
        """As in `OneProcess`."""
        return bool(self.sum(torch.tensor([int(flag)], device=self.device)))

    def close(self) -> None:
        """Leaves the group of processes."""
        dist.destroy_process_group()


Processes: TypeAlias = OneProcess | ManyProcesses


def joined(device: torch.device) -> Processes:
    """The processes that a launcher has started together with this one, or only this one on `device`.

    Raises UsageError if there are several and Accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
        return OneProcess(device)
    # Torch imports this module later in any case. It would then keep a group that exists already, whose threads would
    # run on after `close`, until the interpreter goes from under them: abort, "terminate called without …".
    importlib.import_module("torch.distributed.nn.functional")
    try:
        from accelerate import Accelerator
    except ImportError as error:
        hint = "Install it: pip install 'adacode-cli[train]'."
        raise UsageError("several processes need the package accelerate", hint=hint) from error
    return ManyProcesses(Accelerator(cpu=device.type == "cpu"))
