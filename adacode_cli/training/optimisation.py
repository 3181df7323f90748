"""One step of a run: losses, gradients, the discriminator's step, averaged weights; and their state as tensors.

Networks compute in the recipe's precision; codes are searched and averaged, and losses summed, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adacode_cli.errors import TrainingError
from adacode_cli.model.ranges import InputRange, Ranges
from adacode_cli.training.batches import Batch
from adacode_cli.training.discriminator import fresh_discriminator, hinge_discriminator, hinge_generator
from adacode_cli.training.eight_bits import PREFIX as _RANGES
from adacode_cli.training.processes import Processes
from adacode_cli.training.recipe import Optimiser, StageRecipe
from adacode_cli.training.stages import Stage

_SAME = "Continue with the shards and weights that it began with, or start again with --overwrite."
_TRUNK = "trunk.body."
_MOMENTS = ("exp_avg", "exp_avg_sq")
Counters = dict[str, int]


def learning_rate(settings: Optimiser, step: int, progress: float) -> float:
    """Linear warm-up over the first steps, then a cosine from `rate` to `final_share` times that."""
    low = settings.final_share
    cosine = low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress))
    return settings.rate * cosine * min(1.0, (step + 1) / settings.warmup)


def step_seed(seed: int, step: int) -> int:
    """A random seed for one step of a run, different for other steps and runs."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass(frozen=True)
class _Group:
    """Parameters that learn at one rate: `share` of the recipe's."""

    share: float
    parameters: dict[str, nn.Parameter]


def _groups(parameters: Mapping[str, nn.Parameter], settings: Optimiser) -> list[_Group]:
    """A trunk's parameters are a separate group, because they may be from a network with more training. So are the
    steps of ranges, which are logarithms.
    """
    trunk = {name: p for name, p in parameters.items() if name.startswith(_TRUNK)}
    steps = {name: p for name, p in parameters.items() if name.startswith(_RANGES)}
    rest = {name: p for name, p in parameters.items() if name not in trunk and name not in steps}
    groups = (_Group(1.0, rest), _Group(settings.trunk_share, trunk), _Group(settings.range_share, steps))
    return [group for group in groups if group.parameters]


def descend(adam: torch.optim.Adam, loss: Tensor, clip: float, processes: Processes) -> Tensor:
    """One step of an optimiser on gradients of all processes; returns the gradient's norm before clipping to `clip`."""
    parameters = [parameter for group in adam.param_groups for parameter in group["params"]]
    adam.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    processes.average_gradients(parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip)
    adam.step()
    return norm


class Average:
    """Averages of named tensors; the decay is faster at the beginning, so that initial values have no effect."""

    def __init__(self, values: Mapping[str, Tensor], decay: float) -> None:
        self.values = {name: v.detach().clone() for name, v in values.items()}
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, values: Mapping[str, Tensor]) -> None:
        """Moves the average towards `values`."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_([*self.values.values()], [values[name] for name in self.values], 1 - decay)


class Adversary:
    """A U-Net discriminator and its Adam, at a constant rate (paper's published settings)."""

    def __init__(self, recipe: StageRecipe, seed: int, processes: Processes) -> None:
        self.network = fresh_discriminator(recipe.discriminator_channels, seed).to(processes.device).train()
        settings = recipe.optimiser
        self.optimiser = torch.optim.Adam(self.network.parameters(), settings.discriminator_rate, settings.betas)
        self._clip, self._processes = settings.clip, processes

    def verdict(self, image_BCHW: Tensor) -> Tensor:
        """The generator's loss: how far the image is from being classified as real. The discriminator stays."""
        self.network.requires_grad_(False)
        loss = hinge_generator(self.network(image_BCHW))
        self.network.requires_grad_(True)
        return loss

    def losses(self, real_BCHW: Tensor, restored_BCHW: Tensor) -> Tensor:
        """The discriminator's own loss."""
        return hinge_discriminator(self.network(real_BCHW), self.network(restored_BCHW.detach()))

    def learn(self, loss: Tensor) -> Tensor:
        """One step of the discriminator; returns its gradient's norm before clipping."""
        return descend(self.optimiser, loss, self._clip, self._processes)


class Optimisation:
    """A stage with its Adam, its averaged weights and, where the recipe has one, its adversary."""

    def __init__(self, stage: Stage, recipe: StageRecipe, seed: int, precision: str) -> None:
        self.stage, self.recipe, self.seed = stage, recipe, seed
        self._bf16 = precision == "bf16"
        self.network = stage.network.train()
        settings = recipe.optimiser
        groups = _groups(stage.named_parameters(), settings)
        self._trained = {name: parameter for group in groups for name, parameter in group.parameters.items()}
        self._shares = [group.share for group in groups]
        fused = stage.device.type in ("cpu", "cuda")
        parts: list[dict[str, Any]] = [{"params": [*group.parameters.values()]} for group in groups]
        self.optimiser = torch.optim.Adam(parts, settings.rate, settings.betas, fused=fused)
        self.average = Average(self._of_result(), settings.ema)
        self.adversary = Adversary(recipe, seed, stage.processes) if stage.loss.adversarial else None

    def begin(self, draw: Callable[[int], Batch]) -> None:
        """Sets initial values that depend on data; the same in every process."""
        torch.manual_seed(step_seed(self.seed, 0))
        with self._autocast():
            self.stage.begin(draw)
        self.stage.processes.share_state(self.network)
        self.average = Average(self._of_result(), self.recipe.optimiser.ema)

    def step(self, batch: Batch, step: int, progress: float) -> dict[str, Tensor]:
        """One step (numbered from 0); returns its losses, and `gradient`, the norm before clipping."""
        torch.manual_seed(step_seed(self.seed, step + 1))
        rate = learning_rate(self.recipe.optimiser, step, progress)
        for group, share in zip(self.optimiser.param_groups, self._shares, strict=True):
            group["lr"] = rate * share
        opponent = self.adversary if progress >= self.recipe.adversarial_from else None
        with self._autocast():
            terms, image = self.stage.losses(batch)
            if opponent is not None:
                terms["adversarial"] = opponent.verdict(image)
            total = self.stage.total(terms)
        norm = descend(self.optimiser, total, self.recipe.optimiser.clip, self.stage.processes)
        values = {"total": total.detach(), **{k: v.detach() for k, v in terms.items()}, "gradient": norm}
        if opponent is not None:
            with self._autocast():
                loss = opponent.losses(batch.target_BCHW, image)
            values |= {"discriminator": loss.detach(), "discriminator_gradient": opponent.learn(loss)}
        with self._autocast():
            self.stage.after_step(step + 1, progress, batch)
        self.average.update(self._of_result())
        return self._of_all(values)

    def result(self) -> dict[str, Tensor]:
        """The network's state dict with averaged weights; tensors that the stage does not train are bit-identical."""
        return {name: self.average.values.get(name, v.detach()) for name, v in self.network.state_dict().items()}

    def ranges(self) -> Ranges:
        """The ranges that belong to `result`, averaged as it is; empty unless the stage rounds to 8 bits."""
        learnt = self.stage.learnt_ranges
        found = learnt.ranges(self._averaged_steps()) if learnt else {}
        return {name: InputRange(one.steps_C.detach(), one.zero) for name, one in found.items()}

    def _averaged_steps(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.average.values.items() if name.startswith(_RANGES)}

    def state(self, *, slim: bool) -> tuple[dict[str, Tensor], Counters]:
        """Everything that the next step depends on, by name, and counts. Slim: only averaged weights and ranges."""
        learnt = self.stage.learnt_ranges
        if slim:
            steps = learnt.state(self._averaged_steps()) if learnt else {}
            return _prefixed("network", self.result()) | _prefixed("int8", steps), {}
        tensors = _prefixed("network", self.network.state_dict()) | _prefixed("average", self.average.values)
        tensors |= _prefixed("int8", learnt.state() if learnt else {})
        tensors |= _prefixed("extra", self.stage.extra.state_dict())
        tensors |= _prefixed("adam", _moments(self.optimiser, [*self._trained]))
        tensors |= {f"usage.{k}": usage.state() for k, usage in enumerate(self.stage.usage)}
        counters = {"average": self.average.updates, "adam": _steps(self.optimiser)}
        if self.adversary is not None:
            names = [name for name, _ in self.adversary.network.named_parameters()]
            tensors |= _prefixed("discriminator", self.adversary.network.state_dict())
            tensors |= _prefixed("discriminator_adam", _moments(self.adversary.optimiser, names))
            counters["discriminator_adam"] = _steps(self.adversary.optimiser)
        return tensors, counters

    def load(self, tensors: Mapping[str, Tensor], counters: Counters) -> None:
        """Takes over what `state` gave. From a slim state: weights and ranges; everything else starts again.

        Raises TrainingError for a state of another network.
        """
        network = _without(tensors, "network")
        if _shapes(network) != _shapes(self.network.state_dict()):
            raise TrainingError("the checkpoint is of another network", hint=_SAME)
        own = self.network.state_dict()
        frozen = [name for name in own if self.stage.frozen and name.startswith(self.stage.frozen)]
        if not all(torch.equal(own[name].cpu(), network[name]) for name in frozen):
            raise TrainingError("the checkpoint has other codebooks or another decoder", hint=_SAME)
        self.network.load_state_dict(network)
        if self.stage.learnt_ranges:
            self.stage.learnt_ranges.load(_without(tensors, "int8"))
        if not counters:
            self.average = Average(self._of_result(), self.recipe.optimiser.ema)
            return
        for name, value in _without(tensors, "average").items():
            self.average.values[name].copy_(value)
        self.average.updates = counters["average"]
        self.stage.extra.load_state_dict(_without(tensors, "extra"))
        for k, usage in enumerate(self.stage.usage):
            usage.load(tensors[f"usage.{k}"])
        _restore_moments(self.optimiser, [*self._trained], _without(tensors, "adam"), counters["adam"])
        if self.adversary is not None:
            self.adversary.network.load_state_dict(_without(tensors, "discriminator"))
            names = [name for name, _ in self.adversary.network.named_parameters()]
            moments = _without(tensors, "discriminator_adam")
            _restore_moments(self.adversary.optimiser, names, moments, counters["discriminator_adam"])

    def _of_all(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        # Every process has the losses of its own part of the batch.
        if self.stage.processes.world == 1:
            return values
        total = self.stage.processes.sum(torch.stack([value.float() for value in values.values()]))
        return dict(zip(values, (total / self.stage.processes.world).unbind(), strict=True))

    def _of_result(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self._trained.items() if not name.startswith("extra.")}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.stage.device.type, torch.bfloat16, enabled=self._bf16)


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _without(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _moments(adam: torch.optim.Adam, names: list[str]) -> dict[str, Tensor]:
    state = adam.state_dict()["state"]
    return {f"{name}.{m}": state[i][m] for i, name in enumerate(names) if i in state for m in _MOMENTS}


def _steps(adam: torch.optim.Adam) -> int:
    state = adam.state_dict()["state"]
    return int(state[0]["step"]) if state else 0


def _restore_moments(adam: torch.optim.Adam, names: list[str], moments: Mapping[str, Tensor], steps: int) -> None:
    if not steps:
        return
    parameters = [parameter for group in adam.param_groups for parameter in group["params"]]
    state = {
        # In the memory layout of the parameter, as Adam makes them: other layouts are slower on CUDA.
        i: {"step": torch.tensor(float(steps))}
        | {m: torch.empty_like(parameter).copy_(moments[f"{name}.{m}"]) for m in _MOMENTS}
        for i, (name, parameter) in enumerate(zip(names, parameters, strict=True))
    }
    adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})
