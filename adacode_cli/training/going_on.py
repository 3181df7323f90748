"""Earlier weights to go on from: of the same network, of a shallower one, of another scale or without coarse passes.

A residual block that the earlier network does not have starts as the identity, so training goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor

from adacode_cli.checkpoints.format import Provenance, part_of
from adacode_cli.checkpoints.load import load_network
from adacode_cli.errors import TrainingError
from adacode_cli.model.blocks import ResBlock
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.network import AdaCode
from adacode_cli.training.initialise import adopt, adopt_first, first_key

_DEPTHS = tuple(field.name for field in fields(NetworkConfig) if field.name.endswith("_depth"))
_BOOKS = "codebook.books."


def earlier_fused(path: Path) -> AdaCode:
    """The stage-II network in a file. Raises TrainingError where it is another, WeightsError where it is broken."""
    network, _ = load_network((path,))
    if network.config.task != "reconstruct":
        raise TrainingError("holds no stage-II network", path=path, hint="Run `adacode train fuse` first.")
    return network


def fuse_from(network: AdaCode, path: Path) -> None:
    """Stage II goes on: everything but the codebooks is as in the file. Raises TrainingError where it does not fit."""
    earlier = earlier_fused(path)
    _require_alike(earlier.config, network.config, path)
    _take_over(network, {key: t for key, t in earlier.state_dict().items() if not key.startswith(_BOOKS)})


def restore_from(network: AdaCode, path: Path) -> Provenance:
    """Stage III goes on: what is the task's own is as in the file, the rest stays as it is.

    A first convolution of the other scale is made to fit. Returns where the file says that it comes from. Raises
    TrainingError where the file is of another task or family.
    """
    earlier, provenance = load_network((path,))
    scaled = network.config.stem == "shuffle" and network.config.task == "sr"
    config = replace(earlier.config, scale=network.config.scale) if scaled else earlier.config
    _require_alike(config, network.config, path)
    own = {key: tensor for key, tensor in earlier.state_dict().items() if part_of(key) == "task"}
    if earlier.config.scale != network.config.scale:
        adopt_first(network, own.pop(first_key(earlier)), earlier.config)
    _take_over(network, own, own_part="task")
    return provenance


def _require_alike(earlier: NetworkConfig, config: NetworkConfig, path: Path) -> None:
    depths = {name: getattr(config, name) for name in _DEPTHS}
    deeper = any(getattr(earlier, name) > depth for name, depth in depths.items())
    if deeper or replace(earlier, coarse_passes=config.coarse_passes, **depths) != config:
        hint = "Give an earlier result of the same task and family; its network may be shallower, not deeper."
        raise TrainingError("is not an earlier result of this task", path=path, hint=hint)


@torch.no_grad()
def _take_over(network: AdaCode, source: Mapping[str, Tensor], own_part: str | None = None) -> None:
    adopt(network, source)
    for name, module in network.named_modules():
        first = f"{name}.conv1.weight"
        if isinstance(module, ResBlock) and first not in source and own_part in (None, part_of(first)):
            module.conv2.weight.zero_()
            if module.conv2.bias is not None:
                module.conv2.bias.zero_()
