"""Initial values of a network: random ones, and those from the stage before or from an earlier result.

An earlier result may be of a shallower network, of another scale, without context or without coarse passes. A residual
block that it does not have starts as the identity, and a context adds nothing yet, so training continues from the same
result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, fields, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from adacode_cli.checkpoints.format import part_of
from adacode_cli.checkpoints.load import load_network
from adacode_cli.errors import TrainingError
from adacode_cli.model.blocks import ResBlock
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.context import ContextBlock, ContextStack
from adacode_cli.model.network import AdaCode, Fusion, Trunk
from adacode_cli.model.ranges import Ranges
from adacode_cli.model.rescaling import repacked
from adacode_cli.tasks import TASKS

# Residual branches start small, so that a deep network without normalisation starts close to the identity.
BRANCH_GAIN = 0.1
# Of a trunk's PReLU.
_SLOPE = 0.25
_DOWN = "encoder.down."
_DEPTHS = tuple(field.name for field in fields(NetworkConfig) if field.name.endswith("_depth"))
_BOOKS, _DECODER = "codebook.books.", "decoder."


def fresh_network(config: NetworkConfig, seed: int) -> AdaCode:
    """A network with initial values that depend on `seed` alone."""
    torch.manual_seed(seed)
    network = AdaCode(config)
    initialise(network)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def initialise(network: AdaCode) -> None:
    """Kaiming weights, zero biases, small residual branches; task fusions start near zero, mixing weights equal."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, ResBlock):
            module.conv2.weight.mul_(BRANCH_GAIN)
        elif isinstance(module, ContextBlock):
            module.fc2.weight.mul_(BRANCH_GAIN)
        elif isinstance(module, ContextStack):
            nn.init.zeros_(module.up.weight)
        elif isinstance(module, Fusion):
            module.out.weight.mul_(BRANCH_GAIN)
        elif isinstance(module, Trunk):
            _initialise_trunk(module)
    predictor = network.codebook.predictor
    if predictor is not None:
        predictor.out.weight.mul_(BRANCH_GAIN)
        assert predictor.out.bias is not None, "the predictor's output has a bias"
        nn.init.constant_(predictor.out.bias, 0.0 if predictor.softmax else 1.0 / network.config.num_bases)


def _initialise_trunk(trunk: Trunk) -> None:
    """Convolutions that keep the power of their input; a small last one; codes that do not add anything yet."""
    for module in trunk.body:
        if isinstance(module, nn.PReLU):
            nn.init.constant_(module.weight, _SLOPE)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=_SLOPE, nonlinearity="leaky_relu")
    last, _ = trunk.layer(len(trunk.body) // 2)
    last.weight.mul_(BRANCH_GAIN)
    nn.init.zeros_(trunk.join.weight)


@torch.no_grad()
def adopt(network: AdaCode, source: Mapping[str, Tensor], prefixes: tuple[str, ...] = ("",)) -> list[str]:
    """Copies every tensor of `source` whose key and shape the network shares; returns the copied keys."""
    own = network.state_dict()
    copied = [k for k, v in source.items() if k.startswith(prefixes) and k in own and own[k].shape == v.shape]
    for key in copied:
        own[key].copy_(source[key])
    return copied


def adopt_fused(network: AdaCode, fused: AdaCode) -> list[str]:
    """Stage III starts from all tensors that it shares with stage II; returns the copied keys.

    A network for smaller inputs begins at a coarser level: its down blocks take over those of the same levels.
    """
    source, skipped_levels = fused.state_dict(), network.config.input_level
    if skipped_levels:
        source = _from_level(source, skipped_levels)
    if network.config.stem == "conv4" or network.trunk is not None:
        return adopt(network, source)
    adopt_first(network, source.pop(first_key(fused)), fused.config)
    return adopt(network, source)


def first_key(network: AdaCode) -> str:
    """State-dict key of the first weight, which is applied to input pixels."""
    return "encoder.stem.conv.weight" if network.trunk is None else "trunk.body.0.weight"


@torch.no_grad()
def adopt_first(network: AdaCode, weight: Tensor, earlier: NetworkConfig) -> None:
    """Takes over a first convolution, of a shuffle stem or of a trunk, for a network that packs other blocks of pixels.

    weight: C×(3·pack²)×3×3, trained on blocks of pack×pack RGB pixels, pack = cell_px/scale of `earlier`; the new one
    gives what `repacked` describes. Extra input channels of the new one (a mask) start at zero.
    """
    pack, new = (config.cell_px // config.scale for config in (earlier, network.config))
    own, blocks = network.get_parameter(first_key(network)), repacked(weight, pack, new)
    own.zero_()
    own[:, : blocks.shape[1]] = blocks


def _from_level(source: Mapping[str, Tensor], level: int) -> dict[str, Tensor]:
    moved: dict[str, Tensor] = {}
    for key, tensor in source.items():
        if key.startswith(_DOWN):
            number, rest = key.removeprefix(_DOWN).split(".", 1)
            if int(number) >= level:
                moved[f"{_DOWN}{int(number) - level}.{rest}"] = tensor
        elif not key.startswith("encoder.stem."):
            moved[key] = tensor
    return moved


def earlier_fused(path: Path) -> AdaCode:
    """The stage-II network in a file. Raises TrainingError if it is another one, WeightsError if it is damaged."""
    network, _ = load_network((path,))
    task = TASKS.get(network.config.task)
    if task is None or not task.from_codes:
        raise TrainingError("does not hold a stage-II network", path=path, hint="Run `adacode train fuse` first.")
    return network


def fuse_from(network: AdaCode, path: Path) -> bool:
    """Stage II continues: everything except the codebooks is taken from the file.

    A decoder of reconstruction's own that the file does not have starts as the shared one. A network that has none
    leaves out that of the file, with its further levels of codes: returns True if there was one. Raises TrainingError
    if the file does not fit.
    """
    earlier = earlier_fused(path)
    config, left_out = earlier.config, network.own_decoder is None and earlier.own_decoder is not None
    if left_out:
        config = replace(config, own_decoder=None, residual=None)
    _require_alike(config, network.config, path)
    source = {key: t for key, t in earlier.state_dict().items() if not key.startswith(_BOOKS)}
    if earlier.own_decoder is None:
        source |= {f"own_{key}": tensor for key, tensor in source.items() if key.startswith(_DECODER)}
    _take_over(network, source)
    return left_out


def restore_from(network: AdaCode, path: Path) -> Ranges:
    """Stage III continues: the task's own tensors are taken from the file, the rest is unchanged.

    A first convolution of the other scale is adapted. Returns the ranges for 8 bits in the file, if it has any. Raises
    TrainingError if the file is of another task or family.
    """
    earlier, _ = load_network((path,))
    scaled = network.config.stem == "shuffle" and TASKS[network.config.task].enlarges
    config = replace(earlier.config, scale=network.config.scale) if scaled else earlier.config
    _require_alike(config, network.config, path)
    own = {key: tensor for key, tensor in earlier.state_dict().items() if part_of(key) == "task"}
    if earlier.config.scale != network.config.scale:
        adopt_first(network, own.pop(first_key(earlier)), earlier.config)
    _take_over(network, own, own_part="task")
    return earlier.ranges


def _require_alike(earlier: NetworkConfig, config: NetworkConfig, path: Path) -> None:
    depths = {name: getattr(config, name) for name in _DEPTHS}
    deeper = any(getattr(earlier, name) > depth for name, depth in depths.items())
    if earlier.own_decoder is not None and config.own_decoder is not None:
        pairs = zip(astuple(earlier.own_decoder), astuple(config.own_decoder), strict=True)
        deeper = deeper or any(before > now for before, now in pairs)
        earlier = replace(earlier, own_decoder=config.own_decoder)
    context, own = earlier.encoder_context or config.encoder_context, earlier.own_decoder or config.own_decoder
    wanted = replace(earlier, coarse_passes=config.coarse_passes, encoder_context=context, own_decoder=own, **depths)
    wanted = replace(wanted, residual=earlier.residual or config.residual)
    if deeper or wanted != config:
        hint = "Give an earlier result of the same task and family; its network may be shallower, not deeper. "
        hint += "If it has further levels of codes, network.residual must be equal."
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
